"""The check: from a request as Envoy tells it to the answer that Envoy gets. No sockets, no waiting.

Where something must be waited for (control, an explanation), `answer` returns a value that says so, and
the shell comes back with it.

Laws:
    C1 recorded first. A `Reply` that allows has an entry; the shell writes it before the answer leaves.
    C2 fails closed. Whatever fails on the way is a 503, never a 200.
    C3 rubbish is free. A token that was not issued here is refused by its MAC, and control is not asked.
"""

from collections.abc import Sequence

import msgspec
import structlog

from limen.administrator.active import ActiveBundle
from limen.administrator.recording import Recorder
from limen.core.decision import AccessRequest, Code, Explanation, Facts, Network
from limen.core.errors import Invalid, LimenError
from limen.core.ids import Instant, new_decision_id, new_id
from limen.core.record import EventRecord
from limen.core.tokens import TOKEN_LENGTH_MAX, token_hash, verify_token
from limen.enforcement.check.answer import Answer
from limen.enforcement.check.asked import Asked
from limen.enforcement.check.bundle_view import BundleView
from limen.enforcement.check.case import AskControl, Case, Opening, Outage, Outcome, Pending, Reply
from limen.enforcement.check.credentials import read_credentials
from limen.enforcement.check.modes import let_in
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.proofs import Proofs
from limen.enforcement.check.refusals import OUTAGE, Refusals
from limen.enforcement.check.refused import (
    is_browser_at_service,
    is_stream,
    may_be_asked_for,
    refused_leashed,
    refused_without_policy,
)
from limen.enforcement.check.request import (
    HOST,
    PEER,
    BadRequest,
    CheckRequest,
    Misdirected,
    parse_peer,
)
from limen.enforcement.check.seats import Seat, Seats
from limen.enforcement.check.verdicts import Verdicts

POINT = "gateway"
PEERS_MAX = 4_096  # addresses whose parsed form is kept

log = structlog.get_logger("limen.check")


class Check:
    """Answers requests."""

    def __init__(self, parts: CheckParts) -> None:
        self._parts = parts
        self._replica = parts.replica
        self._seats = Seats(parts.replica)
        self._refusals = Refusals(parts.pages, parts.make_nonce)
        self._view = BundleView(parts.replica)
        self._recorder = Recorder(parts.journal, parts.node, parts.inputs_of, point=POINT)
        self._verdicts = Verdicts(parts, self._recorder, self._refusals, self._view)
        self._proofs = Proofs(parts.clock, self._unproven)
        self._networks: dict[bytes | None, Network] = {}
        self._last_outage = ""

    def answer(self, request: CheckRequest, *, leashed: bool = False, asked_control: bool = False) -> Outcome:
        """Answer one request.

        Args:
            leashed: the leash asks, which holds what it opens; only then may it be a live stream.
            asked_control: the replica has just been brought up to date for this request.
        """
        try:
            return self._answer(request, leashed, asked_control)
        except (BadRequest, Misdirected) as error:
            return self._unreadable(request, error)
        except Outage as outage:
            return self._fail(str(outage))
        except Exception:
            # Law C2, the one place for it: a bug or a broken part must not open anything, nor end
            # the connection on which the next request comes.
            log.exception("check.failed")
            return Reply(OUTAGE, "outage")

    def explained(self, pending: Pending, explanation: Explanation | None) -> Reply:
        """Answer a denial, now that its explanation is there (None: it could not be found in time)."""
        try:
            return self._verdicts.explained(pending, explanation)
        except Exception:
            log.exception("check.failed")  # law C2
            return Reply(OUTAGE, "outage")

    def limited(self, opening: Opening, limit: str) -> Reply:
        """Deny what was allowed, because of one of the resource's stream limits."""
        try:
            return self._verdicts.limited(opening, limit)
        except Exception:
            log.exception("check.failed")  # law C2
            return Reply(OUTAGE, "outage")

    def settle(self, reply: Reply) -> Answer:
        """Record what a reply says, and return the answer that may leave now (law C1)."""
        if reply.entry is not None:
            try:
                self._recorder.write(reply.entry)
            except LimenError as error:
                return self._fail(error.message).answer
            except Exception:
                log.exception("check.not_recorded")  # law C2
                return OUTAGE
        return reply.answer

    def settle_many(self, replies: Sequence[Reply]) -> list[Answer]:
        """Settle the replies of one turn of the loop: one write records them all (law C1)."""
        entries = [reply.entry for reply in replies if reply.entry is not None]
        if len(entries) > 1:
            try:
                self._recorder.write_many(entries)
            except Exception:
                log.warning("check.not_recorded_together", replies=len(entries))
            else:
                return [reply.answer for reply in replies]
        # Each for itself, also so that one that cannot be recorded takes no other with it (law C2).
        return [self.settle(reply) for reply in replies]

    def _answer(self, request: CheckRequest, leashed: bool, asked_control: bool) -> Outcome:
        started_ns = self._parts.ticks_ns()
        active = self._view.refresh()
        asked = self._understand(request)
        at = self._parts.clock.now()
        if asked.match.public:
            return self._public(asked, at, started_ns, leashed)
        seat = self._seat(asked, at, asked_control)
        if isinstance(seat, AskControl):
            return seat
        if seat is None or (leashed and is_browser_at_service(asked, seat)):
            return self._stranger(asked, at, started_ns, leashed)
        case = Case(asked, _question(asked, at, seat), seat, started_ns)
        if seat.machine is not None and self._proofs.failure(asked, seat):
            return self._verdicts.unproven(case, seat.machine)
        return self._decide(case, seat, active, leashed)

    def _decide(self, case: Case, seat: Seat, active: ActiveBundle, leashed: bool) -> Outcome:
        """Answer whoever has a session."""
        refused = refused_leashed(case.asked) if leashed else refused_without_policy(case.asked)
        facts = None if refused else self._facts(case.question, case.asked, seat)
        if facts is None:
            return self._verdicts.refused(case, refused or Code.NO_RESOURCE)
        decision = self._parts.engine.decide(case.question, facts, active.policies)
        outcome = self._verdicts.of(case, facts, decision)
        if leashed and isinstance(outcome, Reply) and outcome.answer.allows:
            return msgspec.structs.replace(outcome, opening=Opening(case, decision, facts))
        return outcome

    def _understand(self, request: CheckRequest) -> Asked:
        """Read host, path, peer and credentials, strictly."""
        authority, place = self._view.find(request.headers.get(HOST, b""))
        target, match = place.read(request)
        network = self._network(request.headers.get(PEER))
        return Asked(request, authority, place, target, match, network, read_credentials(request))

    def _network(self, raw: bytes | None) -> Network:
        network = self._networks.get(raw)
        if network is None:
            try:
                network = Network(parse_peer(raw))
            except ValueError:
                raise Outage("Envoy did not say who the client is") from None
            if len(self._networks) >= PEERS_MAX:
                self._networks.clear()
            self._networks[raw] = network
        return network

    def _public(self, asked: Asked, at: Instant, started_ns: int, leashed: bool) -> Reply:
        """Answer a public path."""
        self._demand_fresh(asked)
        case = Case(asked, _question(asked, at, None), None, started_ns)
        if is_stream(asked.request) and not (leashed and may_be_asked_for(asked)):
            return self._verdicts.refused(case, Code.STREAM_REFUSED)
        return self._verdicts.public(case, leashed=leashed)

    def _stranger(self, asked: Asked, at: Instant, started_ns: int, leashed: bool) -> Reply:
        """Answer a request without a session: it must sign in, unless its resource is not enforced yet."""
        if asked.place.staged:
            case = Case(asked, _question(asked, at, None), None, started_ns)
            stage = let_in(case)
            if stage is not None:
                self._demand_fresh(asked)
                refused = refused_leashed(asked) if leashed else refused_without_policy(asked)
                if refused is None and self._replica.closure(case.question.resource) is not None:
                    return self._verdicts.stranger(case, stage, leashed=leashed)
                return self._verdicts.refused(case, refused or Code.NO_RESOURCE)
        return Reply(self._refusals.no_session(asked), "no_session")

    def _demand_fresh(self, asked: Asked) -> None:
        """Let nobody in by a catalogue that is too old to say who needs no session.

        Raises:
            Outage: it is.
        """
        bound_s = asked.place.staleness_max_s(asked.match)
        if not self._replica.age_s(self._parts.clock.boot_s()) <= bound_s:  # so written that NaN is stale
            raise Outage(f"the replica is older than {bound_s:.0f} s")

    def _seat(self, asked: Asked, at: Instant, asked_control: bool) -> Seat | AskControl | None:
        """Return the session of the request's token; or that control must be asked (laws F4, C3)."""
        token, kind, place = asked.credentials.token, asked.credentials.kind, asked.place
        if token is None or len(token) > TOKEN_LENGTH_MAX or not token.isascii():
            certificate = asked.credentials.certificate
            if token is not None or certificate is None:
                return None
            return self._seats.find_certificate(certificate, place.name, at)
        seat = self._seats.find(token_hash(token), app=place.session_app, kind=kind, at=at, door=place.name)
        if seat is not None or asked_control:
            return seat
        try:
            verified = verify_token(self._parts.token_key, token)
        except Invalid:
            return None
        return AskControl() if verified.seq > self._replica.seq else None

    def _facts(self, question: AccessRequest, asked: Asked, seat: Seat) -> Facts | None:
        replica = self._replica
        resource = replica.closure(question.resource)
        if resource is None:
            return None
        return Facts(
            subject=seat.subject,
            resource=resource,
            session=seat.facts,
            network=asked.network,
            signals=() if seat.person is None else seat.person.signals,
            grants=() if seat.subject is None else replica.grants(seat.subject, resource, question.at),
            age_s=replica.age_s(self._parts.clock.boot_s()),
            staleness_max_s=asked.place.staleness_max_s(asked.match),
            seq=replica.seq,
        )

    def _unproven(self, workload: str, why: str, asked: Asked) -> None:
        """Record, once in a while, that somebody uses a token whose key or certificate they lack."""
        fact = self._replica.workload(workload)
        self._parts.journal.append(
            EventRecord(
                id=new_id("evt"),
                at=self._parts.clock.now(),
                node=self._parts.node,
                kind="workload.proof_failed",
                actor=f"workload:{workload}",
                target=workload,
                ip=asked.network.ip,
                data={"why": why, "host": asked.authority.host, "owner": "" if fact is None else fact.owner},
            )
        )

    def _unreadable(self, request: CheckRequest, error: BadRequest | Misdirected) -> Reply:
        status, kind = (400, "bad_request") if isinstance(error, BadRequest) else (421, "misdirected")
        try:
            return Reply(self._refusals.unreadable(request, status, error), kind)
        except Exception:
            log.exception("check.failed")  # law C2
            return Reply(OUTAGE, "outage")

    def _fail(self, why: str) -> Reply:
        """Answer that nothing can be decided, and log it when it begins."""
        if why != self._last_outage:
            self._last_outage = why
            log.error("check.outage", why=why)
        return Reply(OUTAGE, "outage")


def _question(asked: Asked, at: Instant, seat: Seat | None) -> AccessRequest:
    return AccessRequest(
        id=new_decision_id(at),
        at=at,
        subject=None if seat is None else seat.ref,
        action=asked.match.action,
        resource=asked.match.resource,
        session_id=None if seat is None else seat.session_id,
        method=asked.request.method,
        host=asked.authority.host,
        path=asked.target.path,
        ip=asked.network.ip,
    )

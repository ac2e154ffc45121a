"""Verdicts: from a case that is decided to its answer and its record."""

import msgspec

from limen.administrator.recording import Entry, Recorder
from limen.administrator.rollout import let_through_entry
from limen.core.changes import WorkloadSessionFact
from limen.core.decision import ENGINE_CODES, Code, Decision, Explanation, Facts, Verdict
from limen.core.ids import BundleId, Instant
from limen.core.rollout import Mode, Stage
from limen.enforcement.check.answer import Answer, Header
from limen.enforcement.check.assertion import RENEW_S, assertion_claims
from limen.enforcement.check.bundle_view import BundleView
from limen.enforcement.check.case import Case, Opening, Outcome, Pending, Reply
from limen.enforcement.check.identity import (
    CREDENTIALS,
    DECISION_ID,
    going_on,
    identity_headers,
    machine_claims,
    machine_identity,
    removals,
)
from limen.enforcement.check.modes import (
    day_words,
    let_through,
    page_is_due,
    stage_in_force,
    warned_cookie,
    warning_header,
)
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.places import Place, ServicePlace
from limen.enforcement.check.refusals import OUTAGE, Refusals, cure, cured_by_signing_in
from limen.enforcement.check.seats import Seat

SEEN_EVERY_S = 30.0  # control learns of a session in use no more often

EXPLAINED = frozenset({Code.NO_PERMIT, Code.FORBIDDEN, Code.POLICY_ERROR})
"""Denials by policy: the only ones that the engine is asked to explain."""


class Verdicts:
    """Answers cases under the bundle of `view`."""

    def __init__(self, parts: CheckParts, recorder: Recorder, refusals: Refusals, view: BundleView) -> None:
        self._parts = parts
        self._recorder = recorder
        self._refusals = refusals
        self._view = view

    def of(self, case: Case, facts: Facts, decision: Decision) -> Outcome:
        """Answer what the engine decided, unless its explanation must be found first."""
        if decision.allowed:
            return self._allow(case, facts, decision)
        pending = Pending(case, facts, decision)
        if decision.code in ENGINE_CODES:
            return Reply(OUTAGE, "outage", self._entry(case, decision, facts))
        if decision.code not in EXPLAINED:
            return self.explained(pending, None)
        known = self._parts.explainer.cached(case.question, facts, decision)
        stage = let_through(case, decision.code)
        if stage is not None and not page_is_due(case, stage):
            return self._allow(case, facts, decision, stage, known)
        return pending if known is None else self.explained(pending, known)

    def explained(self, pending: Pending, explanation: Explanation | None) -> Reply:
        """Answer a denial with what is known of its cure; or the page that a person is shown before it."""
        case, code = pending.case, pending.decision.code
        stage = let_through(case, code)
        if stage is not None:
            return self._warn(pending, stage, explanation)
        entry = self._entry(case, pending.decision, pending.facts, explanation)
        remedies = () if explanation is None else cured_by_signing_in(explanation)
        # The same cure twice in a row is a page, not a loop.
        machine = case.seat is not None and case.seat.machine is not None
        if remedies and not machine and case.asked.credentials.cured != cure(remedies)[0]:
            answer = self._refusals.step_up(case.asked, case.question.id, remedies)
            return Reply(answer, "step_up", entry)
        return Reply(self._denial(case, code, explanation), "deny", entry)

    def public(self, case: Case, *, leashed: bool = False) -> Reply:
        """Let a public path go on without any identity."""
        decision = Decision(Verdict.ALLOW, Code.PUBLIC, bundle=self._bundle_id())
        asked = case.asked
        assert not isinstance(asked.place, ServicePlace), "no service is public"
        changes = going_on((), removals(asked.place.app, ()), asked.credentials)
        answer = Answer(200, ((DECISION_ID, case.question.id), *changes))
        opening = Opening(case, decision) if leashed else None
        return Reply(answer, "public", self._entry(case, decision), opening)

    def stranger(self, case: Case, stage: Stage, *, leashed: bool = False) -> Reply:
        """Let a request without a session go on, without any identity, as on a public path (law M1)."""
        decision = Decision(Verdict.DENY, Code.NO_SESSION, bundle=self._bundle_id())
        asked = case.asked
        assert not isinstance(asked.place, ServicePlace), "services always need a session"
        told = _warning(case, stage, decision)
        changes = going_on((), removals(asked.place.app, ()), asked.credentials)
        answer = Answer(200, (*told, (DECISION_ID, case.question.id), *changes))
        opening = Opening(case, decision) if leashed else None
        return Reply(answer, "would_deny", self._entry(case, decision, stage=stage), opening)

    def refused(self, case: Case, code: Code) -> Reply:
        """Deny what no policy may allow."""
        decision = Decision(Verdict.DENY, code, bundle=self._bundle_id())
        return Reply(self._denial(case, code, None), "deny", self._entry(case, decision))

    def unproven(self, case: Case, machine: WorkloadSessionFact) -> Reply:
        """Deny whoever brings a token without the key or the certificate that it is bound to."""
        decision = Decision(Verdict.DENY, Code.PROOF_FAILED, bundle=self._bundle_id())
        answer = self._refusals.unproven(case.asked, case.question.id, by_key=bool(machine.jkt))
        return Reply(answer, "deny", self._entry(case, decision))

    def limited(self, opening: Opening, limit: str) -> Reply:
        """Deny what policies allow, because there are as many streams as `limit` allows."""
        case = opening.case
        decision = Decision(Verdict.DENY, Code.STREAM_LIMIT, bundle=self._bundle_id())
        answer = self._refusals.limited(case.asked, case.question.id, limit)
        return Reply(answer, "limit", self._entry(case, decision))

    def _denial(self, case: Case, code: Code, explanation: Explanation | None) -> Answer:
        return self._refusals.denied(
            case.asked,
            case.question.id,
            code,
            at=case.question.at,
            explanation=explanation,
            who=None if case.seat is None else case.seat.person,
        )

    def _warn(self, pending: Pending, stage: Stage, explanation: Explanation | None) -> Reply:
        """Tell a person, instead of the app's page, what will be denied. The next request goes on."""
        case, decision = pending.case, pending.decision
        answer = self._refusals.warned(
            case.asked,
            case.question.id,
            decision.code,
            at=case.question.at,
            day=day_words(case, stage),
            cookie=warned_cookie(case),
            explanation=explanation,
            who=None if case.seat is None else case.seat.person,
        )
        return Reply(answer, "warn", self._entry(case, decision, pending.facts, explanation, stage))

    def _allow(
        self,
        case: Case,
        facts: Facts,
        decision: Decision,
        stage: Stage | None = None,
        explanation: Explanation | None = None,
    ) -> Reply:
        """Let a request go on. With a stage it would be denied, and is not yet."""
        seat, at = case.seat, case.question.at
        assert seat is not None, "only a session is allowed"
        if at >= seat.identity_until or at < seat.identity_until - RENEW_S:
            self._identify(case.asked.place, seat, at)
        if at - seat.seen_at >= SEEN_EVERY_S or at < seat.seen_at:
            seat.seen_at = at
            self._parts.note_seen(seat.session_id, at)
        changes = going_on(seat.identity, seat.removed, case.asked.credentials)
        answer = Answer(200, ((DECISION_ID, case.question.id), *changes))
        if stage is None:
            return Reply(answer, "allow", self._entry(case, decision, facts))
        answer = Answer(200, (*_warning(case, stage, decision), *answer.headers))
        return Reply(answer, "would_deny", self._entry(case, decision, facts, explanation, stage))

    def _identify(self, place: Place, seat: Seat, at: Instant) -> None:
        """Write what the app is told of whoever this is, once in a while."""
        if isinstance(place, ServicePlace):  # nobody at the other end reads headers
            seat.removed, seat.identity_until = CREDENTIALS, at + RENEW_S
            return
        machine = seat.workload
        who = seat.person if machine is None else machine_identity(machine)
        assert who is not None, "nobody is allowed who is not in the directory"
        claims = assertion_claims(
            who, seat.facts, issuer=f"https://{place.auth_host}", audience=place.app.name, at=at
        )
        secret = self._parts.replica.secret(place.app.identity.basic_secret)
        basic = None if secret is None else self._parts.unseal(secret)
        signed = self._parts.signer.sign(claims if machine is None else claims | machine_claims(machine))
        seat.identity = identity_headers(place.app, who, signed, basic)
        seat.removed = removals(place.app, seat.identity)
        seat.identity_until = at + RENEW_S

    def _entry(
        self,
        case: Case,
        decision: Decision,
        facts: Facts | None = None,
        explanation: Explanation | None = None,
        stage: Stage | None = None,
    ) -> Entry:
        """Return what is written. With a stage, a denial was let through by it."""
        inputs_id, inputs, active = "", None, self._view.active
        if facts is not None and case.seat is not None and active is not None:
            grants = tuple([grant.id for grant in facts.grants])
            key = (facts.resource.digest, facts.staleness_max_s, grants)
            inputs_id = case.seat.inputs.get(key, "")
            if not inputs_id:
                inputs_id = self._recorder.inputs_id(case.question, facts, active.policies)
                case.seat.inputs[key] = inputs_id
            inputs = self._recorder.inputs(inputs_id, case.question, facts, active.policies)
        entry = self._recorder.entry(
            case.question,
            decision,
            bundle=self._view.fact,
            took_us=(self._parts.ticks_ns() - case.started_ns) // 1_000,
            age_s=0.0 if facts is None else facts.age_s,
            remedies=() if explanation is None else tuple([remedy.id for remedy in explanation.remedies]),
            inputs_id=inputs_id,
            inputs=inputs,
        )
        return _in_mode(entry, case, stage) if case.asked.place.staged else entry

    def _bundle_id(self) -> BundleId:
        return BundleId("" if self._view.active is None else self._view.active.id)


def _in_mode(entry: Entry, case: Case, stage: Stage | None) -> Entry:
    """Return an entry that says in which mode it was; with a stage, that its denial was let through."""
    if stage is not None:
        return let_through_entry(entry, stage)
    record = msgspec.structs.replace(entry.record, mode=stage_in_force(case).mode.value)
    return msgspec.structs.replace(entry, record=record)


def _warning(case: Case, stage: Stage, decision: Decision) -> tuple[Header, ...]:
    """Return the header by which `warn` tells a client; `observe` tells nobody."""
    return (warning_header(stage, decision.code, case.question.id),) if stage.mode is Mode.WARN else ()

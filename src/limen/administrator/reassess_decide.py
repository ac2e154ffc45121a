"""Deciding a live stream again: from what the replica holds now to keep or end. Reads no clock.

The facts are those that a new request of the same session would be decided from, built in the same way,
so a stream stays open exactly as long as it could be opened again.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from limen.administrator.active import ActiveBundle
from limen.administrator.machine_sessions import (
    CERTIFICATE_OF_MACHINE,
    TOKEN_OF_MACHINE,
    certificate_session,
    is_alive,
)
from limen.administrator.reassess_places import Standing, StreamPlaces
from limen.administrator.replica import Replica, machine_facts, session_facts
from limen.administrator.streams import Cause, LiveStream, reads_of
from limen.core.catalogue import CONNECT_APP
from limen.core.changes import AppSessionFact
from limen.core.decision import AccessRequest, Code, Decision, Facts, SessionFacts, Verdict
from limen.core.ids import BundleId, EntityRef, Instant
from limen.core.rollout import Stage, softened
from limen.engine.explain import SENTENCES
from limen.engine.policies import Policies

AGAIN_EVERY_S = 1.0  # architecture, law R3: where time is read so that no edge can be named

Decide = Callable[[AccessRequest, Facts, Policies], Decision]
COOKIE = "cookie"
SERVICE = "Service"
NO_BUNDLE = ""

_SESSION_OVER = "Your session has ended. Sign in again."
_TOO_OLD = "This connection has reached the longest time that its resource allows. Open it again."
_DENIED: dict[Code, str] = {
    **SENTENCES,
    Code.NO_PERMIT: "No policy permits this connection any more.",
    Code.FORBIDDEN: "A policy forbids this connection now.",
    Code.POLICY_ERROR: "A policy could not be evaluated, so nothing stays open.",
    Code.NO_RESOURCE: "This address does not lead here any more.",
    Code.CROSS_APP: "The page that opened this connection may not call this app any more.",
    Code.STREAM_REFUSED: "This kind of live connection is not open here any more.",
}
_CAUSES = {Code.STATE_STALE: Cause.STALE, Code.NO_SESSION: Cause.SESSION_ENDED}


class Keep(msgspec.Struct, frozen=True):
    """A stream may go on, until `deadline_at` at least.

    Attributes:
        question: what it is now, should the bundle have changed that.
        token_hash: the app session that it lives by now.
        reads: what this decision read.
        softened: the denial that it lives on in spite of.
    """

    question: AccessRequest
    token_hash: str
    reads: tuple[EntityRef, ...]
    deadline_at: Instant
    max_at: Instant
    staleness_max_s: float
    softened: "Softened | None" = None


class Softened(msgspec.Struct, frozen=True):
    """A denial that closes nothing, because its resource is in `stage`, with what it was made from."""

    stage: Stage
    question: AccessRequest
    decision: Decision
    facts: Facts | None = None


class End(msgspec.Struct, frozen=True):
    """A stream must end. `decision` is there when it flipped, `facts` when the engine was asked."""

    cause: Cause
    sentence: str
    question: AccessRequest
    decision: Decision | None = None
    facts: Facts | None = None


class _Held(NamedTuple):
    """What a stream lives by: what it proves, the hash of its token, and when that is over."""

    facts: SessionFacts
    token_hash: str
    expires_at: Instant


class _Look(NamedTuple):
    """One look at a stream: what it is now, and all that the answer depends on besides the replica."""

    stream: LiveStream
    standing: Standing
    question: AccessRequest
    max_at: Instant
    boot_s: float
    active: ActiveBundle


class Redecider:
    """Decides live streams again by a replica."""

    def __init__(self, replica: Replica, decide: Decide) -> None:
        self._replica = replica
        self._decide = decide
        self._places: tuple[ActiveBundle, StreamPlaces] | None = None

    def redecide(self, stream: LiveStream, now: Instant, boot_s: float) -> Keep | End:
        """Say whether a stream may go on at `now`."""
        active = self._replica.active
        if active is None:  # every new request is refused too
            return _refuse(stream.question, now, Code.ENGINE_FAILED, NO_BUNDLE)
        standing = self._standing(stream, active)
        if isinstance(standing, Code):
            return _refuse(stream.question, now, standing, active.id)
        question = _asked_again(stream.question, standing, now)
        look = _Look(stream, standing, question, stream.opened_at + standing.max_s, boot_s, active)
        if now >= look.max_at:
            return End(Cause.AGE, _TOO_OLD, question)
        return self._public(look) if question.subject is None else self._signed_in(look)

    def _signed_in(self, look: _Look) -> Keep | End:
        stream, question, now = look.stream, look.question, look.question.at
        held = self._held(stream, look.active, now)
        if held is None:
            return End(Cause.SESSION_ENDED, _SESSION_OVER, question)
        facts = self._replica.facts(
            question.subject,
            question.resource,
            at=now,
            session=held.facts,
            network=stream.network,
            age_s=self._replica.age_s(look.boot_s),
            staleness_max_s=look.standing.staleness_max_s,
        )
        if facts is None:
            return _refuse(question, now, Code.NO_RESOURCE, look.active.id)
        decision = self._decide(question, facts, look.active.policies)
        kept_by = None if decision.allowed else _softened(look, question, decision, facts)
        if not decision.allowed and kept_by is None:
            return _ended_by(decision, question, facts)
        deadline_at = next_look(decision, facts, now, min(look.max_at, held.expires_at))
        return _keep(look, held.token_hash, facts, deadline_at, kept_by)

    def _public(self, look: _Look) -> Keep | End:
        """Decide a stream that nobody signed in for: it needs a public route (or an app that is not
        enforced yet, which no service is for strangers), and fresh facts.
        """
        question, now = look.question, look.question.at
        resource = self._replica.closure(question.resource)
        if not self._replica.age_s(look.boot_s) <= look.standing.staleness_max_s:
            return _refuse(question, now, Code.STATE_STALE, look.active.id)
        decision = Decision(Verdict.DENY, Code.NO_SESSION, bundle=BundleId(look.active.id))
        kept_by = None if look.standing.public else _softened(look, question, decision, None)
        if resource is None or not (look.standing.public or kept_by):
            return End(Cause.DENIED, _DENIED[Code.NO_SESSION], question, decision)
        return _keep(look, look.stream.token_hash, Facts(None, resource), look.max_at, kept_by)

    def _held(self, stream: LiveStream, active: ActiveBundle, now: Instant) -> _Held | None:
        """Return what a stream lives by, or None when that is over."""
        if stream.token_kind in (TOKEN_OF_MACHINE, CERTIFICATE_OF_MACHINE):
            return self._held_by_machine(stream, active, now)
        question = stream.question
        session = self._replica.session(question.session_id or "")
        if session is None or question.subject != EntityRef("User", session.person):
            return None
        token = self._app_session(stream, session.id, now)
        return None if token is None else _Held(session_facts(session), token.id, token.expires_at)

    def _app_session(self, stream: LiveStream, session_id: str, now: Instant) -> AppSessionFact | None:
        """Return the app session that a person's stream lives by.

        A cookie's stream lives on by any cookie of the same session and app, the longest-lived first: a
        step-up replaces the app session, and is no reason to cut. A token's stream needs its own token.
        """
        own = self._replica.app_session(stream.token_hash)
        if own is not None and _is_good(own, stream, now):
            return own
        if stream.token_kind != COOKIE:
            return None
        others = (o for o in self._replica.cookie_sessions(session_id) if _is_good(o, stream, now))
        return max(others, key=lambda other: other.expires_at, default=None)

    def _held_by_machine(self, stream: LiveStream, active: ActiveBundle, now: Instant) -> _Held | None:
        """The same of a machine: its own token, or the certificate that the stream was opened with."""
        fact = self._replica.workload_session(stream.token_hash)
        if stream.certificate is not None:
            fact = certificate_session(stream.certificate, active.catalogue)
        subject = stream.question.subject
        door = stream.app
        if stream.app == CONNECT_APP:
            door = stream.question.resource.id
        if fact is None or subject is None or not is_alive(fact, subject.id, door, now):
            return None
        return _Held(machine_facts(fact), fact.id, fact.expires_at)

    def _standing(self, stream: LiveStream, active: ActiveBundle) -> Standing | Code:
        if self._places is None or self._places[0] is not active:
            self._places = (active, StreamPlaces(active.catalogue))
        return self._places[1].find(stream)


def next_look(decision: Decision, facts: Facts, now: Instant, latest: Instant) -> Instant:
    """Return the first instant at which an allowed stream must be decided again (law R3).

    Where a policy reads time so that no edge can be named, the decision has no other deadline either:
    what ends within that second is taken from the facts.
    """
    edge = decision.deadline_at
    if edge is None:
        return latest
    if edge > now:
        return min(latest, edge)
    ends = [latest, now + AGAIN_EVERY_S, *(grant.expires_at for grant in facts.grants)]
    if facts.session is not None:
        ends.append(facts.session.expires_at)
    if facts.subject is not None and facts.subject.expires_at is not None:
        ends.append(facts.subject.expires_at)
    return min(end for end in ends if end > now)


def _is_good(token: AppSessionFact, stream: LiveStream, now: Instant) -> bool:
    return (
        token.parent == stream.question.session_id
        and token.app == stream.app
        and token.kind == stream.token_kind
        and now < token.expires_at
    )


def _asked_again(question: AccessRequest, standing: Standing, now: Instant) -> AccessRequest:
    return AccessRequest(
        id=question.id,
        at=now,
        subject=question.subject,
        action=standing.action,
        resource=standing.resource,
        session_id=question.session_id,
        method=question.method,
        host=question.host,
        path=question.path,
        ip=question.ip,
    )


def _softened(
    look: _Look, question: AccessRequest, decision: Decision, facts: Facts | None
) -> Softened | None:
    """Return what keeps a stream open that is denied: the stage of whoever has it; None where none does."""
    subject = None if facts is None else facts.subject
    if subject is None and question.resource.type == SERVICE:
        return None
    stage = softened(look.standing.rollout, decision.code, None if subject is None else subject.ancestors)
    return None if stage is None else Softened(stage, question, decision, facts)


def _keep(look: _Look, token_hash: str, facts: Facts, deadline_at: Instant, kept_by: Softened | None) -> Keep:
    old, new = look.stream.question, look.question
    same = (old.resource, old.action) == (new.resource, new.action)
    return Keep(
        old if same else new,
        token_hash,
        reads_of(facts),
        deadline_at,
        look.max_at,
        look.standing.staleness_max_s,
        kept_by,
    )


def _refuse(question: AccessRequest, now: Instant, code: Code, bundle: str) -> End:
    """Return the end that no policy was asked about."""
    again = msgspec.structs.replace(question, at=now)
    return _ended_by(Decision(Verdict.DENY, code, bundle=BundleId(bundle)), again, None)


def _ended_by(decision: Decision, question: AccessRequest, facts: Facts | None) -> End:
    cause = _CAUSES.get(decision.code, Cause.DENIED)
    sentence = _SESSION_OVER if cause is Cause.SESSION_ENDED else _DENIED[decision.code]
    return End(cause, sentence, question, decision, facts)

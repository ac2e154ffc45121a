"""The decision: `Decision = decide(AccessRequest, Facts, Policies)`. Pure: equal inputs, equal answer.

Laws:
    D1 default deny: no satisfied permit, no policy at all, or an exception is a deny.
    D2 forbid wins over any number of permits.
    D3 fail closed: an error that is not provably a permit's counts as a satisfied forbid (Cedar itself
       would skip it); a permit that errs does not permit. Both are reported.
    D4 memo is invisible (`limen.engine.memo`).
    D5 recorded: a decision can be derived again from its record (`limen.engine.replay`).
"""

from typing import NamedTuple

import msgspec

from limen.core.decision import AccessRequest, Code, Decision, Facts, Grant, Verdict
from limen.core.entities import Closure, Status
from limen.core.ids import BundleId, Instant
from limen.engine import cedar
from limen.engine.edges import next_edge, to_ms
from limen.engine.policies import Policies, Slice


class Question(NamedTuple):
    """A request that no built-in refusal ended, with the policies that can match it."""

    request: AccessRequest
    facts: Facts
    policies: Policies
    part: Slice
    grants: tuple[Grant, ...]  # in force now, for this action and resource


class Judgement(msgspec.Struct, frozen=True):
    """What the policies say, apart from everything else that can end a decision.

    `edge_ms` is the first instant at which time alone may change it; None for never.
    """

    verdict: Verdict
    code: Code
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    edge_ms: int | None = None


def decide(request: AccessRequest, facts: Facts, policies: Policies) -> Decision:
    """Answer a request. Never raises: what can not be answered is denied (law D1)."""
    try:
        code = refusal(request, facts)
        if code is not None:
            return refuse(code, policies.bundle)
        question = pose(request, facts, policies)
        return conclude(judge(question), question)
    except BaseException as fault:
        return denied_by(fault, policies.bundle)


def refuse(code: Code, bundle: BundleId) -> Decision:
    """Return the denial that a built-in refusal is. No policy took part, and time alone cures none."""
    return Decision(Verdict.DENY, code, bundle=bundle)


def denied_by(fault: BaseException, bundle: BundleId) -> Decision:
    """Return the denial that a fault is (law D1). A panic in Rust is a `BaseException`, hence the type.

    Raises:
        KeyboardInterrupt, SystemExit, GeneratorExit: someone ends this program; that is no fault.
    """
    if isinstance(fault, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise fault
    return Decision(Verdict.DENY, Code.ENGINE_FAILED, bundle=bundle)


def refusal(request: AccessRequest, facts: Facts) -> Code | None:
    """Return why no policy is asked, or None. Stale facts come first: they prove nothing about the rest."""
    if not facts.age_s <= facts.staleness_max_s:  # law F3; so written that NaN is stale
        return Code.STATE_STALE
    if request.subject is None:
        return Code.NO_SESSION
    if facts.subject is None:
        return Code.SUBJECT_UNKNOWN
    if facts.subject.root != request.subject or facts.resource.root != request.resource:
        raise cedar.EngineFault("The facts are not about what the request names.")
    quarantined = facts.device is not None and facts.device.closure.quarantined
    return _subject_refusal(facts.subject, request.at, quarantined) or _session_refusal(request, facts)


def _subject_refusal(subject: Closure, at: Instant, device_quarantined: bool) -> Code | None:
    if subject.status is not Status.ACTIVE:
        return Code.SUBJECT_SUSPENDED if subject.status is Status.SUSPENDED else Code.SUBJECT_ENDED
    if subject.expires_at is not None and not at < subject.expires_at:
        return Code.SUBJECT_EXPIRED
    if subject.quarantined or device_quarantined:
        return Code.QUARANTINED
    return Code.GROUPS_UNKNOWN if subject.groups_unknown else None


def _session_refusal(request: AccessRequest, facts: Facts) -> Code | None:
    """A person always has a session; a workload may have one."""
    if facts.session is None:
        return Code.NO_SESSION if facts.subject is None or facts.subject.root.type == "User" else None
    return None if request.at < facts.session.expires_at else Code.NO_SESSION


def pose(request: AccessRequest, facts: Facts, policies: Policies) -> Question:
    """Find the policies and grants that can match.

    Raises:
        EngineFault: the facts do not fit the schema.
    """
    part = policies.plan(request.action, facts)
    return Question(
        request, facts, policies, part, policies.grants_in_force(request.action, facts, request.at)
    )


def judge(question: Question) -> Judgement:
    """Ask Cedar.

    Raises:
        EngineFault: it gave no decision.
    """
    request, facts, policies, part, grants = question
    if not part.policies and not grants:
        return Judgement(Verdict.DENY, Code.NO_PERMIT)
    assert request.subject is not None  # a built-in refusal
    answer = cedar.ask(
        request.subject,
        request.action,
        request.resource,
        context=part.lens.context(request, facts),
        policies=part.linked(grants),
        entities=policies.entities(part, facts),
    )
    edge_ms = next_edge(part.reads.forms, to_ms(request.at), part.lens.origins(facts), policies.calendar)
    return _weigh(answer, part, tuple(cedar.GRANT_PREFIX + grant.id for grant in grants), edge_ms)


def _weigh(answer: cedar.Answer, part: Slice, links: tuple[str, ...], edge_ms: int | None) -> Judgement:
    """Apply laws D1 to D3 to what Cedar said."""
    forbids = set() if answer.allow else set(answer.reasons)
    code = Code.FORBIDDEN if forbids else Code.POLICY_ERROR
    closed = bool(forbids)
    erring: set[str] = set()
    for error in answer.errors:
        suspects = cedar.erring_ids(error, (*part.effects, *links))
        blamed = {policy for policy in suspects if part.effects.get(policy) == "forbid"}
        erring.update(suspects)
        forbids |= blamed
        closed = closed or bool(blamed) or not suspects  # D3: not provably a permit's
    errors = tuple(sorted(erring))
    if closed:
        return Judgement(Verdict.DENY, code, tuple(sorted(forbids)), errors, edge_ms)
    if answer.allow:
        return Judgement(Verdict.ALLOW, Code.PERMITTED, answer.reasons, errors, edge_ms)
    return Judgement(Verdict.DENY, Code.NO_PERMIT, (), errors, edge_ms)


def conclude(judgement: Judgement, question: Question, memo: str = "none") -> Decision:
    """Return the decision that a judgement is for these facts, with the instant at which it may change."""
    return Decision(
        judgement.verdict,
        judgement.code,
        judgement.policies,
        judgement.errors,
        _deadline(judgement.edge_ms, question),
        question.policies.bundle,
        memo,
    )


def _deadline(edge_ms: int | None, question: Question) -> Instant | None:
    request, facts, _, part, grants = question
    if part.reads.unmemoisable:
        return request.at
    nearest = None if edge_ms is None else edge_ms / 1000
    if facts.session is not None and (nearest is None or facts.session.expires_at < nearest):
        nearest = facts.session.expires_at
    ends = facts.subject.expires_at if facts.subject is not None else None
    if ends is not None and (nearest is None or ends < nearest):
        nearest = ends
    for grant in grants:
        if nearest is None or grant.expires_at < nearest:
            nearest = grant.expires_at
    return nearest

"""Who may do this, and under which conditions: asked of the engine, once per class of equal subjects.

Subjects are equal when the policies can not tell them apart: the same kind and status, the same of the
ancestors that any policy names, the same values of the attributes that any condition reads. Thousands
of people make a few classes, and each class one search.

The search starts from the best world (passkey, fresh sign-in, compliant device, no risk) and takes away,
one by one, whatever is not needed. What remains is minimal: none of it can be left out.
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from typing import Any

import msgspec

from limen.core.decision import AccessRequest, Decision, Facts, Grant, Network, Remedy, SessionFacts
from limen.core.entities import Closure, Status
from limen.core.ids import DecisionId, EntityRef, Instant
from limen.engine.decide import decide
from limen.engine.policies import Policies
from limen.engine.remedies import GRANT_REMEDY, WEAKER, Asked, Candidate, apply, candidates

WEAK_SESSION_S = 43_200.0  # how long ago the plainest session signed in

_QUESTION = DecisionId("0" * 32)

Progress = Callable[[int], None]
Grants = Mapping[EntityRef, tuple[Grant, ...]]


class AccessClass(msgspec.Struct, frozen=True):
    """Subjects with the same answer.

    Attributes:
        policies: what permits them under `conditions`, or what forbids them whatever they do.
        conditions: what each of them needs, beside a password, for an allow. Minimal.
        code: why, as in a decision.
    """

    subjects: tuple[EntityRef, ...]
    allowed: bool
    policies: tuple[str, ...]
    conditions: tuple[Remedy, ...] = ()
    code: str = ""


class SubjectClasses(msgspec.Struct, frozen=True):
    """Subjects sorted into classes, once for many questions: each class has its first subject's closure."""

    classes: tuple[tuple[Closure, tuple[EntityRef, ...]], ...]


def classify(
    subjects: Iterable[Closure],
    policies: Policies,
    resources: Iterable[Closure],
    grants: Grants | None = None,
) -> SubjectClasses:
    """Sort subjects into classes that no policy can tell apart at any of these resources."""
    told_apart = policies.principals | frozenset(grants or ())
    told_apart |= {entity.ref for resource in resources for entity in resource.entities}
    found: dict[Any, tuple[Closure, list[EntityRef]]] = {}
    for subject in subjects:
        key = class_key(subject, told_apart, policies.reads.principal)
        found.setdefault(key, (subject, []))[1].append(subject.root)
    return SubjectClasses(tuple((first, tuple(members)) for first, members in found.values()))


def class_key(subject: Closure, told_apart: frozenset[EntityRef], paths: frozenset[str]) -> Any:
    """Return what is equal for subjects that these entities and attribute paths do not tell apart."""
    attrs = next((entity.attrs for entity in subject.entities if entity.ref == subject.root), {})
    return (
        subject.root.type,
        subject.ancestors & told_apart,
        tuple(_text(attrs, path) for path in sorted(paths) if path),
        subject.status,
        subject.quarantined,
        subject.expires_at,
    )


def _text(attrs: Mapping[str, Any], path: str) -> bytes:
    """Return the value at a path as text. A value that names an entity stands for all of it."""
    value: Any = attrs
    for part in path.split("."):
        if not isinstance(value, Mapping) or "__entity" in value:
            break
        value = value.get(part)
    return msgspec.json.encode(value, order="deterministic")


def who_can(  # noqa: PLR0917  the question first, its circumstances after
    action: str,
    resource: EntityRef,
    policies: Policies,
    subjects: Iterable[Closure] | SubjectClasses,
    resource_closure: Closure,
    progress: Progress | None = None,
    *,
    at: Instant,
    grants: Grants | None = None,
) -> tuple[AccessClass, ...]:
    """Say who may do `action` on `resource`, those who may first, then by size.

    `progress` is told how many subjects each step has dealt with. For many resources, `classify` once.
    """
    assert resource == resource_closure.root
    if not isinstance(subjects, SubjectClasses):
        subjects = classify(subjects, policies, (resource_closure,), grants)
    found: dict[AccessClass, list[EntityRef]] = {}
    for subject, members in subjects.classes:
        own = tuple(grant for ref in sorted(subject.ancestors) for grant in (grants or {}).get(ref, ()))
        answer = find_access(action, subject, resource_closure, policies, at=at, grants=own)
        found.setdefault(answer, []).extend(members)
        if progress is not None:
            progress(len(members))
    classes = [msgspec.structs.replace(one, subjects=tuple(sorted(who))) for one, who in found.items()]
    return tuple(sorted(classes, key=lambda one: (not one.allowed, -len(one.subjects), one.subjects)))


def find_access(
    action: str,
    subject: Closure,
    resource: Closure,
    policies: Policies,
    *,
    at: Instant,
    grants: tuple[Grant, ...] = (),
) -> AccessClass:
    """Say whether one subject may, and what they need for it. `subjects` of the answer is left empty."""
    facts = Facts(subject=subject, resource=resource, session=_weak_session(subject, at), grants=grants)
    return _answer(AccessRequest(_QUESTION, at, subject.root, action, resource.root), facts, policies)


def _weak_session(subject: Closure, at: Instant) -> SessionFacts | None:
    """The plainest session: a password, long ago. What it lacks becomes a condition."""
    if subject.root.type != "User":
        return None
    then = at - WEAK_SESSION_S
    return SessionFacts("", 1, False, ("password",), then, then, at + WEAK_SESSION_S)


def _answer(request: AccessRequest, facts: Facts, policies: Policies) -> AccessClass:
    plain = decide(request, facts, policies)
    if plain.allowed or facts.subject is None or facts.subject.status is not Status.ACTIVE:
        return _outcome(plain, ())
    part = policies.plan(request.action, facts)
    offered = tuple(one for one in candidates(request, facts, part) if one.remedy.id != GRANT_REMEDY)
    offered += tuple(_from_network(text) for text in sorted(part.reads.ranges))
    best, decision = _best_world(offered, request, facts, policies)
    if not decision.allowed:
        return _outcome(decision, ())
    needed = _without_needless(best, offered, (request, facts), policies)
    return _outcome(decide(*apply(needed, request, facts), policies), tuple(one.remedy for one in needed))


def _outcome(decision: Decision, conditions: tuple[Remedy, ...]) -> AccessClass:
    return AccessClass((), decision.allowed, decision.policies, conditions, str(decision.code))


def _best_world(
    offered: tuple[Candidate, ...], request: AccessRequest, facts: Facts, policies: Policies
) -> tuple[tuple[Candidate, ...], Decision]:
    """Return the strongest set that allows, trying each instant and each network; else the strongest."""
    strongest = {one.family: one for one in offered if one.family not in ("later", "network")}
    base = tuple(strongest.values())
    instants: list[tuple[Candidate, ...]] = [(), *((one,) for one in offered if one.family == "later")]
    networks: list[tuple[Candidate, ...]] = [(), *((one,) for one in offered if one.family == "network")]
    first: Decision | None = None
    for wait in instants:
        for network in networks:
            world = (*wait, *base, *network)
            decision = decide(*apply(world, request, facts), policies)
            if decision.allowed:
                return world, decision
            first = first or decision
    assert first is not None
    return base, first


def _without_needless(
    world: tuple[Candidate, ...], offered: tuple[Candidate, ...], asked: Asked, policies: Policies
) -> tuple[Candidate, ...]:
    """Take away, or weaken, each remedy as long as the answer stays an allow: the dearest first."""
    by_id = {one.remedy.id: one for one in offered if one.family != "later"}
    for one in reversed(world):
        for instead in ((), *((weaker,) for weaker in _weaker(one, by_id))):
            fewer = tuple(part for other in world for part in (instead if other is one else (other,)))
            if fewer != world and decide(*apply(fewer, *asked), policies).allowed:
                world = fewer
                break
    return world


def _weaker(one: Candidate, by_id: Mapping[str, Candidate]) -> list[Candidate]:
    """Return what could do in place of a remedy, the weakest first."""
    found: list[Candidate] = []
    name = WEAKER.get(one.remedy.id)
    while name is not None:
        found += [by_id[name]] if name in by_id else []
        name = WEAKER.get(name)
    return found[::-1]


def _from_network(text: str) -> Candidate:
    inside = str(ip_network(text, strict=False).network_address)

    def moved(request: AccessRequest, facts: Facts) -> Asked:
        return request, msgspec.structs.replace(facts, network=Network(ip=inside))

    return Candidate(Remedy(f"network:{text}", f"Come from the network {text}."), "network", moved)

"""What changes in who can: each action on each resource, under one bundle and under another.

Thousands of people and hundreds of resources are a few distinct questions. Subjects whom neither bundle can
tell apart are one class. A resource whose policies are the same on both sides is not asked about at all. And
two questions are one where the policies that match have the same effects and conditions, and none of them
looks at who or what it is: only their names differ.

Shape: a set of classes is an integer, bit `n` standing for class `n`: a question splits all classes into a few
such sets by as many `&` as there are policies, however many people there are.

Laws:
    W1 same: between a bundle and itself nothing changes.
    W2 exact: a subject is in `added` or `removed` of an action on a resource if and only if `who_can` says
       that they may under one bundle and not under the other; where they may under both, they are in
       `step_up` or `eased` if and only if what they need for it differs so.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from limen.core.decision import Grant, Remedy
from limen.core.entities import Closure
from limen.core.ids import EntityRef, Instant
from limen.core.resources import ACTIONS_ON
from limen.engine.bundle_values import Bundle
from limen.engine.index import Anchor, anchors
from limen.engine.policies import Policies
from limen.engine.reads import union
from limen.engine.remedies import WEAKER
from limen.engine.who_can import AccessClass, Grants, class_key, classify, find_access

Progress = Callable[[int, int], None]

NOBODY = AccessClass((), allowed=False, policies=(), code="NO_RESOURCE")


class Effect(StrEnum):
    """What a change does. In the order in which a reader wants them."""

    REMOVED = "removed"
    STEP_UP = "step_up"  # may as before, and needs more for it
    ADDED = "added"
    EASED = "eased"  # may as before, and needs less for it


class World(msgspec.Struct, frozen=True):
    """One side: a bundle, and everybody and everything as it makes policies see them."""

    bundle: Bundle
    policies: Policies
    subjects: Mapping[EntityRef, Closure]
    resources: Mapping[EntityRef, Closure]
    grants: Grants = {}


class WhoCanChange(msgspec.Struct, frozen=True):
    """What changes for some subjects at an action on a resource. `classes` are indexes into `Changes`."""

    effect: Effect
    action: str
    resource: EntityRef
    classes: tuple[int, ...]
    before: AccessClass
    after: AccessClass


class Changes(msgspec.Struct, frozen=True):
    """All that changes. `classes` are subjects whom neither bundle tells apart."""

    classes: tuple[tuple[EntityRef, ...], ...]
    changes: tuple[WhoCanChange, ...]

    def subjects(self, change: WhoCanChange) -> tuple[EntityRef, ...]:
        """Return whom a change meets, sorted."""
        return tuple(sorted(itertools.chain.from_iterable(self.classes[one] for one in change.classes)))


def who_can_diff(before: World, after: World, *, at: Instant, progress: Progress | None = None) -> Changes:
    """Say what changes in who can, for every action on every resource of either bundle."""
    assert before.subjects.keys() == after.subjects.keys()
    classes = _joint(before, after)
    sides = (_Side(before, classes, at), _Side(after, classes, at))
    comparable = _comparable(before, after)
    questions = [
        (action, ref)
        for ref in sorted(before.resources.keys() | after.resources.keys())
        for action in ACTIONS_ON.get(ref.type, ())
    ]
    found: list[WhoCanChange] = []
    for done, (action, ref) in enumerate(questions, 1):
        asked = tuple(side.question(action, ref) for side in sides)
        if not (comparable and asked[0].same_as(asked[1])):
            old, new = (side.answers(one) for side, one in zip(sides, asked, strict=True))
            found.extend(_compare(action, ref, old, new))
        if progress is not None:
            progress(done, len(questions))
    order = list(Effect)
    found.sort(key=lambda one: (order.index(one.effect), one.resource, one.action, one.classes))
    return Changes(classes, tuple(found))


def _joint(before: World, after: World) -> tuple[tuple[EntityRef, ...], ...]:
    """Return the classes of subjects whom neither side tells apart."""
    place: dict[EntityRef, list[int]] = {}
    for world in (before, after):
        resources = world.resources.values()
        sorted_ = classify(world.subjects.values(), world.policies, resources, world.grants)
        for index, (_, members) in enumerate(sorted_.classes):
            for ref in members:
                place.setdefault(ref, []).append(index)
    found: dict[tuple[int, ...], list[EntityRef]] = {}
    for ref, where in place.items():
        found.setdefault(tuple(where), []).append(ref)
    return tuple(tuple(sorted(members)) for members in found.values())


def _comparable(before: World, after: World) -> bool:
    """Whether equal policies on equal resources decide alike on both sides."""
    one, other = before.bundle, after.bundle
    return (
        one.cedar_schema == other.cedar_schema
        and one.catalogue.timezone == other.catalogue.timezone
        and all(closure.digest == after.subjects[ref].digest for ref, closure in before.subjects.items())
    )


class _Question(NamedTuple):
    """An action on a resource, with what can matter to it. `resource` None: there is none on this side."""

    action: str
    resource: Closure | None
    scopes: tuple[tuple[int, Anchor], ...]
    grants: Mapping[EntityRef, tuple[Grant, ...]]
    texts: tuple[tuple[str, bytes], ...]

    def same_as(self, other: "_Question") -> bool:
        if self.resource is None or other.resource is None:
            return self.resource is other.resource
        same = self.resource.digest == other.resource.digest
        return same and self.texts == other.texts and self.grants == other.grants


class _Side:
    """One world, asked about classes."""

    def __init__(self, world: World, classes: tuple[tuple[EntityRef, ...], ...], at: Instant) -> None:
        self._world = world
        self._at = at
        self._first = tuple(world.subjects[members[0]] for members in classes)
        policies = world.policies.whole().policies
        self._texts = tuple((one.id, msgspec.json.encode(one.est, order="deterministic")) for one in policies)
        self._reads = tuple(world.policies.slice_at((position,)).reads for position in range(len(policies)))
        shapes: dict[tuple[str, bytes], int] = {}
        bodies = [msgspec.json.encode(one.est["conditions"], order="deterministic") for one in policies]
        parts = tuple(zip((one.effect for one in policies), bodies, strict=True))
        self._shape = tuple(shapes.setdefault(part, len(shapes)) for part in parts)
        self._looks = tuple(
            one.entities or b'{"Var":"action"}' in body for one, body in zip(self._reads, bodies, strict=True)
        )
        self._masks: dict[Anchor | EntityRef, int] = {}
        self._partitions: dict[object, tuple[int, ...]] = {}
        self._known: dict[object, tuple[AccessClass, tuple[str, ...]]] = {}

    @cached_property
    def _anchors(self) -> tuple[frozenset[Anchor], ...]:
        return tuple(anchors(closure) for closure in self._first)

    @cached_property
    def _standings(self) -> tuple[int, ...]:
        return self._split_by(_standing_of)

    def question(self, action: str, ref: EntityRef) -> _Question:
        """Find what can matter to an action on a resource."""
        resource = self._world.resources.get(ref)
        if resource is None:
            return _Question(action, None, (), {}, ())
        scopes = self._world.policies.scopes(action, resource)
        grants = {
            principal: standing
            for principal, held in self._world.grants.items()
            if (standing := self._standing(held, resource))
        }
        return _Question(action, resource, scopes, grants, tuple(self._texts[one] for one, _ in scopes))

    def _standing(self, held: Iterable[Grant], resource: Closure) -> tuple[Grant, ...]:
        return tuple(one for one in held if one.resource in resource.ancestors and self._at < one.expires_at)

    def answers(self, question: _Question) -> list[tuple[int, AccessClass]]:
        """Answer for all classes: those that this question does not tell apart at once."""
        if question.resource is None:
            return [((1 << len(self._first)) - 1, NOBODY)]
        parts = [(mask, (), ()) for mask in self._standings]
        for position, anchor in question.scopes:
            parts = _refine(parts, self._mask(anchor), 0, position)
        for ref in question.grants:
            parts = _refine(parts, self._mask(ref), 1, ref)
        return [answer for part in parts for answer in self._part(question, *part)]

    def _part(
        self, question: _Question, mask: int, positions: tuple[int, ...], granted: tuple[EntityRef, ...]
    ) -> Iterator[tuple[int, AccessClass]]:
        """Answer for classes to whom the same policies and grants apply."""
        assert question.resource is not None
        looks = any(self._looks[position] for position in positions)
        told = self._told_apart(question.resource, positions) if looks else (mask,)
        for within in told:
            if some := mask & within:
                subject = self._first[(some & -some).bit_length() - 1]
                yield some, self._ask(question, subject, positions, granted, looks=looks)

    def _told_apart(self, resource: Closure, positions: tuple[int, ...]) -> tuple[int, ...]:
        """Return the classes that these policies can tell apart by looking at them, at this resource."""
        reads = union(self._reads[position] for position in positions)
        people = {one.ref for one in resource.entities if one.ref.type in ("User", "Workload", "Group")}
        key = (reads.named | people, reads.principal)
        if key not in self._partitions:
            self._partitions[key] = self._split_by(
                (lambda one: one.digest) if "" in reads.principal else (lambda one: class_key(one, *key))
            )
        return self._partitions[key]

    def _split_by(self, key: Callable[[Closure], object]) -> tuple[int, ...]:
        found: dict[object, list[int]] = {}
        for index, subject in enumerate(self._first):
            found.setdefault(key(subject), []).append(index)
        return tuple(_bits(members) for members in found.values())

    def _mask(self, of: Anchor | EntityRef) -> int:
        """Return the classes that satisfy an anchor, or are in an entity."""
        if of not in self._masks:
            self._masks[of] = _bits(
                index
                for index, (subject, has) in enumerate(zip(self._first, self._anchors, strict=True))
                if (of in has if isinstance(of, Anchor) else of in subject.ancestors)
            )
        return self._masks[of]

    def _ask(
        self,
        question: _Question,
        subject: Closure,
        positions: tuple[int, ...],
        granted: tuple[EntityRef, ...],
        *,
        looks: bool,
    ) -> AccessClass:
        """Answer, from an equal question if there was one: then only the names of its policies differ."""
        assert question.resource is not None
        ordered = sorted(positions, key=lambda position: (self._shape[position], position))
        names = tuple(self._texts[position][0] for position in ordered)
        about: tuple[object, ...] = _standing_of(subject)
        if looks:
            about = (question.action, subject.digest, question.resource.digest)
        grants = tuple(grant for ref in granted for grant in question.grants[ref])
        shape = tuple(self._shape[position] for position in ordered)
        key = (shape, (question.action, question.resource.digest, grants) if grants else (), about)
        if key not in self._known:
            answer = find_access(
                question.action, subject, question.resource, self._world.policies, at=self._at, grants=grants
            )
            self._known[key] = (answer, names)
        answer, theirs = self._known[key]
        renamed = dict(zip(theirs, names, strict=True))
        policies = tuple(sorted(renamed.get(one, one) for one in answer.policies))
        return msgspec.structs.replace(answer, policies=policies)


_Part = tuple[int, tuple[int, ...], tuple[EntityRef, ...]]


def _refine(parts: list[_Part], mask: int, place: int, what: Any) -> list[_Part]:
    """Split each part by a set of classes; who is in it has one policy, or one grant, more."""
    found: list[_Part] = []
    for part in parts:
        inside, outside = part[0] & mask, part[0] & ~mask
        if inside:
            more = ((*part[1], what), part[2]) if place == 0 else (part[1], (*part[2], what))
            found.append((inside, *more))
        if outside:
            found.append((outside, part[1], part[2]))
    return found


def _bits(members: Iterable[int]) -> int:
    """Return a set of classes."""
    found = bytearray()
    for index in members:
        if index >> 3 >= len(found):
            found.extend(bytes((index >> 3) + 1 - len(found)))
        found[index >> 3] |= 1 << (index & 7)
    return int.from_bytes(found, "little")


def _members(classes: int) -> tuple[int, ...]:
    """Return what is in a set of classes, in order."""
    return tuple(
        8 * place + bit
        for place, byte in enumerate(classes.to_bytes((classes.bit_length() + 7) // 8, "little"))
        if byte
        for bit in range(8)
        if byte >> bit & 1
    )


def _standing_of(subject: Closure) -> tuple[object, ...]:
    """Return what of a subject is looked at before any policy is."""
    return subject.root.type, subject.status, subject.quarantined, subject.expires_at


def _compare(
    action: str, ref: EntityRef, before: list[tuple[int, AccessClass]], after: list[tuple[int, AccessClass]]
) -> Iterator[WhoCanChange]:
    found: dict[tuple[Effect, AccessClass, AccessClass], int] = {}
    for (those, old), (these, new) in itertools.product(before, after):
        both = those & these
        effect = _effect(old, new) if both else None
        if effect is not None:
            found[effect, old, new] = found.get((effect, old, new), 0) | both
    for (effect, old, new), classes in found.items():
        yield WhoCanChange(effect, action, ref, _members(classes), old, new)


def _effect(before: AccessClass, after: AccessClass) -> Effect | None:
    if before.allowed != after.allowed:
        return Effect.ADDED if after.allowed else Effect.REMOVED
    if not before.allowed:
        return None
    if needs_more(before.conditions, after.conditions):
        return Effect.STEP_UP
    return Effect.EASED if needs_more(after.conditions, before.conditions) else None


def needs_more(before: Iterable[Remedy], after: Iterable[Remedy]) -> bool:
    """Say whether somebody who meets `before` may not meet `after`."""
    met: dict[str, float] = {}
    for one in before:
        age_s = float("inf") if one.max_age_s is None else float(one.max_age_s)
        met[one.id] = age_s
        weaker = WEAKER.get(one.id)
        if weaker is not None:
            met.setdefault(weaker, 0.0)
    return any(
        one.id not in met or (one.max_age_s is not None and met[one.id] > one.max_age_s) for one in after
    )

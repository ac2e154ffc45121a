"""One side of a change of who can: a bundle, asked about an action on a resource for all classes at once.

Two questions are one where the policies that match have the same effects and conditions, and none of them
looks at who or what it is: only their names differ.

Shape: a set of classes is an integer, bit `n` standing for class `n`. A question splits all classes into a
few such sets by as many `&` as there are policies, however many people there are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from limen.core.decision import Grant
from limen.core.entities import Closure
from limen.core.ids import EntityRef, Instant
from limen.engine.bundle_values import Bundle
from limen.engine.index import Anchor, anchors
from limen.engine.policies import Policies
from limen.engine.reads import union
from limen.engine.who_can import AccessClass, Grants, class_key, find_access

NOBODY = AccessClass((), allowed=False, policies=(), code="NO_RESOURCE")


class World(msgspec.Struct, frozen=True):
    """One side: a bundle, and everybody and everything as it makes policies see them."""

    bundle: Bundle
    policies: Policies
    subjects: Mapping[EntityRef, Closure]
    resources: Mapping[EntityRef, Closure]
    grants: Grants = {}


class Question(NamedTuple):
    """An action on a resource, with what can matter to it. `resource` None: there is none on this side."""

    action: str
    resource: Closure | None
    scopes: tuple[tuple[int, Anchor], ...]
    grants: Mapping[EntityRef, tuple[Grant, ...]]
    texts: tuple[tuple[str, bytes], ...]

    def same_as(self, other: "Question") -> bool:
        """Whether both sides answer it alike, unasked."""
        if self.resource is None or other.resource is None:
            return self.resource is other.resource
        same = self.resource.digest == other.resource.digest
        return same and self.texts == other.texts and self.grants == other.grants


class Side:
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

    def question(self, action: str, ref: EntityRef) -> Question:
        """Find what can matter to an action on a resource."""
        resource = self._world.resources.get(ref)
        if resource is None:
            return Question(action, None, (), {}, ())
        scopes = self._world.policies.scopes(action, resource)
        grants = {
            principal: standing
            for principal, held in self._world.grants.items()
            if (standing := self._standing(held, resource))
        }
        return Question(action, resource, scopes, grants, tuple(self._texts[one] for one, _ in scopes))

    def _standing(self, held: Iterable[Grant], resource: Closure) -> tuple[Grant, ...]:
        return tuple(one for one in held if one.resource in resource.ancestors and self._at < one.expires_at)

    def answers(self, question: Question) -> list[tuple[int, AccessClass]]:
        """Answer for all classes: those that this question does not tell apart at once."""
        if question.resource is None:
            return [((1 << len(self._first)) - 1, NOBODY)]
        parts: list[_Part] = [(mask, (), ()) for mask in self._standings]
        for position, anchor in question.scopes:
            parts = _refine(parts, self._mask(anchor), 0, position)
        for ref in question.grants:
            parts = _refine(parts, self._mask(ref), 1, ref)
        return [answer for part in parts for answer in self._part(question, *part)]

    def _part(
        self, question: Question, mask: int, positions: tuple[int, ...], granted: tuple[EntityRef, ...]
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
        question: Question,
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


def members_of(classes: int) -> tuple[int, ...]:
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

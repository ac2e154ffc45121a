"""What changes in who can: each action on each resource, under one bundle and under another.

Thousands of people and hundreds of resources are a few distinct questions. Subjects whom neither bundle can
tell apart are one class, a resource whose policies are the same on both sides is not asked about at all, and
equal questions are asked once (`limen.engine.who_can_side`).

Laws:
    W1 same: between a bundle and itself nothing changes.
    W2 exact: a subject is in `added` or `removed` of an action on a resource if and only if `who_can` says
       that they may under one bundle and not under the other; where they may under both, they are in
       `step_up` or `eased` if and only if what they need for it differs so.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

import msgspec

from limen.core.decision import Remedy
from limen.core.ids import EntityRef, Instant
from limen.core.resources import ACTIONS_ON
from limen.engine.remedies import WEAKER
from limen.engine.who_can import AccessClass, classify
from limen.engine.who_can_side import Side, World, members_of

__all__ = ["Changes", "Effect", "WhoCanChange", "World", "needs_more", "who_can_diff"]

Progress = Callable[[int, int], None]


class Effect(StrEnum):
    """What a change does. In the order in which a reader wants them."""

    REMOVED = "removed"
    STEP_UP = "step_up"  # may as before, and needs more for it
    ADDED = "added"
    EASED = "eased"  # may as before, and needs less for it


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
    sides = (Side(before, classes, at), Side(after, classes, at))
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
        yield WhoCanChange(effect, action, ref, members_of(classes), old, new)


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

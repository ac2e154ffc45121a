"""Entities as the engine sees them: a value, its parents, and the closure that a decision needs."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from limen.core.ids import EntityRef, Instant


class Status(StrEnum):
    """Life of a person or workload. Only `active` is ever allowed anything."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    ENDED = "ended"


class Kind(StrEnum):
    """How a person belongs to the organisation."""

    EMPLOYEE = "employee"
    CONTRACTOR = "contractor"
    PARTNER = "partner"


class Entity(msgspec.Struct, frozen=True):
    """One entity in the form that Cedar reads.

    `attrs` is JSON-ready Cedar: strings, ints, bools, lists, dicts, `{"__entity": {type, id}}`,
    `{"__extn": {fn, arg}}`. `version` is the feed position of the entity's last change.
    """

    ref: EntityRef
    attrs: Mapping[str, Any] = {}
    parents: tuple[EntityRef, ...] = ()
    version: int = 0


class Closure(msgspec.Struct, frozen=True):
    """An entity with everything that a policy can reach from it, ready for a decision.

    Attributes:
        root: the entity itself.
        entities: root, all ancestors, and the entities that attributes name, sorted by reference.
        ancestors: every entity that `root in x` holds for, root included.
        digest: SHA-256 (16 bytes, hex) of the canonical content. Equal digests decide alike, so it
            serves as the version in memo keys and as the name of the stored input.
        status, quarantined, expires_at, groups_unknown: what the engine refuses before any policy (subjects
            only).
    """

    root: EntityRef
    entities: tuple[Entity, ...]
    ancestors: frozenset[EntityRef]
    digest: str
    status: Status = Status.ACTIVE
    quarantined: bool = False
    expires_at: Instant | None = None
    groups_unknown: bool = False


def close_entity(
    ref: EntityRef,
    lookup: Callable[[EntityRef], Entity | None],
    *,
    status: Status = Status.ACTIVE,
    quarantined: bool = False,
    expires_at: Instant | None = None,
    groups_unknown: bool = False,
) -> Closure:
    """Build the closure of `ref`. Entities that `lookup` does not know stand there bare.

    A cycle of parents is harmless here: each entity is visited once.
    """
    ancestors = frozenset(_reach((ref,), lookup, attributes=False))
    found = {r: lookup(r) or Entity(r) for r in _reach((ref,), lookup, attributes=True)}
    entities = tuple(found[r] for r in sorted(found))
    standing: list[Any] = [ref, status, quarantined, expires_at]
    if groups_unknown:  # so that digests of before this field stay what they were
        standing.append("groups-unknown")
    content = msgspec.json.encode(
        [[e.ref, e.attrs, sorted(e.parents)] for e in entities] + [standing], order="deterministic"
    )
    digest = hashlib.sha256(content).hexdigest()[:32]
    return Closure(ref, entities, ancestors, digest, status, quarantined, expires_at, groups_unknown)


def close_again(closure: Closure, lookup: Callable[[EntityRef], Entity | None]) -> Closure:
    """Return the closure of the same subject among what `lookup` knows; its status stays what it was."""
    return close_entity(
        closure.root,
        lookup,
        status=closure.status,
        quarantined=closure.quarantined,
        expires_at=closure.expires_at,
        groups_unknown=closure.groups_unknown,
    )


def _reach(
    start: tuple[EntityRef, ...], lookup: Callable[[EntityRef], Entity | None], *, attributes: bool
) -> Iterator[EntityRef]:
    seen: set[EntityRef] = set()
    todo = list(start)
    while todo:
        ref = todo.pop()
        if ref in seen:
            continue
        seen.add(ref)
        yield ref
        entity = lookup(ref)
        if entity is None:
            continue
        todo.extend(entity.parents)
        if attributes:
            todo.extend(_references(entity.attrs))


def _references(value: Any) -> Iterator[EntityRef]:
    if isinstance(value, Mapping):
        target = value.get("__entity")
        if isinstance(target, Mapping):
            yield EntityRef(target["type"], target["id"])
            return
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _references(part)

"""What an administrative change was: the event of a change of the feed, with what was there before and after.

Control nodes hear the same changes, and write the same event under the same id. A change that a node did not
hear, because it was away and began anew from a snapshot, has its event at the nodes that did.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from limen.administrator.replica import Replica
from limen.core.changes import BundleFact, Change, Projection
from limen.core.record import EventRecord

NOTED_KINDS = frozenset({"person", "group", "workload", "grant", "bundle"})
"""Kinds of which every change is an event; sessions and secrets have events of their own."""

_LISTS = frozenset({"groups", "parents"})
"""Fields that are told by what came and what went."""

_ALWAYS: Mapping[str, tuple[str, ...]] = {"grant": ("principal", "resource"), "workload": ("owner",)}
"""Fields that are told even where they did not change: they say whom the event is about."""


class Heard(NamedTuple):
    """Changes that were applied, and what was there before: all that their events need."""

    changes: tuple[Change, ...]
    held: Mapping[tuple[str, str], Projection | None]
    fresh_from: int
    policies: tuple[frozenset[str], frozenset[str]]  # before and after

    def events(self, *, epoch: str, node: str) -> list[EventRecord]:
        """Return the events of the changes that are noted. An import has thousands: not under a lock."""
        held, events = dict(self.held), []
        for change in self.changes:
            if change.kind in NOTED_KINDS:
                key = (change.kind, change.id)
                data = {"seq": change.seq}
                if change.seq > self.fresh_from:  # else nobody knows what was there then
                    data |= _told(change, held[key], *self.policies)
                    held[key] = change.value
                events.append(_event(change, data, epoch, node))
        return events


def apply_noted(replica: Replica, changes: tuple[Change, ...], *, epoch: str, node: str) -> list[EventRecord]:
    """Apply changes to a replica, and return the events of those that are noted. Raises as `apply_heard`."""
    return apply_heard(replica, changes).events(epoch=epoch, node=node)


def apply_heard(replica: Replica, changes: tuple[Change, ...]) -> Heard:
    """Apply changes to a replica, and return what their events need.

    Raises:
        Invalid: they do not fit the replica; nothing was applied.
    """
    held = {
        (change.kind, change.id): replica.value(change.kind, change.id)
        for change in changes
        if change.kind in NOTED_KINDS
    }
    fresh_from = replica.seq
    policies = _policies(replica)
    replica.apply(changes)
    return Heard(changes, held, fresh_from, (policies, _policies(replica)))


def _event(change: Change, data: Mapping[str, Any], epoch: str, node: str) -> EventRecord:
    return EventRecord(
        id=f"chg_{epoch[:12]}_{change.seq}",  # the same at every control node
        at=change.at,
        node=node,
        kind=f"{change.kind}.{'changed' if change.value is not None else 'removed'}",
        actor=change.actor,
        target=change.id,
        reason=change.reason,
        data=data,
    )


def _told(
    change: Change, before: Projection | None, then: frozenset[str], now: frozenset[str]
) -> dict[str, Any]:
    if change.kind == "bundle":
        return _bundle(before, change.value) | _came_and_went("policies", then, now)
    return differences(change.kind, before, change.value)


def differences(kind: str, before: Projection | None, after: Projection | None) -> dict[str, Any]:
    """Return the fields that differ, before and after; None: there was, or is, nothing."""
    old, new = _fields(before), _fields(after)
    names = {name for name in (*old, *new) if old.get(name) != new.get(name)}
    lists = sorted(names & _LISTS)
    told: dict[str, Any] = {}
    for name in lists:
        told |= _came_and_went(name, old.get(name) or (), new.get(name) or ())
    names = (names - _LISTS) | set(_ALWAYS.get(kind, ()))
    told["before"] = None if before is None else _chosen(old, names)
    told["after"] = None if after is None else _chosen(new, names)
    return told


def _chosen(fields: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: fields[name] for name in sorted(names) if name in fields}


def _fields(value: Projection | None) -> dict[str, Any]:
    """Return a projection's fields, a person's attributes one by one."""
    if value is None:
        return {}
    found: dict[str, Any] = msgspec.to_builtins(value)
    attributes = found.pop("attributes", {})
    named = {name: held for name, held in found.items() if name not in ("type", "id")}
    return named | {f"attributes.{name}": held for name, held in attributes.items()}


def _bundle(before: Projection | None, after: Projection | None) -> dict[str, Any]:
    """Return which bundle came in place of which, and the names of the files that differ."""
    old = before if isinstance(before, BundleFact) else None
    new = after if isinstance(after, BundleFact) else None
    was, now = (old.files if old else {}), (new.files if new else {})
    changed = sorted(name for name in was.keys() & now.keys() if was[name] != now[name])
    told = _came_and_went("files", was, now)
    told["files"] |= {"changed": changed}
    return told | {"before": old and old.bundle_id, "after": new and new.bundle_id}


def _came_and_went(name: str, before: Iterable[str], after: Iterable[str]) -> dict[str, Any]:
    was, now = set(before), set(after)
    return {name: {"added": sorted(now - was), "removed": sorted(was - now)}}


def _policies(replica: Replica) -> frozenset[str]:
    return replica.active.policies.ids if replica.active is not None else frozenset()

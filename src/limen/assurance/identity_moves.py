"""Who moved inside the organisation, as the change feed remembers it: another department, other groups."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from limen.core.ids import Instant
from limen.store.tables import change

TOLD_MAX = 3  # differences that a move spells out


class Move(msgspec.Struct, frozen=True):
    """The last time that somebody moved. `groups` are those that they had before and still had after."""

    at: Instant
    what: str
    groups: frozenset[str]


def read_moves(
    connection: Connection, only: frozenset[str] | None = None
) -> tuple[dict[str, Move], Instant | None]:
    """Return each person's last move, and since when moves are known; None: there is no feed yet.

    `only`: of these people.
    """
    since = connection.scalar(select(func.min(change.c.at)))
    often = (
        select(change.c.id).where(change.c.kind == "person").group_by(change.c.id).having(func.count() > 1)
    )
    if only is not None:
        often = often.where(change.c.id.in_(sorted(only)))
    rows = connection.execute(
        select(change.c.id, change.c.value, change.c.at)
        .where(change.c.kind == "person", change.c.id.in_(often))
        .order_by(change.c.seq)
    )
    return find_moves((row.id, row.value, row.at) for row in rows), since


def find_moves(changes: Iterable[tuple[str, Mapping[str, Any] | None, Instant]]) -> dict[str, Move]:
    """Return the last move of each person of a feed: projections in the order of their making.

    Somebody moved when an attribute that they had has another value, or when they left one group and came
    into another at once. To be made, or to get a first department, is no move.
    """
    before: dict[str, Mapping[str, Any]] = {}
    moves: dict[str, Move] = {}
    for person, value, at in changes:
        old = before.get(person)
        if value is None:
            continue
        if old is not None and (told := _differences(old, value)):
            both = frozenset(old.get("groups", ())) & frozenset(value.get("groups", ()))
            moves[person] = Move(at, "; ".join(told[:TOLD_MAX]), both)
        before[person] = value
    return moves


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    had, has = old.get("attributes") or {}, new.get("attributes") or {}
    told = [
        f"{name} {had[name]} → {has[name]}"
        for name in sorted(had.keys() & has.keys())
        if had[name] != has[name] and isinstance(had[name], str)
    ]
    left = sorted(set(old.get("groups", ())) - set(new.get("groups", ())))
    came = sorted(set(new.get("groups", ())) - set(old.get("groups", ())))
    if left and came:
        told.append(f"from {', '.join(left[:TOLD_MAX])} to {', '.join(came[:TOLD_MAX])}")
    return told

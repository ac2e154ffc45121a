"""Who is in which group of a SCIM client, by the ids of its resources."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, select, update

from limen.store.directory.people import chunks
from limen.store.identity_tables import scim_member, scim_resource
from limen.store.ports import Writing


class Link(msgspec.Struct, frozen=True):
    """One end of a membership: a member of a group, or a group of a member."""

    id: str
    kind: str
    target: str
    display: str


def own_members(connection: Connection, client: str, ids: Collection[str]) -> dict[str, Link]:
    """Return those of `ids` that are resources of this client (law N1)."""
    found: dict[str, Link] = {}
    for part in chunks(sorted(one for one in ids if one.isprintable())):
        own = and_(scim_resource.c.client == client, scim_resource.c.id.in_(part))
        found.update((row.id, _link(row)) for row in connection.execute(_links().where(own)))
    return found


def list_links(connection: Connection, group: str) -> tuple[Link, ...]:
    """Return the members of a group, sorted."""
    query = _links().join(scim_member, scim_member.c.member == scim_resource.c.id)
    rows = connection.execute(query.where(scim_member.c.group == group).order_by(scim_resource.c.id))
    return tuple(_link(row) for row in rows)


def count_members(connection: Connection, group: str) -> int:
    """Return how many members a group has."""
    return connection.scalar(select(func.count()).where(scim_member.c.group == group)) or 0


def links_of(connection: Connection, ids: Sequence[str], *, upwards: bool) -> dict[str, list[Link]]:
    """Return, of each id, the groups that it is in (`upwards`), or the members that it has."""
    here, there = scim_member.c.group, scim_member.c.member
    if upwards:
        here, there = there, here
    found: dict[str, list[Link]] = {}
    for part in chunks(ids):
        query = _links(here.label("here")).join(scim_member, there == scim_resource.c.id)
        for row in connection.execute(query.where(here.in_(part)).order_by(scim_resource.c.id)):
            found.setdefault(row.here, []).append(_link(row))
    return found


def all_links(connection: Connection, client: str, *, upwards: bool) -> dict[str, list[Link]]:
    """Return, of every resource of a client, the groups that it is in (`upwards`), or its members."""
    here, there = scim_member.c.group, scim_member.c.member
    if upwards:
        here, there = there, here
    found: dict[str, list[Link]] = {}
    query = _links(here.label("here")).join(scim_member, there == scim_resource.c.id)
    for row in connection.execute(query.where(scim_resource.c.client == client)):
        found.setdefault(row.here, []).append(_link(row))
    return found


def insert_members(tx: Writing, group: str, ids: Sequence[str]) -> list[str]:
    """Put members into a group; return those that were not in it."""
    new: list[str] = []
    for part in chunks(sorted(set(ids))):
        there = and_(scim_member.c.group == group, scim_member.c.member.in_(part))
        known = set(tx.connection.scalars(select(scim_member.c.member).where(there)))
        new += [one for one in part if one not in known]
    if new:
        tx.connection.execute(insert(scim_member), [{"group": group, "member": one} for one in new])
        _bump(tx, new)
    return new


def delete_members(tx: Writing, group: str, ids: Collection[str] | None = None) -> list[str]:
    """Take members out of a group, all of them when `ids` is None; return those that were in it."""
    if ids is None:
        ids = list(tx.connection.scalars(select(scim_member.c.member).where(scim_member.c.group == group)))
    gone: list[str] = []
    for part in chunks(sorted({one for one in ids if one.isprintable()})):
        there = and_(scim_member.c.group == group, scim_member.c.member.in_(part))
        gone += tx.connection.scalars(select(scim_member.c.member).where(there))
        tx.connection.execute(delete(scim_member).where(there))
    _bump(tx, gone)
    return gone


def _bump(tx: Writing, ids: Sequence[str]) -> None:
    """Give resources whose `groups` changed another version: they read differently now."""
    for part in chunks(ids):
        these = scim_resource.c.id.in_(part)
        tx.connection.execute(update(scim_resource).where(these).values(version=scim_resource.c.version + 1))


def _links(*more: Any) -> Select[Any]:
    columns = (scim_resource.c.id, scim_resource.c.kind, scim_resource.c.target, scim_resource.c.display)
    return select(*columns, *more)


def _link(row: Row[Any]) -> Link:
    return Link(row.id, row.kind, row.target, row.display)

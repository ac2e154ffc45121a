"""Groups, who is in them, and which group is inside which. Nesting has no circles."""

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from limen.core.changes import GroupFact
from limen.core.errors import Conflict, NotFound, Refused
from limen.core.ids import Instant
from limen.core.roles import ROLE_GROUPS
from limen.store.directory.fields import parse_group, parse_name
from limen.store.directory.people import LOCAL, chunks, emit_people, get_person
from limen.store.ports import Writing
from limen.store.tables import group, membership, nesting
from limen.store.workloads import emit_workloads, leave_group


class Group(msgspec.Struct, frozen=True):
    """A group, the groups that it is directly in, and how many direct members it has."""

    id: str
    name: str
    created_at: Instant
    parents: tuple[str, ...]
    members: int


def create_group(tx: Writing, name: str, *, title: str = "") -> Group:
    """Add an empty group; `title` is what people read.

    Raises:
        Conflict: there is one of this name.
    """
    parse_group(name)
    if _exists(tx.connection, name):
        raise Conflict(f"There is a group {name!r} already.", remedy="See `limen group list`.")
    insert_groups(tx, [name], title=parse_name(title, field="title"))
    return get_group(tx.connection, name)


def delete_group(tx: Writing, name: str) -> None:
    """Remove a group, and with it its memberships and nestings."""
    _require(tx.connection, name)
    programs = leave_group(tx, name)
    members = _direct_members(tx.connection, name)
    children = list(tx.connection.scalars(select(nesting.c.child).where(nesting.c.parent == name)))
    tx.connection.execute(delete(membership).where(membership.c.group == name))
    tx.connection.execute(delete(nesting).where((nesting.c.parent == name) | (nesting.c.child == name)))
    tx.connection.execute(delete(group).where(group.c.id == name))
    tx.change("group", name, None)
    emit_workloads(tx, programs)
    emit_groups(tx, children)
    emit_people(tx, members)


def get_group(connection: Connection, name: str) -> Group:
    """Return the group.

    Raises:
        NotFound: there is none of this name.
    """
    found = _load(connection, name)
    if not found:
        raise NotFound(f"There is no group {name[:80]!r}.", remedy="See `limen group list`.")
    return found[0]


def list_groups(connection: Connection) -> tuple[Group, ...]:
    """Return every group by name. Groups are few; people are many."""
    return _load(connection)


def list_members(connection: Connection, name: str, *, after: str = "", limit: int = 100) -> tuple[str, ...]:
    """Return a page of a group's direct members."""
    _require(connection, name)
    members = select(membership.c.person).where(membership.c.group == name, membership.c.person > after)
    return tuple(connection.scalars(members.order_by(membership.c.person).limit(limit)))


def add_member(tx: Writing, name: str, username: str) -> None:
    """Put a person into a group. A membership from a provider becomes a local one."""
    _require(tx.connection, name)
    before = get_person(tx.connection, username)
    if name in before.groups:
        tx.connection.execute(
            update(membership)
            .where(membership.c.person == username, membership.c.group == name)
            .values(source=LOCAL)
        )
        return
    tx.connection.execute(insert(membership), [{"person": username, "group": name, "source": LOCAL}])
    emit_people(tx, [username])


def remove_member(tx: Writing, name: str, username: str) -> None:
    """Take a person out of a group.

    Raises:
        NotFound: no such group or person, or they are not in it.
    """
    _require(tx.connection, name)
    if name not in get_person(tx.connection, username).groups:
        raise NotFound(f"{username} is not in {name!r} directly.", remedy="See `limen user show`.")
    tx.connection.execute(
        delete(membership).where(membership.c.person == username, membership.c.group == name)
    )
    emit_people(tx, [username])


def sync_memberships(tx: Writing, username: str, source: str, names: Collection[str]) -> None:
    """Make `names` the groups that `source` (`oidc:<provider>`) says `username` is in, of any number.

    Groups that are not there are created. Memberships of other sources stay, local ones among them. No source
    gives a role of Limen (law R1 of `core.roles`).
    """
    assert source != LOCAL
    before = get_person(tx.connection, username)
    wanted = {parse_group(name) for name in names} - ROLE_GROUPS.keys()
    rows = tx.connection.execute(
        select(membership.c.group, membership.c.source).where(membership.c.person == username)
    )
    present = {row.group: row.source for row in rows}
    gone = sorted(name for name, origin in present.items() if origin == source and name not in wanted)
    new = sorted(wanted - present.keys())
    insert_groups(tx, missing_groups(tx.connection, new))
    for part in chunks(gone):
        tx.connection.execute(
            delete(membership).where(membership.c.person == username, membership.c.group.in_(part))
        )
    if new:
        tx.connection.execute(
            insert(membership), [{"person": username, "group": name, "source": source} for name in new]
        )
    if gone or new:
        emit_people(tx, [before.id])


def nest(tx: Writing, child: str, parent: str) -> None:
    """Put group `child` into group `parent`: its members are then in both.

    Raises:
        Refused: it would make a circle; the message names it.
    """
    _require(tx.connection, child)
    _require(tx.connection, parent)
    circle = _way_up(_parents(tx.connection), parent, child)
    if circle:
        raise Refused(
            f"Putting {child!r} into {parent!r} would make a circle: {' → '.join((child, *circle))}.",
            remedy="Take one of these groups out of the next first.",
        )
    if parent not in get_group(tx.connection, child).parents:
        tx.connection.execute(insert(nesting), [{"child": child, "parent": parent}])
        emit_groups(tx, [child])


def unnest(tx: Writing, child: str, parent: str) -> None:
    """Take group `child` out of group `parent`.

    Raises:
        NotFound: it is not in it directly.
    """
    pair = (nesting.c.child == child) & (nesting.c.parent == parent)
    if tx.connection.execute(delete(nesting).where(pair)).rowcount == 0:
        raise NotFound(f"{child!r} is not in {parent!r} directly.", remedy="See `limen group show`.")
    emit_groups(tx, [child])


def missing_groups(connection: Connection, names: Collection[str]) -> list[str]:
    """Return those of `names` that are no groups yet, sorted."""
    wanted = sorted(set(names))
    known: set[str] = set()
    for part in chunks(wanted):
        known.update(connection.scalars(select(group.c.id).where(group.c.id.in_(part))))
    return [name for name in wanted if name not in known]


def insert_groups(tx: Writing, names: Collection[str], *, title: str = "") -> None:
    """Add groups that are known to be missing."""
    if names:
        rows = [{"id": name, "name": title or name, "created_at": tx.now} for name in names]
        tx.connection.execute(insert(group), rows)
        for name in names:
            tx.change("group", name, GroupFact(name))


def emit_groups(tx: Writing, names: Collection[str]) -> None:
    """Record the present projection of each group."""
    above = _parents(tx.connection)
    for name in names:
        tx.change("group", name, GroupFact(name, above.get(name, ())))


def _exists(connection: Connection, name: str) -> bool:
    return connection.scalar(select(group.c.id).where(group.c.id == name)) is not None


def _require(connection: Connection, name: str) -> None:
    if not _exists(connection, name):
        get_group(connection, name)


def _direct_members(connection: Connection, name: str) -> list[str]:
    return list(connection.scalars(select(membership.c.person).where(membership.c.group == name)))


def _parents(connection: Connection) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for row in connection.execute(select(nesting.c.child, nesting.c.parent)):
        found.setdefault(row.child, []).append(row.parent)
    return {child: tuple(sorted(parents)) for child, parents in found.items()}


def _way_up(parents: Mapping[str, tuple[str, ...]], start: str, goal: str) -> tuple[str, ...]:
    """Return the shortest way from `start` up to `goal`, both included; empty when there is none."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    for way in ways:  # grows while it is read: breadth first
        if way[-1] == goal:
            return way
        for above in parents.get(way[-1], ()):
            if above not in seen:
                seen.add(above)
                ways.append((*way, above))
    return ()


def _load(connection: Connection, name: str | None = None) -> tuple[Group, ...]:
    above = _parents(connection)
    counted = select(membership.c.group, func.count().label("members")).group_by(membership.c.group)
    wanted = select(group).order_by(group.c.id)
    if name is not None:
        counted = counted.where(membership.c.group == name)
        wanted = wanted.where(group.c.id == name)
    counts = {row.group: row.members for row in connection.execute(counted)}
    rows = connection.execute(wanted)
    return tuple(
        Group(row.id, row.name, row.created_at, above.get(row.id, ()), counts.get(row.id, 0)) for row in rows
    )

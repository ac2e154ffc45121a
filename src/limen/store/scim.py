"""What SCIM clients have written of people and groups: one row each, its document, and who is in which group.

The directory is what decides; a row here says which person or group it is about, and whose client's it is.

Law: N1 a client finds nothing but its own: every look at a resource names the client.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, func, insert, or_, select, update

from limen.core.ids import Instant
from limen.store.directory.people import chunks
from limen.store.identity_tables import scim_member, scim_resource, scim_value
from limen.store.ports import Writing

USER, GROUP = "User", "Group"
VALUE_LENGTH_MAX = 255  # characters of what is indexed; what is longer is found by reading all

COLUMNS: Mapping[str, Any] = {
    "id": scim_resource.c.id,
    "external": scim_resource.c.external_id,
    "user": scim_resource.c.user_name,
}
VALUES = frozenset({"display", "email"})


class ScimResource(msgspec.Struct, frozen=True):
    """One resource. `target` is the person's username, or the group, that it is about.

    Attributes:
        user_name: `userName` as it is compared; None of groups.
        owned: the client made the target.
        locked: the client suspended the person.
        document: JSON: what the client wrote, but for members.
    """

    id: str
    client: str
    kind: str
    target: str
    user_name: str | None
    external_id: str | None
    display: str
    owned: bool
    locked: bool
    version: int
    created_at: Instant
    modified_at: Instant
    document: str


Narrow = tuple[str, str]
"""What must hold of what is sought: a key of `COLUMNS` or `VALUES`, or `member`, `group`; and the value."""


# --- resources -------------------------------------------------------------------------------------


def add_resource(tx: Writing, row: ScimResource, values: Collection[Narrow]) -> None:
    """Store a new resource with the values that it is found by."""
    tx.connection.execute(insert(scim_resource).values(msgspec.structs.asdict(row)))
    _set_values(tx.connection, row.id, values, fresh=True)


def save_resource(
    tx: Writing, row: ScimResource, values: Collection[Narrow], *, expected: int | None = None
) -> bool:
    """Store a changed resource; return False when its version is not `expected` any more."""
    same = scim_resource.c.id == row.id
    if expected is not None:
        same &= scim_resource.c.version == expected
    changed = tx.connection.execute(update(scim_resource).where(same).values(msgspec.structs.asdict(row)))
    if changed.rowcount == 0:
        return False
    _set_values(tx.connection, row.id, values)
    return True


def hold_resource(tx: Writing, id_: str) -> None:
    """Keep other control nodes from writing a resource until this transaction ends."""
    if is_looked_up(id_):
        same = {"version": scim_resource.c.version}
        tx.connection.execute(update(scim_resource).where(scim_resource.c.id == id_).values(same))


def touch_resource(tx: Writing, row: ScimResource) -> None:
    """Store the version and the date of a resource whose members alone have changed."""
    fresh = {"version": row.version, "modified_at": row.modified_at}
    tx.connection.execute(update(scim_resource).where(scim_resource.c.id == row.id).values(**fresh))


def remove_resource(tx: Writing, id_: str) -> None:
    """Remove a resource, with its memberships on either side."""
    connection = tx.connection
    either = (scim_member.c.group == id_) | (scim_member.c.member == id_)
    connection.execute(delete(scim_member).where(either))
    connection.execute(delete(scim_value).where(scim_value.c.resource == id_))
    connection.execute(delete(scim_resource).where(scim_resource.c.id == id_))


def find_resource(connection: Connection, client: str, kind: str, id_: str) -> ScimResource | None:
    """Return a resource of a client."""
    if not is_looked_up(id_):
        return None
    own = and_(scim_resource.c.client == client, scim_resource.c.kind == kind, scim_resource.c.id == id_)
    row = connection.execute(select(scim_resource).where(own)).first()
    return None if row is None else _resource(row)


def find_user_name(connection: Connection, client: str, user_name: str) -> ScimResource | None:
    """Return the person of a client who has this `userName`."""
    own = and_(scim_resource.c.client == client, scim_resource.c.user_name == user_name)
    row = connection.execute(select(scim_resource).where(own)).first()
    return None if row is None else _resource(row)


def find_by_target(connection: Connection, kind: str, target: str) -> tuple[ScimResource, ...]:
    """Return the resources that are about a person or a group, of whichever client."""
    about = and_(scim_resource.c.kind == kind, scim_resource.c.target == target)
    return tuple(_resource(row) for row in connection.execute(select(scim_resource).where(about)))


def list_targets(connection: Connection, client: str) -> tuple[set[str], set[str]]:
    """Return the people and the groups that a client's resources are about."""
    columns = select(scim_resource.c.kind, scim_resource.c.target).where(scim_resource.c.client == client)
    found = list(connection.execute(columns))
    return {row.target for row in found if row.kind == USER}, {
        row.target for row in found if row.kind == GROUP
    }


def page_resources(
    connection: Connection, client: str, kinds: Sequence[str], *, offset: int, limit: int
) -> tuple[ScimResource, ...]:
    """Return a page of a client's resources, by kind and id."""
    query = _own(client, kinds).order_by(scim_resource.c.kind, scim_resource.c.id)
    return tuple(_resource(row) for row in connection.execute(query.offset(offset).limit(limit)))


def count_resources(connection: Connection, client: str, kinds: Sequence[str]) -> int:
    """Return how many resources a client has."""
    own = _own(client, kinds).subquery()
    return connection.scalar(select(func.count()).select_from(own)) or 0


def list_ids(connection: Connection, client: str, kind: str) -> Sequence[str]:
    """Return the ids of a client's resources of a kind."""
    own = and_(scim_resource.c.client == client, scim_resource.c.kind == kind)
    return connection.scalars(select(scim_resource.c.id).where(own)).all()


def load_resources(
    connection: Connection, client: str, kinds: Sequence[str], ids: Sequence[str]
) -> tuple[ScimResource, ...]:
    """Return those of `ids` that are a client's."""
    found: list[ScimResource] = []
    for part in chunks(ids):
        query = _own(client, kinds).where(scim_resource.c.id.in_(part))
        found += (_resource(row) for row in connection.execute(query))
    return tuple(found)


def scan_documents(
    connection: Connection, client: str, kind: str, narrow: Collection[Narrow] = ()
) -> Iterator[Row[Any]]:
    """Return id, version, dates and document of a client's resources for which all of `narrow` hold."""
    of = scim_resource.c
    own = and_(of.client == client, of.kind == kind, *(_narrowed(key, value) for key, value in narrow))
    query = select(of.id, of.version, of.created_at, of.modified_at, of.document).where(own)
    return iter(connection.execute(query))


def count_clients(connection: Connection) -> Mapping[str, Mapping[str, Any]]:
    """Return of each client how many people and groups it keeps, and when it wrote last."""
    columns = (scim_resource.c.client, scim_resource.c.kind)
    wanted = select(*columns, func.count().label("count"), func.max(scim_resource.c.modified_at).label("at"))
    found: dict[str, dict[str, Any]] = {}
    for row in connection.execute(wanted.group_by(*columns)):
        one = found.setdefault(row.client, {"people": 0, "groups": 0, "written_at": 0.0})
        one["people" if row.kind == USER else "groups"] = row.count
        one["written_at"] = max(one["written_at"], row.at)
    return found


def forget_targets(tx: Writing, username: str) -> None:
    """Remove what every client has written of a person."""
    for row in find_by_target(tx.connection, USER, username):
        remove_resource(tx, row.id)


# --- inside ----------------------------------------------------------------------------------------


def _set_values(connection: Connection, id_: str, values: Collection[Narrow], *, fresh: bool = False) -> None:
    if not fresh:
        connection.execute(delete(scim_value).where(scim_value.c.resource == id_))
    kept = sorted({(name, value) for name, value in values if is_looked_up(value)})
    if kept:
        rows = [{"resource": id_, "name": name, "value": value} for name, value in kept]
        connection.execute(insert(scim_value), rows)


def is_looked_up(value: str) -> bool:
    """Say whether a value is indexed; PostgreSQL's text has no NUL, and what is long is read instead."""
    return len(value) <= VALUE_LENGTH_MAX and value.isprintable()


def _narrowed(key: str, value: str) -> ColumnElement[bool]:
    if key in COLUMNS:
        return COLUMNS[key] == value  # type: ignore[no-any-return]
    if key in VALUES:
        of = select(scim_value.c.resource).where(scim_value.c.name == key, scim_value.c.value == value)
    elif key == "member":
        of = select(scim_member.c.group).where(scim_member.c.member == value)
    else:
        of = select(scim_member.c.member).where(scim_member.c.group == value)
    return scim_resource.c.id.in_(of)


def _own(client: str, kinds: Sequence[str]) -> Select[Any]:
    of_kind = or_(*(scim_resource.c.kind == kind for kind in kinds))
    return select(scim_resource).where(scim_resource.c.client == client, of_kind)


def _resource(row: Row[Any]) -> ScimResource:
    return ScimResource(*(getattr(row, name) for name in ScimResource.__struct_fields__))

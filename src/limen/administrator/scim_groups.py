"""Groups that a SCIM client keeps, and who is in them: memberships of the directory, under the client's name.

A client puts its own people into its own groups. A group that is here already is filled only where the bundle
says so (`fills`), and Limen's own groups never. A group keeps its name here when the client renames it, since
policies say that name; what people read follows.

Laws:
    G1 only its own: an id that is no resource of this client is no member, and says so in an event.
    G2 what others gave stays: a membership that the directory has from elsewhere is not taken.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from scim2_models import InvalidValueException, UniquenessException
from sqlalchemy import delete, insert, select, update

from limen.administrator.scim_people import Scope
from limen.administrator.scim_words import demand_text, fold, group_name
from limen.core.errors import NotFound, Refused
from limen.store import directory, scim_members
from limen.store import scim as rows
from limen.store.directory.people import chunks, emit_people
from limen.store.scim import GROUP, USER, Narrow, ScimResource
from limen.store.scim_members import Link
from limen.store.tables import group as group_table
from limen.store.tables import membership


def make_group(
    scope: Scope, id_: str, document: Mapping[str, Any], text: str, members: Sequence[str]
) -> ScimResource:
    """Make the group of a new document, or fill the one that is here where the bundle allows it.

    Raises:
        UniquenessException: it is here already, and is not the client's to fill.
    """
    tx = scope.entry.tx
    display = demand_text(document, "displayName")
    name = group_name(scope.config, display)
    owned = _found(scope, name, display)
    row = ScimResource(
        id=id_,
        client=scope.config.name,
        kind=GROUP,
        target=name,
        user_name=None,
        external_id=demand_text(document, "externalId") or None,
        display=display,
        owned=owned,
        locked=False,
        version=1,
        created_at=tx.now,
        modified_at=tx.now,
        document=text,
    )
    rows.add_resource(tx, row, values_of(document))
    put_in(scope, row, members)
    return row


def change_group(scope: Scope, before: ScimResource, document: Mapping[str, Any], text: str) -> ScimResource:
    """Return the row of a changed document; the caller stores it."""
    tx = scope.entry.tx
    display = demand_text(document, "displayName")
    group_name(scope.config, display)  # it must be a name; the one here stays
    if display != before.display and before.owned:
        these = group_table.c.id == before.target
        tx.connection.execute(update(group_table).where(these).values(name=display))
    return msgspec.structs.replace(
        before,
        external_id=demand_text(document, "externalId") or None,
        display=display,
        version=before.version + 1,
        modified_at=tx.now,
        document=text,
    )


def end_group(scope: Scope, row: ScimResource) -> None:
    """Remove a group that the client has deleted; one that it only filled stays, without its people."""
    take_out(scope, row, None)
    rows.remove_resource(scope.entry.tx, row.id)
    if row.owned:
        try:
            directory.delete_group(scope.entry.tx, row.target)
        except NotFound:  # an administrator was faster
            return


def put_in(scope: Scope, row: ScimResource, ids: Sequence[str]) -> int:
    """Put resources of the client into a group; return how many were not in it."""
    tx = scope.entry.tx
    known = scim_members.own_members(tx.connection, scope.config.name, set(ids) - {row.id})
    strange = len(set(ids)) - len(known)
    if strange:
        why = "no resources of this client have these ids"
        about = {"group": row.target, "count": strange, "why": why}
        scope.entry.note("scim.members_unknown", target=scope.source, **about)
    new = [known[one] for one in scim_members.insert_members(tx, row.id, sorted(known))]
    _join(scope, row.target, [one.target for one in new if one.kind == USER])
    for one in new:
        if one.kind == GROUP:
            _nest(scope, one, row.target)
    return len(new)


def take_out(scope: Scope, row: ScimResource, ids: Collection[str] | None) -> int:
    """Take members out of a group, all of them when `ids` is None; return how many were in it."""
    tx = scope.entry.tx
    gone = scim_members.delete_members(tx, row.id, ids)
    links = scim_members.own_members(tx.connection, scope.config.name, gone)
    _leave(scope, row.target, [one.target for one in links.values() if one.kind == USER])
    for one in links.values():
        if one.kind == GROUP and _is_nested(scope, one.target, row.target):
            directory.unnest(tx, one.target, row.target)
    return len(gone)


def set_members(scope: Scope, row: ScimResource, ids: Collection[str]) -> int:
    """Make a group's members these; return how many came and went."""
    present = {one.id for one in scim_members.list_links(scope.entry.tx.connection, row.id)}
    gone = take_out(scope, row, present - set(ids))
    return gone + put_in(scope, row, [one for one in ids if one not in present])


def values_of(document: Mapping[str, Any]) -> list[Narrow]:
    """Return what a group is looked for by."""
    return [("display", fold(str(document.get("displayName") or "")))]


# --- inside ----------------------------------------------------------------------------------------


def _found(scope: Scope, name: str, display: str) -> bool:
    """Make the group, or find it; return whether the client made it."""
    tx = scope.entry.tx
    there = tx.connection.scalar(select(group_table.c.id).where(group_table.c.id == name)) is not None
    if not there:
        directory.create_group(tx, name, title=display)
        return True
    if name not in scope.config.fills or rows.find_by_target(tx.connection, GROUP, name):
        raise UniquenessException(
            detail=f"displayName: there is a group '{name}' here already. To have this client fill it, name "
            f"it in `scim.{scope.config.name}.fills` of limen.yaml; or give the client a `group_prefix`.",
            attribute="displayName",
        )
    return False


def _join(scope: Scope, name: str, people: Sequence[str]) -> None:
    """Add memberships of the client's; who is in the group already, from elsewhere, stays as they are."""
    connection = scope.entry.tx.connection
    for part in chunks(sorted(people)):
        of_part = (membership.c.group == name) & membership.c.person.in_(part)
        present = set(connection.scalars(select(membership.c.person).where(of_part)))
        new = [{"person": who, "group": name, "source": scope.source} for who in part if who not in present]
        if new:
            connection.execute(insert(membership), new)
    emit_people(scope.entry.tx, people)


def _leave(scope: Scope, name: str, people: Sequence[str]) -> None:
    """Take the client's memberships away (law G2)."""
    for part in chunks(sorted(people)):
        mine = (membership.c.group == name) & (membership.c.source == scope.source)
        scope.entry.tx.connection.execute(delete(membership).where(mine, membership.c.person.in_(part)))
    emit_people(scope.entry.tx, people)


def _nest(scope: Scope, child: Link, parent: str) -> None:
    try:
        directory.nest(scope.entry.tx, child.target, parent)
    except Refused as circle:
        raise InvalidValueException(detail=f"members: {circle.message}", attribute="members") from None


def _is_nested(scope: Scope, child: str, parent: str) -> bool:
    return parent in directory.get_group(scope.entry.tx.connection, child).parents

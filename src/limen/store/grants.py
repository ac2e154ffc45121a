"""Grants at rest: who may do what on one resource, until when, given by whom and why.

A grant ends by itself: there is none without an expiry, and none that is longer than `GRANT_MAX_S`. Its
row stays for a while after that, as history; gateways are told a tombstone.

Law:
    F1 atomic. A grant is written, ended and swept together with its change record.
"""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, false, insert, or_, select, update

from limen.core.changes import GrantFact
from limen.core.errors import Invalid, NotFound
from limen.core.ids import EntityRef, Instant, new_id
from limen.core.resources import ACTIONS_ON
from limen.store.ports import Writing
from limen.store.tables import grant, projection

GRANT_MAX_S = 90 * 86_400.0  # NIST SP 800-53r5 AC-6(7): privileges are reviewed; a quarter at the longest
HISTORY_S = 90 * 86_400.0  # how long a grant that has ended is still listed
PRINCIPALS = ("User", "Group")


class StoredGrant(msgspec.Struct, frozen=True):
    """A grant as control knows it. It is in force before `expires_at`; revoking moves that to the present."""

    id: str
    principal: EntityRef
    actions: tuple[str, ...]
    resource: EntityRef
    created_at: Instant
    expires_at: Instant
    actor: str
    reason: str

    def render_fact(self) -> GrantFact:
        """Return what gateways may know."""
        return GrantFact(
            id=self.id,
            principal=(self.principal.type, self.principal.id),
            actions=self.actions,
            resource=(self.resource.type, self.resource.id),
            expires_at=self.expires_at,
        )


class GrantFilter(msgspec.Struct, frozen=True):
    """Which grants to list; what is None does not matter.

    Attributes:
        principals: given to one of these.
        resources: on one of these.
        parts_of: or, with `resources`, on a route of this app.
        live_at: in force at this instant; None takes those in too that have ended.
    """

    principals: Collection[EntityRef] | None = None
    resources: Collection[EntityRef] | None = None
    parts_of: str | None = None
    live_at: Instant | None = None


EVERY_GRANT = GrantFilter()


def add_grant(
    tx: Writing,
    *,
    principal: EntityRef,
    actions: Collection[str],
    resource: EntityRef,
    expires_at: Instant,
) -> StoredGrant:
    """Give a grant. Who and what must exist; the caller has looked.

    Raises:
        Invalid: the actions are none that the resource has, or the end is past or too far away.
    """
    assert principal.type in PRINCIPALS
    known = ACTIONS_ON[resource.type]
    unfit = sorted({*actions} - {*known})
    if unfit or not actions:
        wrong = f"{resource} has no action '{unfit[0]}'" if unfit else "a grant needs an action"
        raise Invalid(f"actions: {wrong}.", remedy=f"Use {' or '.join(known)}.")
    if not tx.now < expires_at <= tx.now + GRANT_MAX_S:
        what = "is past" if expires_at <= tx.now else "is too far away"
        raise Invalid(
            f"expires_at: the end of the grant {what}.",
            remedy=f"A grant lasts at most {GRANT_MAX_S / 86_400:.0f} days; give another one when it ends.",
        )
    row = StoredGrant(
        id=new_id("grt"),
        principal=principal,
        actions=tuple(action for action in known if action in actions),
        resource=resource,
        created_at=tx.now,
        expires_at=expires_at,
        actor=tx.actor,
        reason=tx.reason,
    )
    tx.connection.execute(insert(grant).values(_values(row)))
    tx.change("grant", row.id, row.render_fact())
    return row


def revoke_grant(tx: Writing, grant_id: str) -> StoredGrant:
    """End a grant now; return it as it was.

    Raises:
        NotFound: there is none of this id, or it has ended.
    """
    before = find_grant(tx.connection, grant_id)
    if before is None or before.expires_at <= tx.now:
        raise NotFound(f"There is no grant '{grant_id[:80]}' in force.", remedy="See `limen grant list`.")
    tx.connection.execute(update(grant).where(grant.c.id == grant_id).values(expires_at=tx.now))
    tx.change("grant", grant_id, None)
    return before


def find_grant(connection: Connection, grant_id: str) -> StoredGrant | None:
    """Return the grant of this id, in force or not."""
    row = connection.execute(select(grant).where(grant.c.id == grant_id)).first()
    return _grant(row) if row else None


def list_grants(connection: Connection, where: GrantFilter = EVERY_GRANT) -> tuple[StoredGrant, ...]:
    """Return grants, those that end first coming first."""
    query = select(grant).order_by(grant.c.expires_at, grant.c.id)
    if where.live_at is not None:
        query = query.where(grant.c.expires_at > where.live_at)
    if where.principals is not None:
        query = query.where(_among(where.principals, grant.c.principal_type, grant.c.principal_id))
    if where.resources is not None:
        named = _among(where.resources, grant.c.resource_type, grant.c.resource_id)
        query = query.where(named if where.parts_of is None else or_(named, _is_part(where.parts_of)))
    return tuple(_grant(row) for row in connection.execute(query))


def sweep_grants(tx: Writing, now: Instant) -> tuple[StoredGrant, ...]:
    """Tell gateways that grants have ended, and forget those that did long ago; return the former."""
    query = (
        select(grant)
        .join(projection, and_(projection.c.kind == "grant", projection.c.id == grant.c.id))
        .where(grant.c.expires_at <= now)
        .order_by(grant.c.expires_at, grant.c.id)
    )
    over = tuple(_grant(row) for row in tx.connection.execute(query))
    for one in over:
        tx.change("grant", one.id, None)
    tx.connection.execute(delete(grant).where(grant.c.expires_at <= now - HISTORY_S))
    return over


def _among(
    refs: Collection[EntityRef], types: ColumnElement[str], ids: ColumnElement[str]
) -> ColumnElement[bool]:
    found: dict[str, list[str]] = {}
    for ref in refs:
        found.setdefault(ref.type, []).append(ref.id)
    return or_(false(), *(and_(types == kind, ids.in_(names)) for kind, names in sorted(found.items())))


def _is_part(app: str) -> ColumnElement[bool]:
    inside = grant.c.resource_id.startswith(f"{app}/", autoescape=True)
    return and_(grant.c.resource_type == "Route", inside)


def _values(row: StoredGrant) -> dict[str, Any]:
    return {
        "id": row.id,
        "principal_type": row.principal.type,
        "principal_id": row.principal.id,
        "actions": list(row.actions),
        "resource_type": row.resource.type,
        "resource_id": row.resource.id,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "actor": row.actor,
        "reason": row.reason,
    }


def _grant(row: Row[Any]) -> StoredGrant:
    return StoredGrant(
        id=row.id,
        principal=EntityRef(row.principal_type, row.principal_id),
        actions=tuple(row.actions),
        resource=EntityRef(row.resource_type, row.resource_id),
        created_at=row.created_at,
        expires_at=row.expires_at,
        actor=row.actor,
        reason=row.reason,
    )

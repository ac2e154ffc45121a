"""What was said and done about the end of somebody's time. It has no projection: gateways know the end."""

from typing import Any

import msgspec
from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from limen.core.entities import Kind, Status
from limen.core.ids import Instant
from limen.store.identity_tables import person_care
from limen.store.tables import person


class Care(msgspec.Struct, frozen=True):
    """One person's row.

    Attributes:
        warned_for: the end that they were told of.
        over_for: the end that was noted when it had come.
        orphaned_at: since when nobody answers for them; None when somebody does.
        sponsor: who did.
        expires_before: their end before that brought it forward.
    """

    person: str
    warned_for: Instant | None = None
    over_for: Instant | None = None
    orphaned_at: Instant | None = None
    sponsor: str | None = None
    expires_before: Instant | None = None


def load_care(connection: Connection, username: str) -> Care:
    """Return what is noted; nothing, for most."""
    row = connection.execute(select(person_care).where(person_care.c.person == username)).first()
    return Care(**row._mapping) if row else Care(username)


def save_care(connection: Connection, care: Care) -> None:
    """Store what is noted."""
    values: dict[str, Any] = msgspec.structs.asdict(care)
    found = connection.execute(update(person_care).where(person_care.c.person == care.person).values(values))
    if found.rowcount == 0:
        connection.execute(insert(person_care).values(values))


def forget_care(connection: Connection, username: str) -> None:
    """Remove what is noted."""
    connection.execute(delete(person_care).where(person_care.c.person == username))


def list_ending(connection: Connection, now: Instant, until: Instant) -> tuple[str, ...]:
    """Return active people whose time ends by then and who were not told so, or is over and was not noted."""
    ends_at = person.c.expires_at
    untold = and_(ends_at > now, person_care.c.warned_for.is_distinct_from(ends_at))
    unnoted = and_(ends_at <= now, person_care.c.over_for.is_distinct_from(ends_at))
    query = (
        select(person.c.id)
        .outerjoin(person_care, person_care.c.person == person.c.id)
        .where(person.c.status == Status.ACTIVE, ends_at <= until, or_(untold, unnoted))
        .order_by(person.c.id)
    )
    return tuple(connection.scalars(query))


def list_sponsored(connection: Connection) -> tuple[str, ...]:
    """Return people from outside for whom somebody is named to answer, and who have not ended."""
    query = select(person.c.id).where(
        person.c.kind != Kind.EMPLOYEE, person.c.status != Status.ENDED, person.c.sponsor.is_not(None)
    )
    return tuple(connection.scalars(query.order_by(person.c.id)))


def list_orphans(connection: Connection) -> tuple[Care, ...]:
    """Return the rows of people for whom nobody answers any more."""
    query = select(person_care).where(person_care.c.orphaned_at.is_not(None)).order_by(person_care.c.person)
    return tuple(Care(**row._mapping) for row in connection.execute(query))

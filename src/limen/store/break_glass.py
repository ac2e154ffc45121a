"""Sealed emergency credentials and what became of them. At most one is good: neither voided nor used."""

import msgspec
from sqlalchemy import Connection, insert, select, update

from limen.core.ids import Instant
from limen.store.identity_tables import break_glass


class BreakGlass(msgspec.Struct, frozen=True):
    """One sealed credential. `hash` is its MAC under the state's key; `ends_at` that of the session."""

    id: str
    hash: str
    person: str
    sealed_at: Instant
    sealed_by: str
    reason: str
    voided_at: Instant | None = None
    used_at: Instant | None = None
    session: str | None = None
    ip: str | None = None
    ends_at: Instant | None = None
    reviewed_at: Instant | None = None
    reviewed_by: str | None = None
    review: str | None = None


def add_sealed(connection: Connection, row: BreakGlass) -> None:
    """Store a sealed credential; one that was good until now is void."""
    void_sealed(connection, row.sealed_at)
    connection.execute(insert(break_glass).values(msgspec.structs.asdict(row)))


def void_sealed(connection: Connection, now: Instant) -> bool:
    """Make the good one void; return whether there was one."""
    good = update(break_glass).where(break_glass.c.voided_at.is_(None), break_glass.c.used_at.is_(None))
    return connection.execute(good.values(voided_at=now)).rowcount > 0


def find_good(connection: Connection, hashed: str) -> BreakGlass | None:
    """Return the credential of this hash if it is good."""
    good = (break_glass.c.voided_at.is_(None)) & (break_glass.c.used_at.is_(None))
    row = connection.execute(select(break_glass).where(break_glass.c.hash == hashed, good)).first()
    return BreakGlass(**row._mapping) if row else None


def spend_sealed(connection: Connection, row: BreakGlass, now: Instant) -> bool:
    """Use a credential up; return False if it was not good any more: of two that race, one is let in."""
    spent = update(break_glass).where(
        break_glass.c.id == row.id, break_glass.c.voided_at.is_(None), break_glass.c.used_at.is_(None)
    )
    return connection.execute(spent.values(used_at=now)).rowcount == 1


def note_use(connection: Connection, use: str, *, session: str, ip: str, ends_at: Instant) -> None:
    """Note what a use began."""
    noted = update(break_glass).where(break_glass.c.id == use)
    connection.execute(noted.values(session=session, ip=ip, ends_at=ends_at))


def review_use(connection: Connection, use: str, *, by: str, text: str, now: Instant) -> bool:
    """Note that a use was reviewed; return False if it was, or was no use."""
    noted = update(break_glass).where(
        break_glass.c.id == use, break_glass.c.used_at.is_not(None), break_glass.c.reviewed_at.is_(None)
    )
    values = {"reviewed_at": now, "reviewed_by": by, "review": text}
    return connection.execute(noted.values(values)).rowcount == 1


def find_one(connection: Connection, use: str) -> BreakGlass | None:
    """Return a credential by its id."""
    row = connection.execute(select(break_glass).where(break_glass.c.id == use)).first()
    return BreakGlass(**row._mapping) if row else None


def list_sealed(connection: Connection) -> tuple[BreakGlass, ...]:
    """Return all, the newest first."""
    query = select(break_glass).order_by(break_glass.c.sealed_at.desc(), break_glass.c.id)
    return tuple(BreakGlass(**row._mapping) for row in connection.execute(query))


def list_running(connection: Connection, now: Instant) -> tuple[BreakGlass, ...]:
    """Return uses whose hour is not over."""
    query = select(break_glass).where(break_glass.c.used_at.is_not(None), break_glass.c.ends_at > now)
    return tuple(BreakGlass(**row._mapping) for row in connection.execute(query))


def list_unreviewed(connection: Connection) -> tuple[BreakGlass, ...]:
    """Return uses that nobody has reviewed."""
    query = select(break_glass).where(break_glass.c.used_at.is_not(None), break_glass.c.reviewed_at.is_(None))
    return tuple(BreakGlass(**row._mapping) for row in connection.execute(query))

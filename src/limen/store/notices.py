"""The queue of notices: one row for each notice and channel, until it was sent or is worthless.

Law: Q1 a row is sent by one at a time: `claim` moves its next attempt, and only from where it was seen.
    Who dies while sending leaves the row to a later attempt, so a notice may come twice and never not at all.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from limen.core.ids import Instant
from limen.store.identity_tables import notice

ERROR_MAX = 300  # characters of the reason that is kept


class StoredNotice(msgspec.Struct, frozen=True):
    """A notice on one channel. `next_at`: not tried before."""

    id: str
    channel: str
    person: str
    kind: str
    sealed: str
    queued_at: Instant
    expires_at: Instant
    next_at: Instant
    attempts: int = 0
    error: str = ""


def add_notice(connection: Connection, row: StoredNotice) -> None:
    """Store a notice."""
    connection.execute(insert(notice).values(**msgspec.structs.asdict(row)))


def list_due(connection: Connection, now: Instant, limit: int) -> tuple[StoredNotice, ...]:
    """Return notices whose time has come, oldest first."""
    due = select(notice).where(notice.c.next_at <= now).order_by(notice.c.queued_at).limit(limit)
    return tuple(StoredNotice(**row) for row in connection.execute(due).mappings())


def list_notices(connection: Connection, limit: int) -> tuple[StoredNotice, ...]:
    """Return what waits, oldest first."""
    rows = connection.execute(select(notice).order_by(notice.c.queued_at).limit(limit))
    return tuple(StoredNotice(**row) for row in rows.mappings())


def count_notices(connection: Connection) -> int:
    """Return how many wait."""
    return connection.scalar(select(func.count()).select_from(notice)) or 0


def claim(connection: Connection, row: StoredNotice, until: Instant) -> bool:
    """Take a notice until then; return whether nobody else has (law Q1)."""
    taken = (
        update(notice)
        .where(notice.c.id == row.id, notice.c.channel == row.channel, notice.c.next_at == row.next_at)
        .values(next_at=until, attempts=notice.c.attempts + 1)
    )
    return connection.execute(taken).rowcount == 1


def put_off(connection: Connection, row: StoredNotice, until: Instant, error: str) -> None:
    """Try a notice again then."""
    again = (
        update(notice)
        .where(notice.c.id == row.id, notice.c.channel == row.channel)
        .values(next_at=until, error=error[:ERROR_MAX])
    )
    connection.execute(again)


def remove_notice(connection: Connection, row: StoredNotice) -> bool:
    """Forget a notice; return whether it was there."""
    gone = delete(notice).where(notice.c.id == row.id, notice.c.channel == row.channel)
    return connection.execute(gone).rowcount == 1


def forget_notices(connection: Connection, people: Sequence[str]) -> None:
    """Forget what waits for these people."""
    connection.execute(delete(notice).where(notice.c.person.in_(people)))

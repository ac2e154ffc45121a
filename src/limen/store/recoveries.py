"""Recoveries under way, and whose trust is lower for a while after one. No row has a projection.

What gateways know of the latter is the person's signal; the row says until when.
"""

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from limen.core.ids import Instant
from limen.store.identity_tables import recovered, recovery


class StoredRecovery(msgspec.Struct, frozen=True):
    """A recovery under way. `person` is None where nobody can be recovered by the name that was typed."""

    id: str
    token_hash: str
    person: str | None
    name_hash: str
    state: str
    approval_hash: str
    ip: str
    agent: str
    asked_at: Instant
    expires_at: Instant
    mail_hash: str | None = None
    mailed: bool = False
    failures: int = 0
    announced_at: Instant | None = None
    how: str = ""


class Recovered(msgspec.Struct, frozen=True):
    """Somebody who came back: their trust is lower until then."""

    person: str
    at: Instant
    until: Instant
    how: str


def add_recovery(connection: Connection, row: StoredRecovery) -> None:
    """Store a recovery that begins."""
    connection.execute(insert(recovery).values(**msgspec.structs.asdict(row)))


def find_by_token(connection: Connection, token_hash: str, now: Instant) -> StoredRecovery | None:
    """Return the recovery of a browser, if it is not over."""
    return _find(connection, recovery.c.token_hash == token_hash, now)


def find_by_mail(connection: Connection, mail_hash: str, now: Instant) -> StoredRecovery | None:
    """Return the recovery of a link that was not used."""
    return _find(connection, recovery.c.mail_hash == mail_hash, now)


def find_by_approval(connection: Connection, approval_hash: str, now: Instant) -> StoredRecovery | None:
    """Return the recovery of what somebody reads out."""
    return _find(connection, recovery.c.approval_hash == approval_hash, now)


def find_by_id(connection: Connection, recovery_id: str, now: Instant) -> StoredRecovery | None:
    """Return the recovery of this id."""
    return _find(connection, recovery.c.id == recovery_id, now)


def save_recovery(connection: Connection, before: StoredRecovery, after: StoredRecovery) -> bool:
    """Store how a recovery went on, if it is still as it was seen: a step is taken once."""
    values = msgspec.structs.asdict(after)
    still = (
        update(recovery)
        .where(recovery.c.id == before.id, recovery.c.state == before.state)
        .where(recovery.c.token_hash == before.token_hash, recovery.c.failures == before.failures)
        .where(recovery.c.mail_hash.is_not_distinct_from(before.mail_hash))
        .where(recovery.c.announced_at.is_not_distinct_from(before.announced_at))
        .values(**values)
    )
    return connection.execute(still).rowcount == 1


def list_unannounced(connection: Connection, now: Instant, limit: int) -> tuple[StoredRecovery, ...]:
    """Return recoveries of people who were not told yet."""
    due = (
        select(recovery)
        .where(recovery.c.announced_at.is_(None), recovery.c.person.is_not(None))
        .where(recovery.c.expires_at > now)
        .order_by(recovery.c.asked_at)
    )
    return tuple(StoredRecovery(**row) for row in connection.execute(due.limit(limit)).mappings())


def list_recoveries(
    connection: Connection, now: Instant, *, person: str | None = None
) -> tuple[StoredRecovery, ...]:
    """Return recoveries of people that are not over, the newest first."""
    found = select(recovery).where(recovery.c.expires_at > now, recovery.c.person.is_not(None))
    if person is not None:
        found = found.where(recovery.c.person == person)
    rows = connection.execute(found.order_by(recovery.c.asked_at.desc()))
    return tuple(StoredRecovery(**row) for row in rows.mappings())


def stop_recoveries(connection: Connection, person: str) -> int:
    """Stop every recovery of a person that is not done; return how many."""
    running = update(recovery).where(recovery.c.person == person, recovery.c.state.in_(("open", "ready")))
    return connection.execute(running.values(state="stopped", mail_hash=None)).rowcount


def purge_recoveries(connection: Connection, now: Instant) -> None:
    """Forget what is over."""
    connection.execute(delete(recovery).where(recovery.c.expires_at <= now))


def set_recovered(connection: Connection, row: Recovered) -> None:
    """Note that somebody came back."""
    clear_recovered(connection, row.person)
    connection.execute(insert(recovered).values(**msgspec.structs.asdict(row)))


def clear_recovered(connection: Connection, person: str) -> bool:
    """Forget that somebody came back; return whether that was known."""
    return connection.execute(delete(recovered).where(recovered.c.person == person)).rowcount == 1


def list_recovered(connection: Connection, *, until: Instant | None = None) -> tuple[Recovered, ...]:
    """Return who came back; with `until`, those whose time is over then."""
    found = select(recovered).order_by(recovered.c.until)
    if until is not None:
        found = found.where(recovered.c.until <= until)
    return tuple(Recovered(**row) for row in connection.execute(found).mappings())


def forget_recoveries(connection: Connection, person: str) -> None:
    """Forget all of it about a person."""
    connection.execute(delete(recovery).where(recovery.c.person == person))
    clear_recovered(connection, person)


def _find(connection: Connection, which: object, now: Instant) -> StoredRecovery | None:
    found = select(recovery).where(which, recovery.c.expires_at > now)  # type: ignore[arg-type]
    row = connection.execute(found).mappings().first()
    return StoredRecovery(**row) if row else None

"""Legal holds: what must be kept whatever retention or erasure say, because somebody may ask for it."""

import msgspec
from sqlalchemy import Connection, insert, select, update

from limen.core.errors import Conflict, Invalid, NotFound
from limen.core.ids import Instant, new_id
from limen.store.ports import Writing
from limen.store.tables import legal_hold

REASON_MAX = 1_000  # characters


class LegalHold(msgspec.Struct, frozen=True):
    """One hold. `subject` is a person, `User::"ada"`; None holds everything."""

    id: str
    subject: str | None
    reason: str
    actor: str
    since: Instant
    ended_at: Instant | None = None


def add_hold(tx: Writing, subject: str | None, reason: str) -> LegalHold:
    """Hold what is recorded of a person, or everything.

    Raises:
        Invalid: without a reason.
    """
    if not reason.strip() or len(reason) > REASON_MAX:
        raise Invalid(
            "reason: a legal hold needs one, of at most 1,000 characters.", remedy="Say which case it is for."
        )
    row = LegalHold(new_id("hold"), subject, reason.strip(), tx.actor, tx.now)
    tx.connection.execute(insert(legal_hold).values(**msgspec.structs.asdict(row)))
    return row


def end_hold(tx: Writing, hold_id: str) -> LegalHold:
    """End a hold.

    Raises:
        NotFound: there is none of this id.
        Conflict: it has ended already.
    """
    row = tx.connection.execute(select(legal_hold).where(legal_hold.c.id == hold_id)).first()
    if row is None:
        raise NotFound(f"There is no legal hold {hold_id[:64]!r}.", remedy="See `limen audit hold list`.")
    if row.ended_at is not None:
        raise Conflict(f"The legal hold {hold_id} has ended already.", remedy="See `limen audit hold list`.")
    tx.connection.execute(update(legal_hold).where(legal_hold.c.id == hold_id).values(ended_at=tx.now))
    return msgspec.structs.replace(LegalHold(**row._mapping), ended_at=tx.now)


def list_holds(connection: Connection, *, ended: bool = False) -> tuple[LegalHold, ...]:
    """Return the holds in force, oldest first. `ended`: those too that are over."""
    query = select(legal_hold).order_by(legal_hold.c.since, legal_hold.c.id)
    if not ended:
        query = query.where(legal_hold.c.ended_at.is_(None))
    return tuple(LegalHold(**row._mapping) for row in connection.execute(query))


def holds_on(connection: Connection, subject: str) -> tuple[LegalHold, ...]:
    """Return the holds in force on a person, those on everything included."""
    return tuple(hold for hold in list_holds(connection) if hold.subject in (None, subject))

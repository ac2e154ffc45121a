"""A new epoch: what must not live on when a database comes back from a backup.

A backup does not know what was revoked after it was taken. So every session ends, and everything that
works once (links, codes, sign-ins under way, the present TOTP codes) is void: it may have been used.
"""

import secrets

from sqlalchemy import delete, select, update

from limen.store import feed
from limen.store.ports import Writing
from limen.store.tables import (
    app_session,
    enrolment_link,
    exchange_code,
    projection,
    session,
    sign_in,
    totp,
)

TOTP_STEP_S = 30
"""RFC 6238's time step."""

_SESSION_KINDS = ("app_session", "session")


def begin_epoch(tx: Writing) -> str:
    """Set a new random epoch, end all sessions, void all one-time things; return the epoch."""
    epoch = secrets.token_hex(16)
    connection = tx.connection
    feed.write_state(connection, "epoch", epoch)
    for table in (exchange_code, sign_in, enrolment_link, app_session):
        connection.execute(delete(table))
    connection.execute(
        update(session)
        .where(session.c.ended_at.is_(None))
        .values(state="ended", ended_at=tx.now, ended_why="the database was restored", old_token_hash=None)
    )
    step = int(tx.now) // TOTP_STEP_S + 1  # the ±1 step that a verifier accepts
    connection.execute(update(totp).where(totp.c.last_step < step).values(last_step=step))
    live = select(projection.c.kind, projection.c.id).where(projection.c.kind.in_(_SESSION_KINDS))
    for kind, name in connection.execute(live).all():
        tx.change(kind, name, None)
    return epoch

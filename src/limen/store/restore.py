"""A new epoch: what must not live on when a database comes back from a backup.

A backup does not know what was revoked after it was taken. So every session ends, and everything that
works once (links, codes, join tokens, sign-ins under way, the present TOTP codes) is void: it may have
been used.
"""

import secrets

from sqlalchemy import delete, select, update

from limen.store import feed
from limen.store.life import next_stride
from limen.store.ports import Writing
from limen.store.tables import (
    app_session,
    device_code,
    enrolment_link,
    exchange_code,
    join_token,
    projection,
    session,
    sign_in,
    totp,
)

TOTP_STEP_S = 30
"""RFC 6238's time step."""

_SESSION_KINDS = ("app_session", "session")


def begin_epoch(tx: Writing, known: int) -> str:
    """Set a new random epoch, end all sessions, void all one-time things; return the epoch.

    It counts on from beyond the database's own head and `known`, the highest position that was ever
    told: whoever follows takes a snapshot, and nobody mistakes a new change for one that was lost.
    """
    epoch = secrets.token_hex(16)
    connection = tx.connection
    feed.write_state(connection, "epoch", epoch)
    feed.skip_to(connection, next_stride(feed.load_head(connection), known))
    for table in (exchange_code, device_code, sign_in, enrolment_link, join_token, app_session):
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

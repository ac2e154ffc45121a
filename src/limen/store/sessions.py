"""Sessions at rest: single sign-on sessions, app sessions below them, and one-time exchange codes.

Every write of a session or app session records its change (law F1). Exchange codes, rotations and
last-seen times are nobody's business but control's and have no projection.
"""

from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import Connection, RowMapping, delete, insert, or_, select, update

from limen.core.changes import AppSessionFact, SessionFact
from limen.core.entities import Status
from limen.core.ids import Instant
from limen.store.ports import Writing
from limen.store.tables import app_session, exchange_code, person, session

ROTATION_OVERLAP_S = 15.0  # architecture §5: the old token lives on for requests in flight


class Session(msgspec.Struct, frozen=True):
    """A single sign-on session as it is stored. `state` is active or ended."""

    id: str
    token_hash: str
    person: str
    state: str
    aal: int
    phishing_resistant: bool
    methods: tuple[str, ...]
    started_at: Instant
    auth_at: Instant
    seen_at: Instant
    expires_at: Instant
    ip: str
    user_agent: str
    old_token_hash: str | None = None
    rotated_at: Instant | None = None
    ended_at: Instant | None = None
    ended_why: str | None = None

    def render_fact(self) -> SessionFact:
        """Return what gateways may know."""
        return SessionFact(
            id=self.id,
            person=self.person,
            aal=self.aal,
            phishing_resistant=self.phishing_resistant,
            methods=self.methods,
            started_at=self.started_at,
            auth_at=self.auth_at,
            expires_at=self.expires_at,
        )


class AppSession(msgspec.Struct, frozen=True):
    """A session of one app. `kind` is cookie or token; tokens carry a `name`."""

    token_hash: str
    parent: str
    app: str
    kind: str
    name: str
    created_at: Instant
    expires_at: Instant

    def render_fact(self) -> AppSessionFact:
        """Return what gateways may know."""
        return AppSessionFact(
            id=self.token_hash, parent=self.parent, app=self.app, expires_at=self.expires_at, kind=self.kind
        )


class ExchangeCode(msgspec.Struct, frozen=True):
    """A one-time code that carries a session from the sign-in host to an app's host."""

    code_hash: str
    session: str
    app: str
    nonce_hash: str
    return_to: str
    cure: str
    expires_at: Instant


def add_session(tx: Writing, row: Session) -> None:
    """Store a session that begins."""
    tx.connection.execute(insert(session).values(**msgspec.structs.asdict(row)))
    tx.change("session", row.id, row.render_fact())


def save_session(tx: Writing, row: Session) -> None:
    """Store what a step-up made of a session."""
    values = msgspec.structs.asdict(row)
    tx.connection.execute(update(session).where(session.c.id == row.id).values(**values))
    tx.change("session", row.id, row.render_fact())


def end_session(tx: Writing, row: Session, why: str) -> None:
    """Store that a session is over; its children go with it."""
    for child in list_app_sessions(tx.connection, row.id):
        remove_app_session(tx, child)
    tx.connection.execute(delete(exchange_code).where(exchange_code.c.session == row.id))
    ended = {"state": "ended", "ended_at": tx.now, "ended_why": why, "old_token_hash": None}
    tx.connection.execute(update(session).where(session.c.id == row.id).values(**ended))
    tx.change("session", row.id, None)


def load_session(connection: Connection, session_id: str) -> Session | None:
    """Return a session by id, whatever its state."""
    row = connection.execute(select(session).where(session.c.id == session_id)).mappings().first()
    return _session(row) if row else None


def find_session(connection: Connection, token_hash: str, now: Instant) -> Session | None:
    """Return the active session of a token, or of the one before it while that overlaps."""
    overlapping = (session.c.old_token_hash == token_hash) & (session.c.rotated_at > now - ROTATION_OVERLAP_S)
    query = (
        select(session)
        .join(person, person.c.id == session.c.person)
        .where(or_(session.c.token_hash == token_hash, overlapping))
        .where(session.c.state == "active", person.c.status == Status.ACTIVE)
        .where(or_(person.c.expires_at.is_(None), person.c.expires_at > now))
    )
    row = connection.execute(query).mappings().first()
    return _session(row) if row else None


def list_sessions(connection: Connection, username: str | None = None) -> tuple[Session, ...]:
    """Return the active sessions, of one person or of all, newest first."""
    query = select(session).where(session.c.state == "active").order_by(session.c.started_at.desc())
    if username is not None:
        query = query.where(session.c.person == username)
    return tuple(_session(row) for row in connection.execute(query).mappings())


def list_over(connection: Connection, now: Instant, idle_s: float) -> tuple[Session, ...]:
    """Return active sessions whose time is up, by age or by idleness."""
    over = or_(session.c.expires_at <= now, session.c.seen_at <= now - idle_s)
    rows = connection.execute(select(session).where(session.c.state == "active", over)).mappings()
    return tuple(_session(row) for row in rows)


def list_locked_out(connection: Connection, now: Instant) -> tuple[str, ...]:
    """Return the people who have an active session and may not come in: by status, or by time."""
    out = or_(person.c.status != Status.ACTIVE, person.c.expires_at <= now)
    query = (
        select(session.c.person)
        .join(person, person.c.id == session.c.person)
        .where(session.c.state == "active", out)
        .distinct()
        .order_by(session.c.person)
    )
    return tuple(connection.execute(query).scalars())


def note_seen(connection: Connection, seen: Mapping[str, Instant]) -> None:
    """Move last-seen times forward. Not a change (architecture §3)."""
    for session_id, at in seen.items():
        connection.execute(
            update(session).where(session.c.id == session_id, session.c.seen_at < at).values(seen_at=at)
        )


def forget_ended(connection: Connection, before: Instant) -> int:
    """Remove sessions that ended long ago; return how many."""
    old = delete(session).where(session.c.state == "ended", session.c.ended_at < before)
    return connection.execute(old).rowcount


def add_app_session(tx: Writing, row: AppSession) -> None:
    """Store an app session that begins."""
    tx.connection.execute(insert(app_session).values(**msgspec.structs.asdict(row)))
    tx.change("app_session", row.token_hash, row.render_fact())


def shorten_app_session(tx: Writing, row: AppSession, expires_at: Instant) -> None:
    """Let an app session end earlier than it would."""
    if expires_at >= row.expires_at:
        return
    shorter = msgspec.structs.replace(row, expires_at=expires_at)
    where = app_session.c.token_hash == row.token_hash
    tx.connection.execute(update(app_session).where(where).values(expires_at=expires_at))
    tx.change("app_session", row.token_hash, shorter.render_fact())


def remove_app_session(tx: Writing, row: AppSession) -> None:
    """Remove an app session."""
    tx.connection.execute(delete(app_session).where(app_session.c.token_hash == row.token_hash))
    tx.change("app_session", row.token_hash, None)


def load_app_session(connection: Connection, token_hash: str) -> AppSession | None:
    """Return the app session of a token."""
    row = connection.execute(select(app_session).where(app_session.c.token_hash == token_hash)).first()
    return AppSession(**row._mapping) if row else None


def list_app_sessions(connection: Connection, parent: str) -> tuple[AppSession, ...]:
    """Return the app sessions below a session, oldest first."""
    query = select(app_session).where(app_session.c.parent == parent).order_by(app_session.c.created_at)
    return tuple(AppSession(**row._mapping) for row in connection.execute(query))


def list_over_app_sessions(connection: Connection, now: Instant) -> tuple[AppSession, ...]:
    """Return app sessions whose time is up."""
    rows = connection.execute(select(app_session).where(app_session.c.expires_at <= now))
    return tuple(AppSession(**row._mapping) for row in rows)


def add_code(connection: Connection, row: ExchangeCode) -> None:
    """Store an exchange code."""
    connection.execute(insert(exchange_code).values(**msgspec.structs.asdict(row)))


def spend_code(connection: Connection, code_hash: str) -> ExchangeCode | None:
    """Remove an exchange code and return it: whoever asks second finds none."""
    row = connection.execute(select(exchange_code).where(exchange_code.c.code_hash == code_hash)).first()
    if row is None:
        return None
    gone = connection.execute(delete(exchange_code).where(exchange_code.c.code_hash == code_hash))
    return ExchangeCode(**row._mapping) if gone.rowcount == 1 else None


def purge_codes(connection: Connection, now: Instant) -> int:
    """Remove codes whose time is up; return how many."""
    return connection.execute(delete(exchange_code).where(exchange_code.c.expires_at <= now)).rowcount


def _session(row: RowMapping) -> Session:
    values: Iterable[tuple[str, object]] = ((field, row[field]) for field in Session.__struct_fields__)
    return msgspec.convert(dict(values), Session)

"""Sign-ins of people at clients, at rest: authorizations, their codes and tokens, logouts to be told.

Only hashes of codes and tokens are stored. None of this is in the change feed: gateways never see a client.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, delete, insert, or_, select, update

from limen.core.ids import Instant
from limen.store.identity_tables import logout_notice, oauth_authorization, oauth_token
from limen.store.ports import Writing
from limen.store.tables import session

CODE, REFRESH, ACCESS = "code", "refresh", "access"


class Authorization(msgspec.Struct, frozen=True):
    """One sign-in of a person at a client. Its tokens end with it, and it ends with its session.

    Attributes:
        session: the session here.
        sid: the session as this client knows it: clients cannot compare theirs.
        audiences: names of the APIs that tokens may be for.
        nonce: of the authentication request (OIDC Core 3.1.2.1); may be empty.
        jkt: thumbprint of the key that refresh tokens are bound to; empty for none.
        expires_at: no token of it lives longer.
        redeemed_at: the client has had tokens, and is told of the end.
    """

    id: str
    client: str
    session: str
    person: str
    sid: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    nonce: str
    jkt: str
    created_at: Instant
    expires_at: Instant
    redeemed_at: Instant | None = None
    ended_at: Instant | None = None
    ended_why: str | None = None


class OauthToken(msgspec.Struct, frozen=True):
    """A code or token by its hash. `used_at`: it was, and may not be again."""

    hash: str
    kind: str
    authorization: str
    data: Mapping[str, Any]
    created_at: Instant
    expires_at: Instant
    used_at: Instant | None = None


class LogoutNotice(msgspec.Struct, frozen=True):
    """A logout token that a client has yet to take."""

    id: str
    client: str
    person: str
    sid: str
    created_at: Instant
    next_at: Instant
    attempts: int = 0


# --- authorizations ----------------------------------------------------------------------------------


def add_authorization(tx: Writing, row: Authorization) -> None:
    """Store a sign-in at a client."""
    tx.connection.execute(insert(oauth_authorization).values(**msgspec.structs.asdict(row)))


def load_authorization(connection: Connection, authorization: str) -> Authorization | None:
    """Return an authorization, whatever its state."""
    query = select(oauth_authorization).where(oauth_authorization.c.id == authorization)
    row = connection.execute(query).mappings().first()
    return _authorization(row) if row else None


def mark_redeemed(tx: Writing, authorization: str, jkt: str) -> None:
    """Store that the client has tokens, and the key that they are bound to."""
    where = oauth_authorization.c.id == authorization
    tx.connection.execute(update(oauth_authorization).where(where).values(redeemed_at=tx.now, jkt=jkt))


def list_authorizations(
    connection: Connection, *, client: str | None = None, person: str | None = None
) -> tuple[Authorization, ...]:
    """Return the authorizations that have not ended, oldest first."""
    query = select(oauth_authorization).where(oauth_authorization.c.ended_at.is_(None))
    if client is not None:
        query = query.where(oauth_authorization.c.client == client)
    if person is not None:
        query = query.where(oauth_authorization.c.person == person)
    query = query.order_by(oauth_authorization.c.created_at, oauth_authorization.c.id)
    return tuple(_authorization(row) for row in connection.execute(query).mappings())


def list_of_session(connection: Connection, session_id: str) -> tuple[Authorization, ...]:
    """Return the authorizations of a session that were redeemed, ended or not, oldest first."""
    query = select(oauth_authorization).where(
        oauth_authorization.c.session == session_id, oauth_authorization.c.redeemed_at.is_not(None)
    )
    query = query.order_by(oauth_authorization.c.created_at, oauth_authorization.c.id)
    return tuple(_authorization(row) for row in connection.execute(query).mappings())


def list_bereft(
    connection: Connection, now: Instant, unredeemed_before: Instant
) -> tuple[Authorization, ...]:
    """Return the authorizations that have not ended though what they need has.

    That is their session, their time, or, of one made before `unredeemed_before`, a code that was never used.
    """
    wasted = oauth_authorization.c.redeemed_at.is_(None) & (
        oauth_authorization.c.created_at < unredeemed_before
    )
    over = or_(session.c.state != "active", oauth_authorization.c.expires_at <= now, wasted)
    query = (
        select(oauth_authorization)
        .join(session, session.c.id == oauth_authorization.c.session)
        .where(oauth_authorization.c.ended_at.is_(None), over)
    )
    return tuple(_authorization(row) for row in connection.execute(query).mappings())


def end_authorization(tx: Writing, authorization: str, why: str) -> bool:
    """End an authorization with all its codes and tokens; return whether it had not ended before.

    Used codes and refresh tokens stay until they are too old: used once more they are told from rubbish.
    """
    where = (oauth_authorization.c.id == authorization) & oauth_authorization.c.ended_at.is_(None)
    ended = update(oauth_authorization).where(where).values(ended_at=tx.now, ended_why=why)
    if tx.connection.execute(ended).rowcount == 0:
        return False
    unused = (oauth_token.c.authorization == authorization) & oauth_token.c.used_at.is_(None)
    tx.connection.execute(delete(oauth_token).where(unused))
    return True


# --- codes and tokens --------------------------------------------------------------------------------


def add_token(tx: Writing, row: OauthToken) -> None:
    """Store a code or token."""
    tx.connection.execute(insert(oauth_token).values(**msgspec.structs.asdict(row)))


def load_token(connection: Connection, hashed: str, kind: str) -> OauthToken | None:
    """Return a code or token, used or not."""
    query = select(oauth_token).where(oauth_token.c.hash == hashed, oauth_token.c.kind == kind)
    row = connection.execute(query).first()
    return OauthToken(**row._mapping) if row else None


def spend_token(tx: Writing, hashed: str) -> bool:
    """Use a code or refresh token; return whether it was unused. Of two that race, one gets it."""
    where = (oauth_token.c.hash == hashed) & oauth_token.c.used_at.is_(None)
    return tx.connection.execute(update(oauth_token).where(where).values(used_at=tx.now)).rowcount == 1


def remove_token(tx: Writing, hashed: str) -> None:
    """End one token."""
    tx.connection.execute(delete(oauth_token).where(oauth_token.c.hash == hashed))


def purge_tokens(tx: Writing, ended_before: Instant) -> None:
    """Forget tokens whose time is up, and authorizations that ended long ago."""
    tx.connection.execute(delete(oauth_token).where(oauth_token.c.expires_at <= tx.now))
    old = oauth_authorization.c.ended_at < ended_before
    tx.connection.execute(delete(oauth_authorization).where(old))


# --- logouts to be told ------------------------------------------------------------------------------


def add_notice(tx: Writing, row: LogoutNotice) -> None:
    """Store that a client must hear of a logout. What nobody has tried to tell yet is not stored twice."""
    same = (logout_notice.c.client == row.client) & (logout_notice.c.sid == row.sid)
    untold = select(logout_notice.c.id).where(same, logout_notice.c.attempts == 0)
    if tx.connection.scalar(untold) is not None:
        return
    tx.connection.execute(insert(logout_notice).values(**msgspec.structs.asdict(row)))


def list_due(connection: Connection, now: Instant, limit: int) -> tuple[LogoutNotice, ...]:
    """Return notices whose time has come, the oldest first."""
    query = select(logout_notice).where(logout_notice.c.next_at <= now)
    rows = connection.execute(query.order_by(logout_notice.c.next_at).limit(limit))
    return tuple(LogoutNotice(**row._mapping) for row in rows)


def next_due(connection: Connection) -> Instant | None:
    """Return when the next notice is due."""
    query = select(logout_notice.c.next_at).order_by(logout_notice.c.next_at).limit(1)
    return connection.scalar(query)


def claim_notice(tx: Writing, row: LogoutNotice, next_at: Instant) -> bool:
    """Take a notice for one attempt, the next one at `next_at`; return whether nobody else has taken it."""
    where = (logout_notice.c.id == row.id) & (logout_notice.c.attempts == row.attempts)
    later = update(logout_notice).where(where).values(attempts=row.attempts + 1, next_at=next_at)
    return tx.connection.execute(later).rowcount == 1


def remove_notice(tx: Writing, notice: str) -> None:
    """Forget a notice: it was taken, or nobody will take it."""
    tx.connection.execute(delete(logout_notice).where(logout_notice.c.id == notice))


def count_notices(connection: Connection, clients: Iterable[str]) -> dict[str, int]:
    """Return how many logouts each of `clients` has yet to hear of."""
    found = dict.fromkeys(clients, 0)
    for client in connection.scalars(select(logout_notice.c.client)):
        if client in found:
            found[client] += 1
    return found


def _authorization(row: RowMapping) -> Authorization:
    return msgspec.convert({name: row[name] for name in Authorization.__struct_fields__}, Authorization)

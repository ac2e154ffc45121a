"""Tokens of SCIM clients. Only hashes are kept; which clients there are, the bundle says."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from limen.core.errors import Invalid, NotFound, Refused
from limen.core.ids import Instant, TokenHash, new_id
from limen.store.identity_tables import scim_token
from limen.store.ports import Writing
from limen.store.workloads import parse_text

TOKEN_MAX_S = 366 * 86_400.0
TOKENS_MAX = 4  # of one client: one in use, one that takes over, and room for a mistake


class ScimToken(msgspec.Struct, frozen=True):
    """A token, without anything by which it could be used. `used_at` is exact to a minute."""

    id: str
    client: str
    name: str
    created_at: Instant
    expires_at: Instant
    used_at: Instant | None
    actor: str


def add_token(tx: Writing, client: str, token: TokenHash, *, label: str, life_s: float) -> ScimToken:
    """Store a new token of a client.

    Raises:
        Invalid: it would live too long, or not at all.
        Refused: the client has too many.
    """
    if not 0 < life_s <= TOKEN_MAX_S:
        raise Invalid("expires_s: a token lives between one second and 366 days.", remedy="Write 365d.")
    live = (scim_token.c.client == client) & (scim_token.c.expires_at > tx.now)
    if (tx.connection.scalar(select(func.count()).where(live)) or 0) >= TOKENS_MAX:
        raise Refused(
            f"{client} has {TOKENS_MAX} tokens already.", remedy="Revoke one: `limen scim revoke ID`."
        )
    row = ScimToken(
        id=new_id("sct"),
        client=client,
        name=parse_text(label, "name"),
        created_at=tx.now,
        expires_at=tx.now + life_s,
        used_at=None,
        actor=tx.actor,
    )
    tx.connection.execute(insert(scim_token).values(token_hash=token, **msgspec.structs.asdict(row)))
    return row


def find_token(connection: Connection, token: TokenHash) -> ScimToken | None:
    """Return the token of this hash, expired or not."""
    row = connection.execute(select(scim_token).where(scim_token.c.token_hash == token)).first()
    return None if row is None else _token(row)


def list_tokens(connection: Connection, client: str | None = None) -> tuple[ScimToken, ...]:
    """Return tokens, of one client or of all, oldest first."""
    query = select(scim_token).order_by(scim_token.c.client, scim_token.c.created_at, scim_token.c.id)
    if client is not None:
        query = query.where(scim_token.c.client == client)
    return tuple(_token(row) for row in connection.execute(query))


def shorten_tokens(tx: Writing, client: str, until: Instant, *, but: str) -> tuple[str, ...]:
    """Let every token of a client but one end at `until` at the latest; return their ids."""
    others = [one for one in list_tokens(tx.connection, client) if one.id != but]
    late = [one.id for one in others if one.expires_at > until]
    if late:
        these = scim_token.c.id.in_(late)
        tx.connection.execute(update(scim_token).where(these).values(expires_at=until))
    return tuple(late)


def revoke_token(tx: Writing, token_id: str) -> ScimToken:
    """Remove a token; return it as it was.

    Raises:
        NotFound: there is none of this id.
    """
    row = tx.connection.execute(select(scim_token).where(scim_token.c.id == token_id)).first()
    if row is None:
        raise NotFound(f"There is no token '{token_id[:80]}'.", remedy="See `limen scim list`.")
    tx.connection.execute(delete(scim_token).where(scim_token.c.id == token_id))
    return _token(row)


def note_use(connection: Connection, token_id: str, at: Instant) -> None:
    """Note that a token was used. Nobody's business but control's: no change."""
    connection.execute(update(scim_token).where(scim_token.c.id == token_id).values(used_at=at))


def purge_tokens(connection: Connection, before: Instant) -> int:
    """Remove tokens that were over before an instant; return how many."""
    return connection.execute(delete(scim_token).where(scim_token.c.expires_at < before)).rowcount


def _token(row: Row[Any]) -> ScimToken:
    return ScimToken(**{name: getattr(row, name) for name in ScimToken.__struct_fields__})

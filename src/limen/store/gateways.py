"""Gateways on other machines: those that joined, and the one-time tokens by which they do.

None of it is in the change feed: a gateway decides nothing by which others there are.
"""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from limen.core.errors import NotFound, Refused
from limen.core.ids import Instant
from limen.store.ports import Writing
from limen.store.tables import gateway, join_token

JOINED = "joined"
REMOVED = "removed"

TOKENS_KEPT_S = 30 * 86_400.0  # a spent or expired token is told apart from an invented one for so long


class GatewayRow(msgspec.Struct, frozen=True):
    """A gateway that joined. `certificate_*` are of the newest certificate that it was given."""

    node: str
    state: str
    joined_at: Instant
    certificate_serial: str
    certificate_expires_at: Instant
    assertion_jwk: dict[str, Any]
    removed_at: Instant | None = None
    removed_why: str | None = None


def add_join_token(tx: Writing, node: str, token_hash: str, expires_at: Instant) -> None:
    """Keep a token's hash. Older unused tokens of the same node no longer work."""
    unused = (join_token.c.node == node) & join_token.c.used_at.is_(None)
    old = join_token.c.expires_at < tx.now - TOKENS_KEPT_S
    tx.connection.execute(delete(join_token).where(unused | old))
    row = {"token_hash": token_hash, "node": node, "expires_at": expires_at, "actor": tx.actor}
    tx.connection.execute(insert(join_token).values(row))


def use_join_token(tx: Writing, token_hash: str, node: str) -> str:
    """Spend a token of `node`; return who made it.

    Raises:
        Refused: unknown, of another node, spent or expired.
    """
    spent = tx.connection.execute(
        update(join_token)
        .where(
            join_token.c.token_hash == token_hash,
            join_token.c.node == node,
            join_token.c.used_at.is_(None),
            join_token.c.expires_at > tx.now,
        )
        .values(used_at=tx.now)
    )
    if spent.rowcount != 1:
        raise Refused(
            "The join token is spent, expired, or not of this gateway.",
            remedy=f"Make a new one on control: limen gateway token {node}",
            code="JOIN_REFUSED",
        )
    return str(tx.connection.scalar(select(join_token.c.actor).where(join_token.c.token_hash == token_hash)))


def join_gateway(tx: Writing, node: str, *, serial: str, expires_at: Instant, jwk: dict[str, Any]) -> None:
    """Keep a gateway that joins, in place of one of that name; certificates from before count no longer."""
    tx.connection.execute(delete(gateway).where(gateway.c.node == node))
    tx.connection.execute(
        insert(gateway).values(
            node=node,
            state=JOINED,
            joined_at=tx.now,
            certificate_serial=serial,
            certificate_expires_at=expires_at,
            assertion_jwk=jwk,
        )
    )


def renew_gateway(tx: Writing, node: str, *, serial: str, expires_at: Instant) -> None:
    """Note the newest certificate of a gateway.

    Raises:
        Refused: it is not joined, or no longer.
    """
    renewed = tx.connection.execute(
        update(gateway)
        .where(gateway.c.node == node, gateway.c.state == JOINED)
        .values(certificate_serial=serial, certificate_expires_at=expires_at)
    )
    if renewed.rowcount != 1:
        raise removed_gateway(node)


def remove_gateway(tx: Writing, node: str) -> None:
    """Take a gateway out. Its certificates, tokens and assertions count no longer.

    Raises:
        NotFound: none of this name has joined.
    """
    tx.connection.execute(delete(join_token).where(join_token.c.node == node, join_token.c.used_at.is_(None)))
    removed = tx.connection.execute(
        update(gateway)
        .where(gateway.c.node == node, gateway.c.state == JOINED)
        .values(state=REMOVED, removed_at=tx.now, removed_why=tx.reason)
    )
    if removed.rowcount != 1:
        raise NotFound(f"There is no joined gateway '{node[:64]}'.", remedy="See `limen gateway list`.")


def load_gateway(connection: Connection, node: str) -> GatewayRow | None:
    """Return a gateway, removed or not."""
    row = connection.execute(select(gateway).where(gateway.c.node == node)).first()
    return None if row is None else _gateway(row)


def list_gateways(connection: Connection) -> tuple[GatewayRow, ...]:
    """Return every gateway by name, removed ones too."""
    return tuple(_gateway(row) for row in connection.execute(select(gateway).order_by(gateway.c.node)))


def gateway_jwks(connection: Connection) -> list[dict[str, Any]]:
    """Return the public keys by which joined gateways sign identity assertions (members of a JWK set)."""
    return [row.assertion_jwk for row in list_gateways(connection) if row.state == JOINED]


def removed_gateway(node: str) -> Refused:
    """Return why a gateway that has not joined, or was removed, is refused."""
    return Refused(
        f"The gateway '{node[:64]}' was removed, or has joined anew elsewhere.",
        remedy="Join it again with a new token.",
        code="GATEWAY_REMOVED",
    )


def _gateway(row: Row[Any]) -> GatewayRow:
    return GatewayRow(**row._mapping)

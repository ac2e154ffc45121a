"""Keys that sign for others, at rest: the private half sealed, the public half as others read it."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.store.ports import Writing
from limen.store.sealing import Sealer
from limen.store.tables import signing_key


class SigningKeyRow(msgspec.Struct, frozen=True):
    """A key without its private half.

    Attributes:
        use: what it signs: `oauth`, `saml`.
        public: JWK.
        active_at: it signs from here; it is published from its making.
        retired_at: it signs no more; it is published until what it signed is over.
    """

    kid: str
    use: str
    alg: str
    public: Mapping[str, Any]
    created_at: Instant
    active_at: Instant
    retired_at: Instant | None = None


def add_key(tx: Writing, row: SigningKeyRow, private_pem: Secret[str], sealer: Sealer) -> None:
    """Store a key."""
    sealed = sealer.seal(private_pem, key_context(row.kid))
    values = {**msgspec.structs.asdict(row), "public": dict(row.public), "private_sealed": sealed}
    tx.connection.execute(insert(signing_key).values(values))


def list_keys(connection: Connection, use: str) -> tuple[SigningKeyRow, ...]:
    """Return the keys of a use, oldest first."""
    columns = [signing_key.c[field] for field in SigningKeyRow.__struct_fields__]
    query = select(*columns).where(signing_key.c.use == use)
    query = query.order_by(signing_key.c.active_at, signing_key.c.kid)
    return tuple(SigningKeyRow(*row) for row in connection.execute(query))


def open_key(connection: Connection, kid: str, sealer: Sealer) -> Secret[str]:
    """Return the private half, PEM.

    Raises:
        Invalid: it does not open with this state folder's key.
    """
    query = select(signing_key.c.private_sealed).where(signing_key.c.kid == kid)
    return sealer.open(connection.execute(query).scalar_one(), key_context(kid))


def retire_key(tx: Writing, kid: str, at: Instant) -> None:
    """Let a key sign no more."""
    where = (signing_key.c.kid == kid) & signing_key.c.retired_at.is_(None)
    tx.connection.execute(update(signing_key).where(where).values(retired_at=at))


def remove_key(tx: Writing, kid: str) -> None:
    """Forget a key, and publish it no more."""
    tx.connection.execute(delete(signing_key).where(signing_key.c.kid == kid))


def key_context(kid: str) -> str:
    """Return what a private half is sealed for."""
    return f"signing_key:{kid}"

"""SAML's rows: the keys that Limen signs with, and which app it has told of which session."""

from itertools import pairwise

import msgspec
from sqlalchemy import Connection, delete, insert, select

from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.store.identity_tables import saml_issued
from limen.store.ports import Writing
from limen.store.sealing import Sealer
from limen.store.signing_keys import key_context
from limen.store.tables import signing_key

USE = "saml"
ALGORITHM = "RS256"


class SamlKeyRow(msgspec.Struct, frozen=True):
    """A key of Limen's without its private half: in the metadata at once, signs from `active_at`."""

    kid: str
    certificate: str  # PEM
    created_at: Instant
    active_at: Instant


class SamlIssued(msgspec.Struct, frozen=True):
    """An app that was told of a session.

    Attributes:
        session_index: what the app calls that session.
        name_id: what the app calls the person.
        ends_at: after this the app asks again.
    """

    session_index: str
    session: str
    client: str
    name_id: str
    issued_at: Instant
    ends_at: Instant


def add_saml_key(tx: Writing, row: SamlKeyRow, private_pem: Secret[str], sealer: Sealer) -> None:
    """Store a key."""
    values = {
        "kid": row.kid,
        "use": USE,
        "alg": ALGORITHM,
        "private_sealed": sealer.seal(private_pem, key_context(row.kid)),
        "public": {},
        "certificate": row.certificate,
        "created_at": row.created_at,
        "active_at": row.active_at,
    }
    tx.connection.execute(insert(signing_key).values(values))


def list_saml_keys(connection: Connection) -> tuple[SamlKeyRow, ...]:
    """Return the keys, oldest first."""
    columns = [signing_key.c[field] for field in SamlKeyRow.__struct_fields__]
    query = select(*columns).where(signing_key.c.use == USE)
    rows = connection.execute(query.order_by(signing_key.c.active_at, signing_key.c.kid))
    return tuple(SamlKeyRow(*row) for row in rows)


def remove_saml_keys(tx: Writing, *, signed_until: Instant) -> int:
    """Forget keys that another has followed by then; return how many."""
    known = list_saml_keys(tx.connection)
    over = [key.kid for key, then in pairwise(known) if then.active_at <= signed_until]
    return tx.connection.execute(delete(signing_key).where(signing_key.c.kid.in_(over))).rowcount


# --- who was told of what ----------------------------------------------------------------------------


def add_issued(tx: Writing, row: SamlIssued) -> None:
    """Remember that an app was told of a session."""
    tx.connection.execute(insert(saml_issued).values(msgspec.structs.asdict(row)))


def find_issued(
    connection: Connection, client: str, *, name_id: str, index: str = ""
) -> tuple[SamlIssued, ...]:
    """Return what an app was told of somebody; of one session, if it names one."""
    query = select(saml_issued).where(saml_issued.c.client == client, saml_issued.c.name_id == name_id)
    if index:
        query = query.where(saml_issued.c.session_index == index)
    return tuple(SamlIssued(**row) for row in connection.execute(query).mappings())


def issued_of(connection: Connection, session: str) -> tuple[SamlIssued, ...]:
    """Return which apps were told of a session."""
    query = select(saml_issued).where(saml_issued.c.session == session).order_by(saml_issued.c.issued_at)
    return tuple(SamlIssued(**row) for row in connection.execute(query).mappings())


def purge_issued(connection: Connection, now: Instant) -> None:
    """Forget what apps themselves have forgotten."""
    connection.execute(delete(saml_issued).where(saml_issued.c.ends_at < now))

"""Who somebody is elsewhere: `(source, subject)` to a person. A subject means nothing without its source.

A name or an address is never a link: whoever sends the username or e-mail of somebody here does not become
that person.
"""

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select

from limen.core.errors import Conflict
from limen.core.ids import Instant
from limen.store.ports import Writing
from limen.store.tables import external_identity, upstream_session


class ExternalIdentity(msgspec.Struct, frozen=True):
    """One identity elsewhere. `source` is `oidc:<provider>`, `saml:<provider>`."""

    source: str
    subject: str
    person: str
    linked_at: Instant
    actor: str


class UpstreamSession(msgspec.Struct, frozen=True):
    """The session at a provider that a session here came from. `sid` is empty where it names none."""

    session: str
    source: str
    subject: str
    sid: str = ""


def link_identity(tx: Writing, source: str, subject: str, person: str) -> ExternalIdentity:
    """Link an identity to a person.

    Raises:
        Conflict: it is linked already, to whomever.
    """
    if find_owner(tx.connection, source, subject) is not None:
        raise Conflict(
            f"This account of {source} is linked already.", remedy="Unlink it there first: `limen user show`."
        )
    row = ExternalIdentity(source, subject, person, tx.now, tx.actor)
    tx.connection.execute(insert(external_identity).values(msgspec.structs.asdict(row)))
    return row


def unlink_identity(tx: Writing, source: str, subject: str) -> bool:
    """Remove a link; return whether it was there."""
    return tx.connection.execute(delete(external_identity).where(_is(source, subject))).rowcount == 1


def find_owner(connection: Connection, source: str, subject: str) -> str | None:
    """Return who this identity is here."""
    return connection.scalar(select(external_identity.c.person).where(_is(source, subject)))


def list_identities(connection: Connection, person: str) -> tuple[ExternalIdentity, ...]:
    """Return a person's identities elsewhere, sorted."""
    query = select(external_identity).where(external_identity.c.person == person)
    rows = connection.execute(query.order_by(external_identity.c.source, external_identity.c.subject))
    return tuple(ExternalIdentity(**row) for row in rows.mappings())


def forget_identities(connection: Connection, person: str) -> None:
    """Remove every link of a person."""
    connection.execute(delete(external_identity).where(external_identity.c.person == person))


# --- sessions there ----------------------------------------------------------------------------------


def note_upstream(tx: Writing, row: UpstreamSession) -> None:
    """Note which session of a provider a session here came from."""
    same = (upstream_session.c.session == row.session) & (upstream_session.c.source == row.source)
    tx.connection.execute(delete(upstream_session).where(same))
    tx.connection.execute(insert(upstream_session).values(msgspec.structs.asdict(row)))


def find_upstream(
    connection: Connection, source: str, *, subject: str = "", sid: str = ""
) -> tuple[UpstreamSession, ...]:
    """Return the sessions here that came from a source; of one subject, of one session there."""
    query = select(upstream_session).where(upstream_session.c.source == source)
    if subject:
        query = query.where(upstream_session.c.subject == subject)
    if sid:
        query = query.where(upstream_session.c.sid == sid)
    return tuple(UpstreamSession(**row) for row in connection.execute(query).mappings())


def upstreams_of(connection: Connection, session: str) -> tuple[UpstreamSession, ...]:
    """Return the provider's sessions that a session here came from."""
    query = select(upstream_session).where(upstream_session.c.session == session)
    return tuple(UpstreamSession(**row) for row in connection.execute(query).mappings())


def _is(source: str, subject: str) -> ColumnElement[bool]:
    return (external_identity.c.source == source) & (external_identity.c.subject == subject)

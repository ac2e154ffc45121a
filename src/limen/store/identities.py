"""Who somebody is elsewhere: `(source, subject)` to a person. A subject means nothing without its source.

A name or an address is never a link: whoever sends the username or e-mail of somebody here does not become
that person.

Law: U1 a link counts for the issuer that it was made with: a provider that is pointed at another issuer does
not inherit the people of the one before.
"""

import hashlib

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from limen.core.errors import Conflict
from limen.core.ids import Instant
from limen.store.ports import Writing
from limen.store.tables import external_identity, membership, person, session, upstream_session

SID_LENGTH_MAX = 255
"""Characters of a column; a longer name of a session is kept as its hash."""


class ExternalIdentity(msgspec.Struct, frozen=True):
    """One identity elsewhere. `source` is `oidc:<provider>`, `saml:<provider>`, `scim:<client>`."""

    source: str
    subject: str
    person: str
    linked_at: Instant
    actor: str
    issuer: str = ""


class UpstreamSession(msgspec.Struct, frozen=True):
    """The session at a provider that a session here came from. `sid` is empty where it names none."""

    session: str
    source: str
    subject: str
    sid: str = ""
    issuer: str = ""


def link_identity(
    tx: Writing, source: str, subject: str, person: str, *, issuer: str = ""
) -> ExternalIdentity:
    """Link an identity to a person.

    Raises:
        Conflict: it is linked already, to whomever.
    """
    if find_identity(tx.connection, source, subject) is not None:
        raise Conflict(
            f"This account of {source} is linked already.", remedy="Unlink it there first: `limen user show`."
        )
    row = ExternalIdentity(source, subject, person, tx.now, tx.actor, issuer)
    tx.connection.execute(insert(external_identity).values(msgspec.structs.asdict(row)))
    return row


def unlink_identity(tx: Writing, source: str, subject: str) -> bool:
    """Remove a link; return whether it was there."""
    return tx.connection.execute(delete(external_identity).where(_is(source, subject))).rowcount == 1


def find_identity(connection: Connection, source: str, subject: str) -> ExternalIdentity | None:
    """Return a link."""
    row = connection.execute(select(external_identity).where(_is(source, subject))).mappings().first()
    return ExternalIdentity(**row) if row else None


def find_owner(connection: Connection, source: str, subject: str) -> str | None:
    """Return who this identity is here."""
    return connection.scalar(select(external_identity.c.person).where(_is(source, subject)))


def adopt_issuer(tx: Writing, link: ExternalIdentity, issuer: str) -> None:
    """Note the issuer of a link that was made before issuers were noted."""
    tx.connection.execute(
        update(external_identity).where(_is(link.source, link.subject)).values(issuer=issuer)
    )


def list_identities(connection: Connection, person: str) -> tuple[ExternalIdentity, ...]:
    """Return a person's identities elsewhere, sorted."""
    query = select(external_identity).where(external_identity.c.person == person)
    rows = connection.execute(query.order_by(external_identity.c.source, external_identity.c.subject))
    return tuple(ExternalIdentity(**row) for row in rows.mappings())


def forget_identities(connection: Connection, person: str) -> None:
    """Remove every link of a person."""
    connection.execute(delete(external_identity).where(external_identity.c.person == person))


def has_address(connection: Connection, email: str, but: str) -> bool:
    """Say whether anybody but `but` has an address, however it is written."""
    query = select(person.c.id).where(func.lower(person.c.email) == email.lower(), person.c.id != but)
    return connection.execute(query.limit(1)).first() is not None


# --- sessions there ----------------------------------------------------------------------------------


def note_upstream(tx: Writing, row: UpstreamSession) -> None:
    """Note which session of a provider a session here came from."""
    row = msgspec.structs.replace(row, sid=bound_sid(row.sid))
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
        query = query.where(upstream_session.c.sid == bound_sid(sid))
    return tuple(UpstreamSession(**row) for row in connection.execute(query).mappings())


def upstreams_of(connection: Connection, session: str) -> tuple[UpstreamSession, ...]:
    """Return the provider's sessions that a session here came from."""
    query = select(upstream_session).where(upstream_session.c.session == session)
    return tuple(UpstreamSession(**row) for row in connection.execute(query).mappings())


def list_live_upstream(connection: Connection) -> tuple[UpstreamSession, ...]:
    """Return every session there whose session here is active."""
    query = (
        select(upstream_session)
        .join(session, session.c.id == upstream_session.c.session)
        .where(session.c.state == "active")
    )
    return tuple(UpstreamSession(**row) for row in connection.execute(query).mappings())


def bound_sid(sid: str) -> str:
    """Return a provider's name of a session as it is kept."""
    return sid if len(sid) <= SID_LENGTH_MAX else hashlib.sha256(sid.encode()).hexdigest()


# --- groups that nobody has listed -------------------------------------------------------------------


def list_unlisted(connection: Connection) -> tuple[tuple[str, str], ...]:
    """Return whose groups are unknown, and which source did not list them."""
    query = select(person.c.id, person.c.groups_unknown).where(person.c.groups_unknown != "")
    return tuple((row.id, row.groups_unknown) for row in connection.execute(query))


def list_given(connection: Connection) -> tuple[tuple[str, str], ...]:
    """Return who has groups from which provider that people sign in with, each pair once, sorted."""
    query = (
        select(membership.c.person, membership.c.source)
        .where(or_(membership.c.source.startswith("oidc:"), membership.c.source.startswith("saml:")))
        .distinct()
    )
    return tuple(sorted((row.person, row.source) for row in connection.execute(query)))


def lists_person(connection: Connection, username: str, source: str) -> bool:
    """Say whether a source has this person: `scim:<client>`, or any of a kind, such as `scim:`."""
    return any(
        connection.execute(query.limit(1)).first() is not None
        for query in (
            select(person.c.id).where(person.c.id == username, _from(person.c.source, source)),
            select(membership.c.group).where(
                membership.c.person == username, _from(membership.c.source, source)
            ),
            select(external_identity.c.subject).where(
                external_identity.c.person == username, _from(external_identity.c.source, source)
            ),
        )
    )


def _from(column: ColumnElement[str], source: str) -> ColumnElement[bool]:
    return column.startswith(source, autoescape=True) if source.endswith(":") else column == source


def _is(source: str, subject: str) -> ColumnElement[bool]:
    return (external_identity.c.source == source) & (external_identity.c.subject == subject)

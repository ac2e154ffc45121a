"""People: who they are, and whether they may come in at all.

A username is immutable and never issued twice, so nobody inherits a leaver's rights: people are ended,
not deleted.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, update

from limen.core.changes import PersonFact
from limen.core.entities import Kind, Status
from limen.core.errors import Conflict, NotFound, Refused
from limen.core.ids import Instant
from limen.store.directory.fields import parse_attributes, parse_email, parse_name, parse_username
from limen.store.ports import Writing
from limen.store.tables import membership, person

PAGE_MAX = 1_000
"""Most people of one listing page."""

BATCH = 500
"""Ids in one `IN (…)`: below every product's limit of parameters."""

HANDLE_BYTES = 32
"""WebAuthn user handle: random, at most 64 bytes, says nothing of the person (WebAuthn §14.6.1)."""

LOCAL = "local"
"""Source of what administrators keep here. No provider takes it away."""

STATUS_TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.ACTIVE: frozenset({Status.SUSPENDED, Status.ENDED}),
    Status.SUSPENDED: frozenset({Status.ACTIVE, Status.ENDED}),
    Status.ENDED: frozenset(),
}
"""The life of a person. `ended` is for good; `suspended` can be taken back."""


class Person(msgspec.Struct, frozen=True):
    """A person as control knows them. `groups` are the direct ones, sorted.

    Attributes:
        source: who keeps this person: `local`, `scim:<client>`, `ldap:<directory>`, `oidc:<provider>`.
        sponsor: the person who answers for a partner or contractor.
        signed_in_at: the last time.
        signals: facts that policies read as `context.signals`.
        groups_unknown: the source that did not list their groups; empty when they are known.
    """

    id: str
    name: str
    email: str
    status: Status
    kind: Kind
    quarantined: bool
    groups: tuple[str, ...]
    attributes: Mapping[str, Any]
    expires_at: Instant | None
    created_at: Instant
    source: str = LOCAL
    sponsor: str | None = None
    signed_in_at: Instant | None = None
    signals: tuple[str, ...] = ()
    groups_unknown: str = ""

    @property
    def fact(self) -> PersonFact:
        """What gateways may know."""
        return PersonFact(
            id=self.id,
            name=self.name,
            email=self.email,
            status=self.status,
            kind=self.kind,
            quarantined=self.quarantined,
            groups=self.groups,
            attributes=self.attributes,
            expires_at=self.expires_at,
            signals=self.signals,
            groups_unknown=self.groups_unknown,
        )


class PeopleFilter(msgspec.Struct, frozen=True):
    """Which people to list; what is None does not matter. `text` is sought in id, name and email."""

    text: str | None = None
    status: Status | None = None
    kind: Kind | None = None
    group: str | None = None  # direct members
    quarantined: bool | None = None


EVERYONE = PeopleFilter()


def create_person(
    tx: Writing,
    username: str,
    *,
    name: str = "",
    email: str = "",
    kind: Kind = Kind.EMPLOYEE,
    attributes: Mapping[str, Any] | None = None,
    expires_at: Instant | None = None,
    source: str = LOCAL,
    sponsor: str | None = None,
) -> Person:
    """Add a person, active, in no group.

    Raises:
        Invalid: a field does not have its form.
        Conflict: the username was issued before.
    """
    row = person_row(
        tx,
        username,
        name=parse_name(name),
        email=parse_email(email),
        kind=kind,
        attributes=parse_attributes(attributes or {}),
        expires_at=expires_at,
        source=source,
        sponsor=sponsor,
    )
    if find_person(tx.connection, username) is not None:
        raise Conflict(
            f"The username {username!r} was issued before.",
            remedy="Choose another: usernames are never issued twice.",
        )
    tx.connection.execute(insert(person), [row])
    return emit_people(tx, [username])[username]


def update_person(
    tx: Writing,
    username: str,
    *,
    name: str | UnsetType = UNSET,
    email: str | UnsetType = UNSET,
    status: Status | UnsetType = UNSET,
    kind: Kind | UnsetType = UNSET,
    quarantined: bool | UnsetType = UNSET,
    attributes: Mapping[str, Any] | UnsetType = UNSET,
    expires_at: Instant | UnsetType | None = UNSET,
    source: str | UnsetType = UNSET,
    sponsor: str | UnsetType | None = UNSET,
    signals: tuple[str, ...] | UnsetType = UNSET,
    groups_unknown: str | UnsetType = UNSET,
) -> Person:
    """Change the fields that are given. `attributes` replaces them all. No difference: no change record.

    Raises:
        NotFound: nobody has this username.
        Refused: a step of status that `STATUS_TRANSITIONS` does not have.
    """
    before = get_person(tx.connection, username)
    if (
        status is not UNSET
        and status is not before.status
        and status not in STATUS_TRANSITIONS[before.status]
    ):
        raise Refused(
            f"The status of {username} cannot go from {before.status} to {status}.",
            remedy="Create a new username: whoever has ended stays ended.",
        )
    wanted = {
        "name": name if name is UNSET else parse_name(name),
        "email": email if email is UNSET else parse_email(email),
        "status": status,
        "kind": kind,
        "quarantined": quarantined,
        "attributes": attributes if attributes is UNSET else parse_attributes(attributes),
        "expires_at": expires_at,
        "source": source,
        "sponsor": sponsor,
        "signals": signals,
        "groups_unknown": groups_unknown,
    }
    values = {k: v for k, v in wanted.items() if v is not UNSET and v != getattr(before, k)}
    if not values:
        return before
    tx.connection.execute(update(person).where(person.c.id == username).values(**values))
    return emit_people(tx, [username])[username]


def find_person(connection: Connection, username: str) -> Person | None:
    """Return the person, or None."""
    return load_people(connection, [username]).get(username)


def get_person(connection: Connection, username: str) -> Person:
    """Return the person.

    Raises:
        NotFound: nobody has this username.
    """
    found = find_person(connection, username)
    if found is None:
        raise NotFound(f"Nobody has the username {username[:80]!r}.", remedy="See `limen user list`.")
    return found


def list_people(
    connection: Connection, where: PeopleFilter = EVERYONE, *, after: str = "", limit: int = 100
) -> tuple[Person, ...]:
    """Return a page of people by username; `after` is the last username of the page before."""
    rows = connection.execute(
        select(person.c.id)
        .where(person.c.id > after, *_conditions(where))
        .order_by(person.c.id)
        .limit(min(limit, PAGE_MAX))
    )
    return tuple(load_people(connection, list(rows.scalars())).values())


def count_people(connection: Connection, where: PeopleFilter = EVERYONE) -> int:
    """Return how many people there are."""
    return connection.scalar(select(func.count()).select_from(person).where(*_conditions(where))) or 0


def load_people(connection: Connection, usernames: Sequence[str]) -> dict[str, Person]:
    """Return those of `usernames` that exist, sorted, with their groups."""
    found: dict[str, Person] = {}
    for ids in chunks(sorted(set(usernames))):
        groups: dict[str, list[str]] = {}
        pairs = select(membership.c.person, membership.c.group).where(membership.c.person.in_(ids))
        for who, group in connection.execute(pairs):
            groups.setdefault(who, []).append(group)
        # Sorted here: databases differ in how they order text, and in what ordering costs them.
        rows = {row.id: row for row in connection.execute(select(person).where(person.c.id.in_(ids)))}
        found.update((one, _person(rows[one], groups.get(one, ()))) for one in ids if one in rows)
    return found


def emit_people(tx: Writing, usernames: Sequence[str]) -> dict[str, Person]:
    """Record the present projection of each; return them."""
    found = load_people(tx.connection, usernames)
    for one in found.values():
        tx.change("person", one.id, one.fact)
    return found


def note_signed_in(connection: Connection, username: str, at: Instant | None) -> None:
    """Note when a person signed in last; None forgets it. Nobody's business but control's: no change."""
    connection.execute(update(person).where(person.c.id == username).values(signed_in_at=at))


def person_row(
    tx: Writing,
    username: str,
    *,
    name: str,
    email: str,
    kind: Kind,
    attributes: Mapping[str, Any],
    expires_at: Instant | None,
    source: str = LOCAL,
    sponsor: str | None = None,
    status: Status = Status.ACTIVE,
) -> dict[str, Any]:
    """Return the row of a new person from fields that are parsed already."""
    return {
        "id": parse_username(username),
        "handle": secrets.token_bytes(HANDLE_BYTES),
        "name": name or username,
        "email": email,
        "status": status,
        "kind": kind,
        "quarantined": False,
        "attributes": attributes,
        "expires_at": expires_at,
        "created_at": tx.now,
        "source": source,
        "sponsor": sponsor,
    }


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut `ids` into pieces that fit one statement."""
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _person(row: Row[Any], groups: Iterable[str]) -> Person:
    return Person(
        id=row.id,
        name=row.name,
        email=row.email,
        status=Status(row.status),
        kind=Kind(row.kind),
        quarantined=row.quarantined,
        groups=tuple(sorted(groups)),
        attributes=row.attributes,
        expires_at=row.expires_at,
        created_at=row.created_at,
        source=row.source,
        sponsor=row.sponsor,
        signed_in_at=row.signed_in_at,
        signals=tuple(row.signals or ()),
        groups_unknown=row.groups_unknown,
    )


def _conditions(where: PeopleFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if where.text:
        text = where.text.lower()
        columns = (person.c.id, person.c.name, person.c.email)
        found.append(or_(*(func.lower(c).contains(text, autoescape=True) for c in columns)))
    if where.status is not None:
        found.append(person.c.status == where.status)
    if where.kind is not None:
        found.append(person.c.kind == where.kind)
    if where.quarantined is not None:
        found.append(person.c.quarantined == where.quarantined)
    if where.group is not None:
        members = select(membership.c.person).where(membership.c.group == where.group)
        found.append(person.c.id.in_(members))
    return found

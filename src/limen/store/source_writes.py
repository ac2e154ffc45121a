"""People of a directory, written many at a time: each statement once for all of them.

Law: F1 atomic. Persons, links, memberships and what the source says are written with their change records.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from limen.core.entities import Kind, Status
from limen.core.ids import Instant
from limen.core.roles import ROLE_GROUPS
from limen.store.directory.groups import insert_groups, missing_groups
from limen.store.directory.people import Person, emit_people, load_people, person_row
from limen.store.identity_tables import source_account
from limen.store.ports import Writing
from limen.store.sources import SourceAccount
from limen.store.tables import external_identity, membership, person

CHANGED = ("name", "email", "status", "attributes", "expires_at")
"""Columns of a person that a directory may set."""

_UPDATE = (
    update(person)
    .where(person.c.id == bindparam("b_id"))
    .values({column: bindparam(f"b_{column}") for column in CHANGED})
)


class PersonWrite(msgspec.Struct, frozen=True):
    """One person as a directory wants them.

    Attributes:
        fields: columns of `CHANGED` that differ.
        groups: all groups that this source gives; None leaves them.
        account: what the source says of them from now on; None leaves it.
        kind, sponsor: of somebody new.
        seen: the person that this was worked out from; None of somebody new.
    """

    person: str
    subject: str
    seen: Person | None = None
    fields: Mapping[str, Any] = {}
    groups: tuple[str, ...] | None = None
    account: SourceAccount | None = None
    kind: Kind = Kind.EMPLOYEE
    sponsor: str | None = None

    @property
    def new(self) -> bool:
        """Whether the person is to be made."""
        return self.seen is None


def keep_fresh(tx: Writing, writes: Sequence[PersonWrite]) -> tuple[PersonWrite, ...]:
    """Return those of a batch whose person is as they were seen: others have changed meanwhile."""
    now = load_people(tx.connection, [one.person for one in writes])
    return tuple(one for one in writes if now.get(one.person) == one.seen)


def write_people(tx: Writing, source: str, writes: Sequence[PersonWrite]) -> None:
    """Write a batch (`keep_fresh`): whoever is new is not here, whoever is not is."""
    new = [one for one in writes if one.new]
    changed = [one for one in writes if one.fields and not one.new]
    if new:
        tx.connection.execute(insert(person), [_row(tx, source, one) for one in new])
        links = {"source": source, "linked_at": tx.now, "actor": tx.actor}
        tx.connection.execute(
            insert(external_identity),
            [{**links, "subject": one.subject, "person": one.person} for one in new],
        )
    if changed:
        before = load_people(tx.connection, [one.person for one in changed])
        tx.connection.execute(_UPDATE, [_values(before[one.person], one.fields) for one in changed])
    moved = _write_groups(tx, source, [one for one in writes if one.groups is not None])
    _write_accounts(tx, [one.account for one in writes if one.account is not None])
    emit_people(tx, sorted({*(one.person for one in (*new, *changed)), *moved}))


def _row(tx: Writing, source: str, one: PersonWrite) -> dict[str, Any]:
    given = one.fields
    expires_at: Instant | None = given.get("expires_at")
    return person_row(
        tx,
        one.person,
        name=given.get("name", ""),
        email=given.get("email", ""),
        kind=one.kind,
        attributes=given.get("attributes", {}),
        expires_at=expires_at,
        source=source,
        sponsor=one.sponsor,
        status=given.get("status", Status.ACTIVE),
    )


def _values(before: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "b_id": before.id,
        **{f"b_{column}": fields.get(column, getattr(before, column)) for column in CHANGED},
    }


def _write_groups(tx: Writing, source: str, writes: Sequence[PersonWrite]) -> set[str]:
    """Make the groups that this source gives what it says; return whose changed."""
    if not writes:
        return set()
    names = [one.person for one in writes]
    rows = tx.connection.execute(select(membership).where(membership.c.person.in_(names)))
    present: dict[str, dict[str, str]] = {}
    for row in rows:
        present.setdefault(row.person, {})[row.group] = row.source
    gone: list[dict[str, str]] = []
    come: list[dict[str, str]] = []
    for one in writes:
        wanted = set(one.groups or ()) - ROLE_GROUPS.keys()  # no source gives a role of Limen
        held = present.get(one.person, {})
        gone += [
            {"b_person": one.person, "b_group": g}
            for g, of in held.items()
            if of == source and g not in wanted
        ]
        come += [{"person": one.person, "group": g, "source": source} for g in sorted(wanted - held.keys())]
    insert_groups(tx, missing_groups(tx.connection, {row["group"] for row in come}))
    if gone:
        pair = (membership.c.person == bindparam("b_person")) & (membership.c.group == bindparam("b_group"))
        tx.connection.execute(delete(membership).where(pair), gone)
    if come:
        tx.connection.execute(insert(membership), come)
    return {row["b_person"] for row in gone} | {row["person"] for row in come}


def _write_accounts(tx: Writing, accounts: Sequence[SourceAccount]) -> None:
    if accounts:
        rows = [msgspec.structs.asdict(one) for one in accounts]
        keys = [{"b_source": row["source"], "b_person": row["person"]} for row in rows]
        pair = (source_account.c.source == bindparam("b_source")) & (
            source_account.c.person == bindparam("b_person")
        )
        tx.connection.execute(delete(source_account).where(pair), keys)
        tx.connection.execute(insert(source_account), rows)

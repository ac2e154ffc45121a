"""Import of people from CSV: all of the file or nothing, and it never takes anything away.

New usernames are created, known ones get the fields that their row names; groups are added to those
that a person has. So the same file imported twice changes nothing the second time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, insert, update

from limen.core.catalogue import BUILT_IN_ATTRIBUTES
from limen.core.entities import Kind, Status
from limen.core.ids import Instant
from limen.store.directory.csv_rows import AttributeTypes, ImportReport, PersonRow, RowError, parse_people
from limen.store.directory.groups import insert_groups, missing_groups
from limen.store.directory.people import (
    LOCAL,
    STATUS_TRANSITIONS,
    Person,
    emit_people,
    load_people,
    person_row,
)
from limen.store.ports import Writing
from limen.store.tables import membership, person

_COLUMNS = ("name", "email", "kind", "status", "expires_at", "sponsor", "attributes")
_UPDATE = (
    update(person)
    .where(person.c.id == bindparam("b_id"))
    .values({column: bindparam(f"b_{column}") for column in _COLUMNS})
)

TERMS = frozenset({"kind", "sponsor", "expires_at"})

WrongTerms = Callable[[str, Kind, str | None, Instant | None], str]
"""Says what is wrong with the terms of somebody: username, kind, sponsor, end. Empty: nothing."""


class _Plan(msgspec.Struct):
    """What the rows mean for the people that are there."""

    new: list[PersonRow] = []
    changed: list[tuple[Person, dict[str, Any]]] = []
    joins: list[tuple[str, str]] = []
    touched: list[str] = []
    unchanged: int = 0
    errors: list[RowError] = []


def import_csv(
    tx: Writing, text: str, *, dry_run: bool = False, attribute_types: AttributeTypes = BUILT_IN_ATTRIBUTES
) -> ImportReport:
    """Import people. With any error, or with `dry_run`, nothing is written.

    Args:
        tx: the transaction.
        text: the file.
        dry_run: only say what would happen.
        attribute_types: what the bundle lets a person have, name to Cedar type.
    """
    return import_rows(tx, parse_people(text, attribute_types), dry_run=dry_run)


def import_rows(
    tx: Writing,
    parsed: tuple[Sequence[PersonRow], Sequence[RowError]],
    *,
    dry_run: bool = False,
    wrong_terms: WrongTerms | None = None,
) -> ImportReport:
    """Import what `parse_people` has read, as `import_csv` does: no other writer waits for the reading.

    `wrong_terms` says what is wrong with the terms that a row would leave somebody with.
    """
    rows, errors = parsed
    known = load_people(tx.connection, [row.username for row in rows])
    plan = _plan(rows, known, wrong_terms or _any_terms)
    groups = missing_groups(tx.connection, {name for row in rows for name in row.groups})
    found = sorted([*errors, *plan.errors])
    applied = not dry_run and not found
    if applied:
        _apply(tx, plan, groups)
    return ImportReport(
        applied=applied,
        created=tuple(row.username for row in plan.new),
        updated=tuple(plan.touched),
        unchanged=plan.unchanged,
        groups_created=tuple(groups),
        errors=tuple(found),
    )


def _any_terms(username: str, kind: Kind, sponsor: str | None, expires_at: Instant | None) -> str:
    return ""


def _plan(rows: Sequence[PersonRow], known: Mapping[str, Person], wrong_terms: WrongTerms) -> _Plan:
    plan = _Plan()
    for row in rows:
        before = known.get(row.username)
        if before is None or TERMS & row.fields.keys():
            kept = {"kind": Kind.EMPLOYEE} if before is None else {n: getattr(before, n) for n in TERMS}
            terms = kept | {name: row.fields[name] for name in TERMS & row.fields.keys()}
            wrong = wrong_terms(row.username, terms["kind"], terms.get("sponsor"), terms.get("expires_at"))
            if wrong:
                plan.errors.append(RowError(row.line, "", wrong))
                continue
        if before is None:
            plan.new.append(row)
            plan.joins.extend((row.username, name) for name in row.groups)
            continue
        fields = dict(row.fields)
        if "attributes" in fields:
            fields["attributes"] = dict(sorted({**before.attributes, **fields["attributes"]}.items()))
        fields = {name: value for name, value in fields.items() if value != getattr(before, name)}
        status = fields.get("status", before.status)
        if status != before.status and status not in STATUS_TRANSITIONS[before.status]:
            message = f"{row.username} is {before.status} and cannot become {status}."
            plan.errors.append(RowError(row.line, "status", message))
            continue
        joins = [(row.username, name) for name in row.groups if name not in before.groups]
        if fields:
            plan.changed.append((before, fields))
        plan.joins.extend(joins)
        if fields or joins:
            plan.touched.append(row.username)
        else:
            plan.unchanged += 1
    return plan


def _apply(tx: Writing, plan: _Plan, groups: Sequence[str]) -> None:
    insert_groups(tx, groups)
    if plan.new:
        tx.connection.execute(insert(person), [_new(tx, row) for row in plan.new])
    if plan.changed:
        tx.connection.execute(
            _UPDATE,
            [
                {"b_id": before.id, **{f"b_{c}": fields.get(c, getattr(before, c)) for c in _COLUMNS}}
                for before, fields in plan.changed
            ],
        )
    if plan.joins:
        tx.connection.execute(
            insert(membership), [{"person": who, "group": name, "source": LOCAL} for who, name in plan.joins]
        )
    emit_people(tx, [*(row.username for row in plan.new), *plan.touched])


def _new(tx: Writing, row: PersonRow) -> dict[str, Any]:
    fields = row.fields
    return person_row(
        tx,
        row.username,
        name=fields.get("name", ""),
        email=fields.get("email", ""),
        kind=fields.get("kind", Kind.EMPLOYEE),
        attributes=fields.get("attributes", {}),
        expires_at=fields.get("expires_at"),
        status=fields.get("status", Status.ACTIVE),
        sponsor=fields.get("sponsor"),
    )

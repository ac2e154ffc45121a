"""People from CSV text: every row parsed to fields, or every error with its line. No I/O.

Columns, in any order: `username` (required), `name`, `email`, `kind`, `status`, `expires`, `sponsor`,
`groups`, and `attributes.<name>` for what the bundle declares. Several groups are separated by `;`. `expires`
is a date (until its end, UTC) or an instant with its offset. A blank cell says nothing, and clears nothing.
"""

import csv
import difflib
import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from limen.core.entities import Kind, Status
from limen.core.errors import Invalid
from limen.store.directory.fields import (
    parse_attributes,
    parse_email,
    parse_group,
    parse_name,
    parse_username,
)

COLUMNS = ("username", "name", "email", "kind", "status", "expires", "sponsor", "groups")
ATTRIBUTE_PREFIX = "attributes."

AttributeTypes = Mapping[str, str]
"""Attribute name to Cedar type: `String`, `Long` or `Bool`."""


class RowError(msgspec.Struct, frozen=True, order=True):
    """What is wrong with one cell, and where. `line` counts from 1, as an editor does."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        return (
            f"line {self.line}, {self.column}: {self.message}"
            if self.column
            else f"line {self.line}: {self.message}"
        )


class ImportReport(msgspec.Struct, frozen=True):
    """What an import did, or (`applied` false) would do. With errors it does nothing at all."""

    applied: bool
    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: int = 0
    groups_created: tuple[str, ...] = ()
    errors: tuple[RowError, ...] = ()


class PersonRow(msgspec.Struct, frozen=True):
    """One row: only the fields whose cells say something."""

    line: int
    username: str
    fields: Mapping[str, Any]
    groups: tuple[str, ...] = ()


def parse_people(text: str, types: AttributeTypes) -> tuple[tuple[PersonRow, ...], tuple[RowError, ...]]:
    """Return the rows that can be read, and everything that is wrong with the others."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    rows: list[PersonRow] = []
    errors: list[RowError] = []
    first_seen: dict[str, int] = {}
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip().lower() for cell in cells]
                errors.extend(_header_errors(header, start, types))
                if errors:
                    break
                continue
            row = _row(start, header, cells, types, errors)
            if row is not None and first_seen.setdefault(row.username, start) != start:
                again = f"{row.username} stands on line {first_seen[row.username]} already."
                errors.append(RowError(start, "username", again))
            elif row is not None:
                rows.append(row)
    except csv.Error as fault:
        errors.append(RowError(line, "", f"This is not CSV: {fault}."))
    if header is None and not errors:
        errors.append(
            RowError(1, "", f"The file is empty; its first line names columns: {', '.join(COLUMNS)}.")
        )
    return tuple(rows), tuple(errors)


def _header_errors(header: list[str], line: int, types: AttributeTypes) -> list[RowError]:
    known = [*COLUMNS, *(ATTRIBUTE_PREFIX + name.lower() for name in types)]
    if len(header) == 1 and ";" in header[0]:
        return [RowError(line, "", "Columns are separated by semicolons; save the file with commas.")]
    found = []
    for index, name in enumerate(header):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
            found.append(RowError(line, name, f"There is no column {name!r}; {hint}"))
        elif name in header[:index]:
            found.append(RowError(line, name, "This column stands there twice."))
    if "username" not in header:
        found.append(RowError(line, "username", "This column is missing."))
    return found


def _row(
    line: int, header: list[str], cells: list[str], types: AttributeTypes, errors: list[RowError]
) -> PersonRow | None:
    if len(cells) != len(header):
        errors.append(RowError(line, "", f"{len(cells)} cells where the first line has {len(header)}."))
        return None
    spelling = {name.lower(): name for name in types}
    fields: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    before = len(errors)
    for column, cell in zip(header, (cell.strip() for cell in cells), strict=True):
        if not cell and column != "username":
            continue
        try:
            if column.startswith(ATTRIBUTE_PREFIX):
                name = spelling[column.removeprefix(ATTRIBUTE_PREFIX)]
                attributes |= parse_attributes({name: _TYPED[types[name]](cell)})
            else:
                fields[column] = _PARSERS[column](cell)
        except Invalid as refusal:
            errors.append(RowError(line, column, f"{refusal.message} {refusal.remedy}"))
    if len(errors) > before:
        return None
    if attributes:
        fields["attributes"] = attributes
    if "expires" in fields:
        fields["expires_at"] = fields.pop("expires")
    return PersonRow(line, fields.pop("username"), fields, fields.pop("groups", ()))


def _parse_kind(cell: str) -> Kind:
    return Kind(_one_of(cell, tuple(Kind)))


def _parse_status(cell: str) -> Status:
    return Status(_one_of(cell, tuple(Status)))


def _one_of(cell: str, values: tuple[str, ...]) -> str:
    if cell.lower() not in values:
        raise Invalid(f"{cell[:40]!r} is not one of them.", remedy=f"Use {', '.join(values)}.")
    return cell.lower()


def _parse_groups(cell: str) -> tuple[str, ...]:
    return tuple(sorted({parse_group(name.strip()) for name in cell.split(";") if name.strip()}))


def _parse_expires(cell: str) -> float:
    remedy = "Write 2027-01-31, or 2027-01-31T18:00+01:00."
    try:
        at = datetime.fromisoformat(cell)
    except ValueError:
        raise Invalid(f"{cell[:40]!r} is not a date.", remedy=remedy) from None
    if len(cell) == len("2027-01-31"):
        return (at.replace(tzinfo=UTC) + timedelta(days=1)).timestamp()
    if at.tzinfo is None:
        raise Invalid(f"{cell[:40]!r} has no offset from UTC.", remedy=remedy)
    return at.timestamp()


def _parse_long(cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise Invalid(f"{cell[:40]!r} is not an integer.", remedy="Write digits only.") from None


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "username": parse_username,
    "name": parse_name,
    "email": parse_email,
    "kind": _parse_kind,
    "status": _parse_status,
    "expires": _parse_expires,
    "sponsor": parse_username,
    "groups": _parse_groups,
}

_TYPED: Mapping[str, Callable[[str], Any]] = {
    "String": str,
    "Long": _parse_long,
    "Bool": lambda cell: _one_of(cell, ("true", "false")) == "true",
}

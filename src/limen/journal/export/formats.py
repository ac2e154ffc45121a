"""Rows as lines: OCSF, JSON, CSV. One row is one line in each."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from limen.journal.export.ocsf import render_ocsf
from limen.journal.export.rows import Row
from limen.journal.export.text import render_cell, render_json

COLUMNS: Mapping[str, str] = {
    "uid": "VARCHAR",
    "type": "VARCHAR",
    "at": "TIMESTAMP",
    "node": "VARCHAR",
    "id": "VARCHAR",
    "kind": "VARCHAR",
    "point": "VARCHAR",
    "verdict": "VARCHAR",
    "code": "VARCHAR",
    "subject": "VARCHAR",
    "actor": "VARCHAR",
    "target": "VARCHAR",
    "action": "VARCHAR",
    "resource": "VARCHAR",
    "method": "VARCHAR",
    "host": "VARCHAR",
    "path": "VARCHAR",
    "ip": "VARCHAR",
    "session": "VARCHAR",
    "policies": "VARCHAR",
    "remedies": "VARCHAR",
    "errors": "VARCHAR",
    "mode": "VARCHAR",
    "would_be": "VARCHAR",
    "bundle": "VARCHAR",
    "inputs": "VARCHAR",
    "memo": "VARCHAR",
    "took_us": "BIGINT",
    "age_s": "DOUBLE",
    "status": "BIGINT",
    "duration_ms": "BIGINT",
    "bytes_in": "BIGINT",
    "bytes_out": "BIGINT",
    "flags": "VARCHAR",
    "details": "VARCHAR",
    "reason": "VARCHAR",
    "data": "VARCHAR",
}
"""Columns of CSV and Parquet, and their types in SQL. Lists are joined by a space; `data` is JSON."""

NUMBER_MAX = 2**63 - 1  # BIGINT

Encode = Callable[[Row], bytes]


def render_jsonl(row: Row) -> bytes:
    """Return a row as JSON: its place, then its fields."""
    place = {"uid": row.uid, "node": row.node, "boot": row.boot, "position": row.position}
    return render_json({**place, **row.fields})


def render_ocsf_line(row: Row) -> bytes:
    """Return a row as one OCSF event in JSON."""
    return render_json(render_ocsf(row))


ENCODERS: Mapping[str, Encode] = {"ocsf": render_ocsf_line, "jsonl": render_jsonl}


def flatten(row: Row) -> dict[str, Any]:
    """Return a row by column; what it has not is None. Numbers that are none are None."""
    found: dict[str, Any] = {**row.fields, "uid": row.uid, "node": row.node}
    flat: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        value = found.get(name)
        if kind == "VARCHAR":
            flat[name] = _text(value)
        elif kind == "TIMESTAMP":
            flat[name] = _instant(value)
        else:
            flat[name] = _number(value)
    return flat


def render_csv(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield a header and a line for each row (RFC 4180), with nothing in it that a spreadsheet executes."""
    line = io.StringIO()
    writer = csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\r\n")

    def render(cells: Iterable[str]) -> bytes:
        line.seek(0)
        line.truncate()
        writer.writerow(cells)
        return line.getvalue().encode()

    yield render(COLUMNS)
    for row in rows:
        flat = flatten(row)
        yield render(map(_cell, flat.values()))


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return render_cell(value) if isinstance(value, str) else str(value)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value)
    return render_json(value).decode() if isinstance(value, Mapping) else str(value)


def _number(value: Any) -> int | float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and abs(value) <= NUMBER_MAX else None


def _instant(value: Any) -> str | None:
    """Return an instant as ISO 8601, UTC, to the microsecond; None for one that no calendar has."""
    if not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None

"""How commands print: a table for people, JSON for programs, one sentence with a remedy for errors."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from limen.core.errors import Invalid, LimenError

if TYPE_CHECKING:
    from limen.api.client import AdminClient

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="The system's state folder. Else LIMEN_STATE, else this folder's bundle."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; required, stands in the journal.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; stands in the journal.")]

INSTANT_MIN = 1e9  # greater floats in listings are instants: since 2001
_C1 = re.compile("[\x7f-\x9f]")
WIDTH_MAX = 10_000  # columns of a listing that goes to a pipe or a file: nothing is folded

out = Console(highlight=False, emoji=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def connect(state: Path | None) -> "AdminClient":
    """Return a client of the system that the command means: on this machine, or by `--server` elsewhere.

    A folder that the command names counts before a server that only the environment does.
    """
    from limen.api.client import AdminClient
    from limen.cli import remote
    from limen.services.state import StateDir

    elsewhere = remote.chosen(state)
    if elsewhere is not None:
        return elsewhere
    return AdminClient(StateDir.find(state).socket("admin"))


def print_json(value: Any) -> None:
    """Print one JSON value, nothing else."""
    typer.echo(_escape_c1(json.dumps(value, indent=2, ensure_ascii=False, default=str)))


def print_line(value: Any) -> None:
    """Print one JSON value on one line, as part of a stream."""
    typer.echo(_escape_c1(json.dumps(value, ensure_ascii=False, default=str)))


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool, empty: str
) -> None:
    """Print a listing. `columns` maps the heading to the key."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        out.print(empty, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns:
        # What is typed again is never broken: the first column, and ids.
        table.add_column(heading, overflow="fold", no_wrap=heading in (next(iter(columns)), "ID"))
    for row in rows:
        table.add_row(*(Text(render_cell(row.get(key))) for key in columns.values()))
    pipe = Console(file=out.file, width=WIDTH_MAX, highlight=False, emoji=False, soft_wrap=True)
    (out if out.is_terminal else pipe).print(table)


def print_fields(value: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing, a field a line."""
    if as_json:
        print_json(value)
        return
    width = max((len(key) for key in value), default=0)
    for key, field in value.items():
        shown = [render_cell(part) for part in field] if _is_listing(field) else [render_cell(field)]
        for name, text in zip((key.replace("_", " "), *("" for _ in shown[1:])), shown, strict=True):
            out.print(f"{name:<{width}}  {text}".rstrip(), markup=False)


def render_cell(value: Any) -> str:
    """Return a value as people read it."""
    if value is None or (isinstance(value, str | Mapping | list | tuple) and not value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return render_instant(value) if value > INSTANT_MIN else f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={render_cell(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(render_cell(part) for part in value)
    return printable(str(value))


def printable(text: str) -> str:
    """Return text with control characters shown by their numbers: what was recorded steers no terminal."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def _escape_c1(text: str) -> str:
    """Escape the controls that JSON lets through (DEL, C1: U+009B begins a sequence in some terminals)."""
    return _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _is_listing(value: Any) -> bool:
    """Whether a field holds rows of its own, which then stand below each other."""
    return isinstance(value, list | tuple) and len(value) > 0 and isinstance(value[0], Mapping)


def render_instant(at: float) -> str:
    """Return an instant in UTC, to the second; one that no calendar has, as seconds."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{at:g} s"


def parse_instant(text: str | None, field: str) -> float | None:
    """Return Unix seconds of an ISO date or date and time; a bare date means its end, UTC.

    Raises:
        Invalid: not a date.
    """
    if text is None:
        return None
    try:
        parsed = datetime.combine(date.fromisoformat(text), time(23, 59, 59))
    except ValueError:
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            raise Invalid(
                f"{field}: '{text}' is not a date.", remedy="Write 2027-01-31 or 2027-01-31T18:00:00+01:00."
            ) from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def print_error(error: LimenError) -> None:
    """Print an error: what is wrong, and what to do next. Findings each have a line, and their own remedy."""
    findings = getattr(error, "findings", ())
    for finding in findings:
        print_finding(finding)
    if findings:
        things = "1 thing is" if len(findings) == 1 else f"{len(findings)} things are"
        error = LimenError(f"The bundle is refused: {things} wrong.", remedy="Mend what is listed above.")
    err.print(f"limen: {_printable_lines(error.message)}", style="red", markup=False)
    if error.remedy:
        err.print(f"       {_printable_lines(error.remedy)}", markup=False)


def print_finding(finding: Any) -> None:
    """Print one finding of a bundle, in the form that editors jump to."""
    if isinstance(finding, Mapping):
        where = f"{finding['file']}:{finding['line']}:{finding['column']}"
        text = f"{where}: {finding['severity']} {finding['id']}: {finding['message']} {finding['remedy']}"
    else:
        text = str(finding)
    err.print(printable(text), markup=False)

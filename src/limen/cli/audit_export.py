"""`limen audit export` and `limen audit sinks`: the journal in formats that other systems read."""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from limen.cli.decisions import parse_moment
from limen.cli.output import JsonOption, ReasonOption, StateOption, connect, err, print_rows
from limen.core.errors import Invalid, LimenError

if TYPE_CHECKING:
    from limen.journal.export.pseudonyms import Pseudonyms
    from limen.journal.export.rows import Row, Wanted
    from limen.services.state import StateDir

FORMATS = ("ocsf", "jsonl", "parquet", "csv")
CLASSES = ("decisions", "events")
SINK_COLUMNS = {
    "SINK": "name", "KIND": "kind", "STATE": "state", "SENT": "sent", "LAG (S)": "lag_s",
    "REFUSED": "refused", "MISSED": "missed", "LAST SENT": "last_sent_at", "ERROR": "error",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands to `limen audit`."""
    app.command("export")(export)
    app.command("sinks")(sinks)


def export(
    format_: Annotated[str, typer.Option("--format", help="ocsf, jsonl, parquet or csv.")],
    since: Annotated[str | None, typer.Option(help="From when: 30m, 12h, 7d, or a date.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when (not included), in the same forms.")] = None,
    classes: Annotated[str, typer.Option(help="decisions, events, or both.")] = "decisions,events",
    subject: Annotated[str | None, typer.Option(help="Only what a person or workload did or met.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A file, replaced as a whole. Else standard output.")
    ] = None,
    pseudonyms: Annotated[
        Path | None, typer.Option(help="Key file: people have stable pseudonyms instead of names.")
    ] = None,
    reason: ReasonOption = "",
    state: StateOption = None,
) -> None:
    """Write what the journal holds, one record a line, for other systems.

    What is classed secret never leaves. Reads the state folder; where Limen runs, the export is recorded.
    """
    from limen.journal.export.pseudonyms import Pseudonyms, load_key
    from limen.journal.export.rows import Wanted
    from limen.services.state import StateDir

    if format_ not in FORMATS:
        raise Invalid(f"--format: '{format_}' is none.", remedy=f"One of {', '.join(FORMATS)}.")
    if format_ == "parquet" and out is None:
        raise Invalid("--format parquet needs a file.", remedy="Say where: --out FILE.")
    now = time.time()
    wanted = Wanted(
        classes=_parse_classes(classes),
        since=parse_moment(since, "--since", now),
        until=parse_moment(until, "--until", now),
        subject=subject,
    )
    hide = None if pseudonyms is None else Pseudonyms(load_key(pseudonyms))
    found = StateDir.find(state)
    _record(found, format_, wanted, pseudonyms is not None, reason)
    with _rows(found.journal, wanted, hide) as (rows, count):
        _write(rows, format_, out)
    err.print(f"{count():,} records exported.", markup=False)


def sinks(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the live sinks of the bundle: state, lag, what they have sent."""
    rows = connect(state).get("/v1/audit/sinks")
    print_rows(rows, SINK_COLUMNS, as_json=as_json, empty="The bundle names no `exports`.")


def _write(rows: Iterator["Row"], format_: str, out: Path | None) -> None:
    from limen.journal.export.formats import ENCODERS, render_csv

    if format_ == "parquet":
        from limen.journal.export.parquet import write_parquet

        assert out is not None
        write_parquet(rows, out)
        return
    lines = render_csv(rows) if format_ == "csv" else (ENCODERS[format_](row) + b"\n" for row in rows)
    if out is None:
        sys.stdout.flush()
        for line in lines:
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}")  # what others laid there is not written to
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as written:
            written.writelines(lines)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _rows(
    root: Path, wanted: "Wanted", pseudonyms: "Pseudonyms | None"
) -> Iterator[tuple[Iterator["Row"], Callable[[], int]]]:
    """Yield the rows, behind a progress bar on stderr, and what counts them."""
    from limen.journal.export.reading import count_records, read_rows

    total = count_records(root, wanted.since) or None
    exported = 0
    bar = Progress(
        TextColumn("records read"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not sys.stderr.isatty(),
        transient=True,
    )

    def counted() -> Iterator["Row"]:
        nonlocal exported
        for row in read_rows(root, wanted, pseudonyms, lambda count: bar.advance(task, count)):
            exported += 1
            yield row

    with bar:
        task = bar.add_task("", total=total)
        yield counted(), lambda: exported


def _record(state: "StateDir", format_: str, wanted: "Wanted", hidden: bool, reason: str) -> None:
    """Have a running Limen decide and record the export; say so where none runs."""
    from limen.api.client import AdminClient

    body: dict[str, Any] = {"format": format_, "classes": list(wanted.classes), "pseudonyms": hidden}
    body |= {"subject": wanted.subject or "", "reason": reason}
    body |= {"since": wanted.since, "until": wanted.until}
    try:
        AdminClient(state.socket("admin")).post("/v1/audit/exports", body)
    except LimenError as error:
        if error.code != "NOT_RUNNING":
            raise
        err.print("Limen does not run here, so this export leaves no trace in its journal.", markup=False)


def _parse_classes(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found or set(found) - set(CLASSES):
        raise Invalid(f"--classes: '{text}' is none.", remedy="decisions, events, or decisions,events.")
    return found

"""`limen event`: what happened besides decisions, who was behind it, and why."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from limen.cli.decisions import parse_duration
from limen.cli.output import JsonOption, StateOption, connect, print_rows, render_cell

app = typer.Typer(no_args_is_help=True, help="Events: changes, sign-ins, sessions, streams.")

COLUMNS = {
    "AT": "at",
    "KIND": "kind",
    "WHO": "actor",
    "TARGET": "target",
    "WHY": "reason",
    "WHAT": "data",
    "NODE": "node",
}


@app.command("list")
def list_events(
    state: StateOption = None,
    kind: Annotated[str, typer.Option(help="Only kinds that begin so: stream, session.ended, grant.")] = "",
    actor: Annotated[str | None, typer.Option(help="Only what this person or operator did.")] = None,
    target: Annotated[str | None, typer.Option(help="Only about this person, session, stream …")] = None,
    since: Annotated[str, typer.Option(help="How far back: 30m, 12h, 7d.")] = "24h",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest last.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List what the journal holds besides decisions, newest last."""
    rows = connect(state).get(
        "/v1/events",
        kind=kind or None,
        actor=actor,
        target=target,
        since_s=parse_duration(since, "--since"),
        limit=limit,
    )
    shown = rows if as_json else [_readable(row) for row in rows]
    print_rows(shown, COLUMNS, as_json=as_json, empty="No event fits.")


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the table shows it: what has no value is left out of the last column."""
    return {**row, "data": _brief(row["data"])}


def _brief(data: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in data.items() if value not in ("", None, [], {})}
    return {
        name: f"({render_cell(_brief(value))})" if isinstance(value, Mapping) else value
        for name, value in given.items()
    }

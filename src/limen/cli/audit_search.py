"""`limen audit search`, `volume`, `compact`, `hold`, `trust`: what is held, how long, by whose word."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from limen.cli.decisions import parse_duration, parse_moment
from limen.cli.output import (
    JsonOption,
    StateOption,
    WhyOption,
    connect,
    err,
    out,
    print_fields,
    print_json,
    print_rows,
    render_cell,
)
from limen.core.errors import Invalid

COLUMNS = {
    "AT": "at",
    "WHAT": "what",
    "WHO": "who",
    "ON": "on",
    "WHY": "why",
    "ADDRESS": "ip",
    "STATUS": "status",
    "ID": "id",
}
HOLD_COLUMNS = {
    "ID": "id",
    "WHOM": "subject",
    "SINCE": "since",
    "BY": "actor",
    "WHY": "reason",
    "ENDED": "ended_at",
}
SIDES = {"person": "PERSON", "app": "APP", "label": "LABEL"}

hold_app = typer.Typer(no_args_is_help=True, help="Legal holds: what retention and erasure must leave alone.")


def register(app: typer.Typer) -> None:
    """Add the commands to `limen audit`."""
    app.command("search")(search)
    app.command("volume")(volume)
    app.command("compact")(compact)
    app.command("trust")(trust)
    app.add_typer(hold_app, name="hold")


def search(
    state: StateOption = None,
    subject: Annotated[str | None, typer.Option(help='A username, or User::"ada".')] = None,
    resource: Annotated[str | None, typer.Option(help="An app, a route (app/route) or a service.")] = None,
    verdict: Annotated[str | None, typer.Option(help="allow or deny.")] = None,
    code: Annotated[str | None, typer.Option(help="Of decisions, such as FORBIDDEN.")] = None,
    policy: Annotated[str | None, typer.Option(help="Only decisions that this policy determined.")] = None,
    event: Annotated[str | None, typer.Option(help="Kinds of event that begin so: sign_in, session.")] = None,
    address: Annotated[str | None, typer.Option(help="An address or a network, such as 10.0.0.0/8.")] = None,
    text: Annotated[str | None, typer.Option(help="Anywhere in the record, in any case.")] = None,
    node: Annotated[str | None, typer.Option(help="Only what this node recorded.")] = None,
    since: Annotated[str, typer.Option(help="From when: 30m, 12h, 7d, or a date.")] = "31d",
    until: Annotated[str | None, typer.Option(help="Until when (not included), in the same forms.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest last.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Search decisions and events, compacted or not. What was erased is found by no name."""
    now = time.time()
    rows = connect(state).get(
        "/v1/audit/search",
        subject=subject,
        resource=resource,
        verdict=verdict,
        code=code,
        policy=policy,
        event=event,
        address=address,
        text=text,
        node=node,
        since=parse_moment(since, "--since", now),
        until=parse_moment(until, "--until", now),
        limit=limit,
    )
    shown = rows if as_json else [_readable(row) for row in rows]
    print_rows(shown, COLUMNS, as_json=as_json, empty="Nothing fits.")


def volume(
    state: StateOption = None,
    by: Annotated[str, typer.Option(help="person, app or label.")] = "app",
    since: Annotated[str, typer.Option(help="How far back: 12h, 7d.")] = "31d",
    as_json: JsonOption = False,
) -> None:
    """Sum up requests and bytes, live streams included, the greatest first."""
    if by not in SIDES:
        raise Invalid(f"--by: '{by}' is none.", remedy="Write person, app or label.")
    rows = connect(state).get("/v1/audit/volume", by=by, since_s=parse_duration(since, "--since"))
    columns = {SIDES[by]: by, "REQUESTS": "requests", "BYTES IN": "bytes_in", "BYTES OUT": "bytes_out"}
    print_rows(rows, columns, as_json=as_json, empty="Nothing was asked for.")


def compact(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Compact sealed segments to Parquet now. Reads and writes the state folder, beside a running system."""
    import msgspec

    from limen.journal.archive import tend
    from limen.journal.retention import Retention
    from limen.services.state import StateDir

    report = tend(StateDir.find(state).journal, Retention(), time.time())
    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        ratio = report.bytes_after / report.bytes_before if report.bytes_before else 1.0
        out.print(
            f"{len(report.compacted)} segments compacted: {report.bytes_before} bytes before, "
            f"{report.bytes_after} after ({ratio:.0%}).",
            markup=False,
        )
        for name, why in report.failed.items():
            err.print(f"{name} stays as it is: {render_cell(why)}", markup=False)
    if report.failed:
        raise typer.Exit(1)


def trust(
    node: Annotated[str, typer.Argument(help="The node, as `limen audit key` lists it.")],
    reason: WhyOption,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Believe the next key that a node shows: its own was lost, or the machine was set up anew.

    Do this only if you know why the key changed: else somebody else writes under the node's name.
    """
    print_fields(connect(state).post(f"/v1/audit/nodes/{node}/trust", {"reason": reason}), as_json=as_json)


@hold_app.command("add")
def add_hold(
    reason: WhyOption,
    person: Annotated[str | None, typer.Option(help="What is recorded of this person.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All that is recorded.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep records from retention and erasure until the hold ends."""
    if everything == (person is not None):
        raise Invalid("Name what is held.", remedy="Give --person USERNAME, or --everything.")
    hold = connect(state).post("/v1/audit/holds", {"person": person, "reason": reason})
    print_fields(hold, as_json=as_json)


@hold_app.command("list")
def list_holds(
    state: StateOption = None,
    ended: Annotated[bool, typer.Option("--ended", help="Those too that are over.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List legal holds."""
    rows = connect(state).get("/v1/audit/holds", ended=str(ended).lower())
    shown = rows if as_json else [{**row, "subject": row["subject"] or "everything"} for row in rows]
    print_rows(shown, HOLD_COLUMNS, as_json=as_json, empty="Nothing is held.")


@hold_app.command("end")
def end_hold(hold: str, reason: WhyOption, state: StateOption = None, as_json: JsonOption = False) -> None:
    """End a hold: retention and erasure may go on."""
    print_fields(connect(state).post(f"/v1/audit/holds/{hold}/end", {"reason": reason}), as_json=as_json)


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of either kind as the table shows it."""
    if row["type"] == "event":
        return {**row, "what": row["kind"], "who": row["actor"], "on": row["target"], "why": row["reason"]}
    why = " ".join((row["code"], *row.get("policies", ())))
    on = f"{row['resource']} {row.get('path', '')}".rstrip()
    return {
        **row,
        "what": f"{row['verdict']} {row['action']}",
        "who": row.get("subject"),
        "on": on,
        "why": why,
    }

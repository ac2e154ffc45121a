"""`limen decisions`: what was decided, for whom, and why; each can be derived again."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from limen.cli.output import (
    JsonOption,
    StateOption,
    connect,
    out,
    parse_instant,
    print_json,
    print_line,
    print_rows,
    printable,
    render_cell,
    render_instant,
)
from limen.core.errors import Invalid

app = typer.Typer(no_args_is_help=True, help="Decisions: tail, show, search.")

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
COLUMNS = {
    "AT": "at",
    "VERDICT": "verdict",
    "WHO": "subject",
    "ACTION": "action",
    "RESOURCE": "resource",
    "WHY": "code",
    "POLICIES": "policies",
    "STATUS": "status",
    "ID": "id",
}


@app.command()
def search(
    state: StateOption = None,
    subject: Annotated[str | None, typer.Option(help='A username, or User::"ada".')] = None,
    resource: Annotated[str | None, typer.Option(help='An app, a route (app/route), or App::"wiki".')] = None,
    verdict: Annotated[str | None, typer.Option(help="allow or deny.")] = None,
    policy: Annotated[str | None, typer.Option(help="Only decisions that this policy determined.")] = None,
    code: Annotated[str | None, typer.Option(help="Only decisions of this code, such as FORBIDDEN.")] = None,
    address: Annotated[str | None, typer.Option(help="From this address or network.")] = None,
    node: Annotated[str | None, typer.Option(help="Only what this node recorded.")] = None,
    since: Annotated[str, typer.Option(help="How far back: 30m, 12h, 7d.")] = "24h",
    text: Annotated[str | None, typer.Option(help="Anywhere in host, path or address.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest last.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Search decisions."""
    rows = connect(state).get(
        "/v1/decisions",
        subject=subject,
        resource=resource,
        verdict=verdict,
        policy=policy,
        code=code,
        address=address,
        node=node,
        since_s=parse_duration(since, "--since"),
        text=text,
        limit=limit,
    )
    shown = rows if as_json else [_readable(row) for row in rows]
    print_rows(shown, COLUMNS, as_json=as_json, empty="No decision fits.")
    if not as_json:
        print_cuts(rows)


@app.command()
def tail(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Print decisions as they are made, until Ctrl-C."""
    for row in connect(state).follow("/v1/decisions/tail"):
        if as_json:
            print_line(row)
        else:
            out.print(render_line(row), markup=False)


@app.command()
def show(decision: str, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show a decision, and derive it again from its stored inputs."""
    found = connect(state).get(f"/v1/decisions/{decision}")
    if as_json:
        print_json(found)
        return
    for key, value in found["record"].items():
        if key != "cut":
            out.print(f"{key:<11} {render_cell(value)}", markup=False)
    for reason in found["reasons"]:
        out.print(f"reason      {printable(reason)}", markup=False)
    if found["derived"] is None:
        out.print(f"derived     {found['why_not_derived']}", markup=False)
    else:
        word = "agrees" if found["agrees"] else "DISAGREES"
        out.print(
            f"derived     {found['derived']['verdict']} {found['derived']['code']}: {word}", markup=False
        )
    print_cuts([found["record"]])
    if found["agrees"] is False:
        raise Invalid("The stored decision is not what its inputs give.", remedy="Tell your security team.")


def print_cuts(rows: Sequence[Mapping[str, Any]]) -> None:
    """Say what to add to the bundle for the responses that the clock has cut, once for each place."""
    cuts = {(cut["under"], cut["line"]): cut for row in rows if (cut := row.get("cut"))}
    for cut in cuts.values():
        seconds = cut["after_ms"] / 1000
        out.print(f"\nCut after {seconds:.0f} s: no stream, as far as the bundle says.", markup=False)
        where = f"under {cut['under']}" + (f", to the route {cut['route']}" if cut["route"] else "")
        out.print(f"To let it live, add to {cut['file']} {where}:", markup=False)
        out.print(f"  {cut['line']}", markup=False)


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the table shows it: the status of a response that was cut says so."""
    return {**row, "status": f"{row['status']} cut"} if row.get("cut") else dict(row)


def render_line(row: dict[str, Any]) -> str:
    """Return a decision as one line."""
    who = row.get("subject") or "nobody"
    what = f"{row['action']} {row['resource']}"
    why = " ".join((row["code"], *row.get("policies", ())))
    when = render_instant(row["at"])
    return printable(f"{when} {row['verdict']:<5} {who} {what} {row.get('path', '')} {why} {row['id']}")


def parse_duration(text: str, field: str) -> float:
    """Return the seconds of `30m`, `12h`, `7d`.

    Raises:
        Invalid: not of that form.
    """
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS_S or not (number.isascii() and number.isdigit()):
        raise Invalid(f"{field}: '{text}' is not a duration.", remedy="Write 30m, 12h or 7d.")
    return float(int(number) * UNITS_S[unit])


def parse_moment(text: str | None, field: str, now: float) -> float | None:
    """Return the instant of `12h` or `7d` before now, of a date (its beginning), or of a date and time.

    Raises:
        Invalid: none of these.
    """
    if text is None:
        return None
    if text[-1:] in UNITS_S and text[:-1].isdigit():
        return now - parse_duration(text, field)
    return parse_instant(f"{text}T00:00:00" if len(text) == len("2027-01-31") else text, field)

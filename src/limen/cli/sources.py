"""`limen source`: where people come from, and directories that are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from limen.cli.output import (
    JsonOption,
    ReasonOption,
    StateOption,
    WhyOption,
    connect,
    out,
    print_json,
    print_rows,
    render_instant,
)
from limen.cli.replay import progress_bar
from limen.core.errors import LimenError, Refused

app = typer.Typer(no_args_is_help=True, help="Sources of people: providers, directories, SCIM clients.")

SHOWN_MAX = 20  # names, and problems, that a report spells out
SourceArgument = Annotated[str, typer.Argument(help="The directory's name in limen.yaml.")]
PersonArgument = Annotated[str, typer.Argument(help="The person's username.")]

SOURCES = {
    "SOURCE": "source",
    "IN THE BUNDLE": "configured",
    "PEOPLE": "people",
    "LAST READ": "read_at",
    "OUTCOME": "outcome",
    "PROBLEMS": "problems",
    "WHY": "why",
}
RUNS = {
    "STARTED": "started_at",
    "TOOK S": "took_s",
    "OUTCOME": "outcome",
    "COUNTS": "counts",
    "BY": "actor",
    "WHY": "why",
}


@app.command("list")
def list_sources(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the sources of people, how many each keeps, and how directories were last read."""
    rows = connect(state).get("/v1/sources")
    if as_json:
        print_json(rows)
        return
    print_rows([_row(one) for one in rows], SOURCES, as_json=False, empty="There is none.")


@app.command()
def runs(source: SourceArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the last readings of a directory, and what the latest could not take."""
    rows = connect(state).get(f"/v1/sources/{source}/runs")
    if as_json:
        print_json(rows)
        return
    shown = [{**one, "took_s": one["ended_at"] - one["started_at"]} for one in rows]
    print_rows(shown, RUNS, as_json=False, empty="It has not been read yet.")
    if rows:
        _print_problems(rows[0]["problems"], rows[0]["counts"].get("problems", 0))


@app.command()
def sync(
    source: SourceArgument,
    state: StateOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change; change nothing.")
    ] = False,
    suspend_at_most: Annotated[
        float | None,
        typer.Option(help="Percent of its people that may be suspended, this once.", min=0, max=100),
    ] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read a directory now. People are made, changed, suspended here as it says; it is never written to."""
    body = {"dry_run": dry_run, "suspend_at_most_percent": suspend_at_most, "reason": reason}
    report = _outcome(state, f"/v1/sources/{source}/sync", body)
    if as_json:
        print_json(report)
    else:
        print_report(report)
    if report["outcome"] == "stopped":
        raise Refused(
            f"{report['why']} Nothing was changed.",
            remedy="Look at the directory; if it is right, say --suspend-at-most PERCENT.",
            code="SYNC_STOPPED",
        )


def _outcome(state: Path | None, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    with progress_bar("people") as progress:
        for line in connect(state).follow(path, method="POST", body=body):
            if line["type"] == "step":
                progress(line["done"] / (line["of"] or 1), line["done"])
            else:
                return dict(line["value"])
    raise LimenError("The reading ended without an outcome.", remedy="See `limen source runs`.")


@app.command()
def adopt(
    source: SourceArgument,
    user: PersonArgument,
    subject: Annotated[str, typer.Argument(help="The entry's stable id: entryUUID, objectGUID.")],
    reason: WhyOption,
    state: StateOption = None,
) -> None:
    """Let a directory keep somebody who is here already. From then on it says who they are."""
    connect(state).put(f"/v1/sources/{source}/people/{user}", {"subject": subject, "reason": reason})
    out.print(f"ldap:{source} keeps {user} from its next reading on.", markup=False)


@app.command()
def release(
    source: SourceArgument, user: PersonArgument, reason: WhyOption, state: StateOption = None
) -> None:
    """Take somebody out of a directory's keeping. They stay as they are; you keep them."""
    connect(state).delete(f"/v1/sources/{source}/people/{user}", reason=reason)
    out.print(f"{user} is kept here.", markup=False)


def print_report(report: Mapping[str, Any]) -> None:
    """Print what a reading did, or would do."""
    counts = report["counts"]
    out.print(f"{counts['read']} people and {counts['groups']} groups were read.", markup=False)
    would = report["dry_run"] or report["outcome"] == "stopped"
    for what in ("created", "changed", "suspended", "released"):
        if counts[what]:
            names = ", ".join(report[what][:SHOWN_MAX]) + (" …" if counts[what] > SHOWN_MAX else "")
            verb = "would be" if would else "was" if counts[what] == 1 else "were"
            out.print(f"{counts[what]} {verb} {what}: {names}", markup=False)
    if not any(counts[what] for what in ("created", "changed", "suspended", "released")):
        out.print("Nothing differs.", markup=False)
    for text, key in (("nobody here, and not made", "skipped"), ("left for the next reading", "left")):
        if counts[key]:
            out.print(f"{counts[key]} {text}.", markup=False)
    _print_problems(report["problems"], counts["problems"])


def _print_problems(problems: list[Mapping[str, Any]], count: int) -> None:
    for one in problems[:SHOWN_MAX]:
        out.print(f"! {one['about']}: {one['why']} {one['cure']}", markup=False)
    if count > SHOWN_MAX:
        out.print(f"! {count - SHOWN_MAX} more: --json has them.", markup=False)


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    last = one.get("last") or {}
    return {
        **one,
        "read_at": render_instant(last["started_at"]) if last else "",
        "outcome": last.get("outcome", ""),
        "problems": last.get("counts", {}).get("problems", ""),
        "why": last.get("why", ""),
    }

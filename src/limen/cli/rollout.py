"""`limen rollout`: how far each resource is on its way to being enforced."""

from collections.abc import Container, Mapping
from typing import Annotated, Any

import typer

from limen.cli.decisions import parse_duration
from limen.cli.output import JsonOption, StateOption, connect, out, print_json, print_rows, render_instant

app = typer.Typer(no_args_is_help=True, help="Rollout stages: observe, warn, enforce.")

STAGES = {
    "RESOURCE": "resource",
    "FOR": "for",
    "STAGE": "stage",
    "UNTIL": "until",
    "OWNER": "owner",
    "REQUESTS": "requests",
    "PASS": "pass",
    "NOT READY": "waiting",
}
PEOPLE = {
    "WHO": "who",
    "ON": "resource",
    "STAGE": "stage",
    "DENIALS": "denials",
    "LAST": "last",
    "WHY": "why",
    "CURE": "cure",
}


@app.callback()
def rollout() -> None:
    """Show what is enforced, and who would be denied where it is not yet."""


@app.command()
def status(
    state: StateOption = None,
    since: Annotated[str, typer.Option(help="How far back to look: 12h, 7d.")] = "7d",
    as_json: JsonOption = False,
) -> None:
    """Show each stage: what would pass, which are overdue, who is not ready, why, and what cures it."""
    rows = connect(state).get("/v1/rollout", since_s=parse_duration(since, "--since"))
    if as_json:
        print_json(rows)
        return
    split = {row["resource"] for row in rows if row["group"]}
    print_rows([_stage(row, split) for row in rows], STAGES, as_json=False, empty="Everything is enforced.")
    people = [_person(row, one) for row in rows for one in row["not_ready"]]
    if people:
        out.print()
        print_rows(people, PEOPLE, as_json=False, empty="")


def _stage(row: Mapping[str, Any], split: Container[str]) -> dict[str, Any]:
    """Return a stage as it is shown. `split`: resources of which groups have stages of their own."""
    until = f"{row['until']}, overdue" if row["overdue"] else row["until"]
    share = "" if row["share"] is None else f"{_floored(row['share'])} %"
    whom = row["group"] or ("everybody else" if row["resource"] in split else "everybody")
    people = len({one["subject"] for one in row["not_ready"]})
    return {**row, "for": whom, "until": until, "pass": share, "waiting": people}


def _person(row: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "who": one["subject"] or "(not signed in)",
        "resource": row["resource"],
        "stage": row["stage"],
        "denials": one["denials"],
        "last": render_instant(one["last_at"]),
        "why": ": ".join(part for part in (one["code"], ", ".join(one["policies"])) if part),
        "cure": one["cure"] or ", ".join(one["remedies"]),
    }


def _floored(share: float) -> str:
    """Return a percentage that says 100 only of all."""
    return f"{int(share * 1000) / 10:g}"

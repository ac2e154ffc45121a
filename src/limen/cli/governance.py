"""`limen friction` and `limen least-privilege`: what access control costs, and what nobody needs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from limen.cli.decisions import parse_duration
from limen.cli.output import (
    JsonOption,
    StateOption,
    connect,
    out,
    print_json,
    print_rows,
    render_instant,
)
from limen.cli.replay import progress_bar
from limen.core.errors import LimenError

friction_app = typer.Typer(no_args_is_help=True, help="Friction: what access control costs people.")

COST_COLUMNS = {
    "PERSON-DAYS": "person_days",
    "PROMPTS": "prompts",
    "DENIALS": "denials",
    "WARNINGS": "warnings",
    "EPISODES": "episodes",
    "CURES TRIED": "cures_tried",
    "CURED": "cured",
    "SECONDS TO CURE": "cure_s",
}
UNUSED_COLUMNS = {"KIND": "kind", "WHAT": "id", "WHOSE": "who", "WHY": "why", "LAST USED": "last_used_at"}
SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(friction_app, name="friction")
    app.command("least-privilege")(least_privilege)


@friction_app.command()
def report(
    state: StateOption = None,
    since: Annotated[str, typer.Option(help="From how long ago: 24h, 7d.")] = "7d",
    as_json: JsonOption = False,
) -> None:
    """Say what was asked of people, what they were denied, and how soon that was cured."""
    since_s = parse_duration(since, "--since")
    found = _outcome(state, f"/v1/friction?since_s={since_s}", "records")
    if as_json:
        print_json(found)
        return
    total = found["total"]
    days = total["person_days"] or 1
    out.print(
        f"In {since}: {total['person_days']} person-days, {total['prompts'] / days:.2f} prompts and "
        f"{total['denials'] / days:.2f} denials per person-day; {total['cured']} of {total['episodes']} "
        f"denials were cured, in {total['cure_s'] or 0:.0f} s at the median.",
        markup=False,
    )
    for part, heading in (("apps", "APP"), ("groups", "GROUP"), ("people", "PERSON")):
        out.print("")
        rows = found[part]
        print_rows(rows[:SHOWN], {heading: "name", **COST_COLUMNS}, as_json=False, empty=f"No {part}.")
        if len(rows) > SHOWN:
            out.print(f"… and {len(rows) - SHOWN} more: see --json.", markup=False)


def least_privilege(
    state: StateOption = None,
    unused_for: Annotated[str, typer.Option(help="Not used for so long: 30d, 90d.")] = "90d",
    diff: Annotated[Path | None, typer.Option(help="Write the proposed change of the bundle here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Propose to take away what recorded use does not need, so that nobody who used access loses it."""
    unused_for_s = parse_duration(unused_for, "--unused-for")
    found = _outcome(state, f"/v1/least-privilege?unused_for_s={unused_for_s}", "memberships")
    if diff is not None:
        from limen.journal.private_file import write_private

        write_private(diff, found["diff"].encode())
    if as_json:
        print_json(found)
        return
    _print_proposal(found, unused_for, diff)


def _print_proposal(found: dict[str, Any], period: str, diff: Path | None) -> None:
    print_rows(found["unused"], UNUSED_COLUMNS, as_json=False, empty="Everything that is granted was used.")
    if found["diff"] and diff is None:
        out.print("\n" + found["diff"], markup=False)
    begins = "there is no record" if found["since"] is None else render_instant(found["since"])
    out.print(
        f"\nReplayed over {period}: {found['decisions']} allowed decisions, {found['uses']} distinct; "
        f"{len(found['losers'])} would be denied. The record begins: {begins}. What is used more seldom than "
        "that is proposed to go as well.",
        markup=False,
    )
    for line in (*found["losers"], *found["notes"]):
        out.print(f"  {line}", markup=False)
    for name in found["failed_tests"]:
        out.print(f"  The bundle's test speaks for access that nobody used: {name}", markup=False)


def _outcome(state: Path | None, path: str, what: str) -> Any:
    """Follow the work to its outcome; on a terminal, say how far it is."""
    with progress_bar(what) as tell:
        for word in connect(state).follow(path):
            if word["type"] == "outcome":
                return word["value"]
            tell(word["done"] / word["of"], word["done"])
    raise LimenError("Control's answer ended early.", remedy="Look at its log, and try again.")

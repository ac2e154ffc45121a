"""`limen identity report`: how mature identity is, on a system, or on a directory's export alone."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from limen.cli.decisions import parse_duration
from limen.cli.output import JsonOption, StateOption, connect, out, print_json, print_rows, render_instant
from limen.cli.replay import progress_bar
from limen.core.errors import Invalid, LimenError

app = typer.Typer(no_args_is_help=True, help="Identity: how mature it is here, and what to do next.")

GROUPS_SHOWN = 20
ROWS_SHOWN = 10  # of each part

COVERAGE = {
    "GROUP": "group",
    "PEOPLE": "people",
    "MFA": "mfa",
    "PHISHING-RESISTANT": "phishing_resistant",
    "NOT KNOWN": "unknown",
    "WHAT NEXT": "cure",
}
ROWS = {"ABOUT": "about", "WEIGHT": "severity", "WHAT": "what", "CURE": "cure"}
UNKNOWN = {"NOT KNOWN": "what", "HOW IT BECOMES KNOWN": "cure"}

FileOption = Path | None


@app.callback()
def identity() -> None:
    """Say how mature identity is."""


@app.command()
def report(
    state: StateOption = None,
    csv: Annotated[
        FileOption,
        typer.Option(help="A CSV of people instead of a system; username is needed.", dir_okay=False),
    ] = None,
    ldif: Annotated[
        FileOption,
        typer.Option(help="An LDIF that a directory exported, instead of a system.", dir_okay=False),
    ] = None,
    scim: Annotated[
        FileOption,
        typer.Option(help="What a SCIM service lists, as JSON, instead of a system.", dir_okay=False),
    ] = None,
    privileged: Annotated[
        list[str] | None, typer.Option(help="With a file: a group with privileges; repeat for more.")
    ] = None,
    html: Annotated[FileOption, typer.Option(help="Write it as one HTML page.", dir_okay=False)] = None,
    dormant: Annotated[str, typer.Option(help="Unused for so long is dormant.")] = "45d",
    never_used: Annotated[str, typer.Option(help="Never used for so long is worth a look.")] = "30d",
    moved: Annotated[str, typer.Option(help="How long ago a move matters.")] = "90d",
    secret_age: Annotated[str, typer.Option(help="How old secrets may be.")] = "365d",  # noqa: S107
    idle: Annotated[str, typer.Option(help="How far back use of machines is looked at.")] = "90d",
    use: Annotated[
        bool, typer.Option("--use/--no-use", help="Read the journal for what machines did.")
    ] = True,
    all_: Annotated[bool, typer.Option("--all", help="Every row, not the first ten of each part.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say who can prove themselves how well, and which accounts are dormant or orphaned: with cures."""
    rules = {
        "dormant_s": parse_duration(dormant, "--dormant"),
        "never_used_s": parse_duration(never_used, "--never-used"),
        "moved_s": parse_duration(moved, "--moved"),
        "secret_s": parse_duration(secret_age, "--secret-age"),
        "idle_s": parse_duration(idle, "--idle"),
    }
    files = {"csv": csv, "ldif": ldif, "scim": scim}
    given = {kind: file for kind, file in files.items() if file is not None}
    if len(given) > 1:
        raise Invalid("Only one file at a time.", remedy="Give --csv, --ldif or --scim.")
    if given:
        kind, file = next(iter(given.items()))
        found = _of_file(kind, file, privileged or [], rules)
    else:
        found = _of_system(state, rules, use=use)
    if html is not None:
        _write_html(found, html)
    if as_json:
        print_json(found)
    elif html is None:
        _print(found, all_=all_)


def _of_system(state: Path | None, rules: Mapping[str, float], *, use: bool) -> dict[str, Any]:
    query = "&".join(f"{name}={value}" for name, value in rules.items())
    path = f"/v1/identity/report?{query}&use={str(use).lower()}"
    with progress_bar("records") as progress:
        for line in connect(state).follow(path):
            if line["type"] == "step":
                progress(0.0, line["done"])  # how many there are is not known
            else:
                return dict(line["value"])
    raise LimenError("The report ended without an outcome.", remedy="Look at control's log.")


def _of_file(kind: str, file: Path, privileged: list[str], rules: Mapping[str, float]) -> dict[str, Any]:
    from limen.assurance.identity_facts import ReportRules
    from limen.assurance.identity_files import READERS, facts_of
    from limen.assurance.identity_report import assess_identity

    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not UTF-8 text.", remedy="Save it in UTF-8.") from None
    facts = facts_of(time.time(), READERS[kind](text), privileged)
    return dict(msgspec.to_builtins(assess_identity(facts, ReportRules(**rules))))


def _write_html(found: Mapping[str, Any], file: Path) -> None:
    from limen.assurance.identity_facts import Report
    from limen.assurance.identity_html import render_html

    file.write_text(render_html(msgspec.convert(found, Report)), "utf-8")
    out.print(f"Written: {file}", markup=False)


def _print(found: Mapping[str, Any], *, all_: bool) -> None:
    from limen.assurance.identity_report import TITLES

    counts = found["counts"]
    people = ", ".join(f"{counts[name]} {name}" for name in ("active", "suspended", "ended"))
    out.print(f"As of {render_instant(found['at'])}: {people} people.", markup=False)
    out.print()
    groups = found["coverage"]
    shown = groups if all_ else groups[:GROUPS_SHOWN]
    print_rows([_coverage(one) for one in shown], COVERAGE, as_json=False, empty="Nobody is active.")
    _print_rest(len(groups) - len(shown), "groups")
    for check, title in TITLES.items():
        rows = [one for one in found["rows"] if one["check"] == check]
        out.print(f"\n{title}: {len(rows) or 'nothing found'}", markup=False)
        if rows:
            part = rows if all_ else rows[:ROWS_SHOWN]
            print_rows(part, ROWS, as_json=False, empty="")
            _print_rest(len(rows) - len(part), "rows")
    if found["unknown"]:
        out.print()
        print_rows(found["unknown"], UNKNOWN, as_json=False, empty="")


def _print_rest(count: int, what: str) -> None:
    if count:
        out.print(f"… and {count} more {what}: see --all, --json or --html.", markup=False)


def _coverage(one: Mapping[str, Any]) -> dict[str, Any]:
    from limen.assurance.identity_html import share

    return {
        **one,
        "group": one["group"] or "(everybody)",
        "mfa": share(one["mfa"], one["people"]),
        "phishing_resistant": share(one["phishing_resistant"], one["people"]),
    }

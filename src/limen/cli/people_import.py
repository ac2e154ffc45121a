"""`limen user import`: people from a CSV file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from limen.cli.output import JsonOption, ReasonOption, StateOption, connect, out, print_json
from limen.core.errors import Invalid

SHOWN_MAX = 20  # names that a report spells out


def import_people(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with a header: username, and any of name, email, groups (a;b), kind, status, expires.",
            exists=True,
            dir_okay=False,
        ),
    ],
    state: StateOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change; change nothing.")
    ] = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Import people from a CSV file: all of it, or, if one line is wrong, nothing."""
    body = {"csv": read_csv(file), "dry_run": dry_run, "reason": reason or f"import {file.name}"}
    report = connect(state).post("/v1/people/import", body)
    if as_json:
        print_json(report)
    else:
        print_report(file, report)
    if report["errors"]:
        raise Invalid(
            f"{len(report['errors'])} things are wrong, so nothing was imported.",
            remedy="Mend them, and import again.",
        )


def read_csv(file: Path) -> str:
    """Return the text of a CSV file.

    Raises:
        Invalid: it is not UTF-8.
    """
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not UTF-8 text.", remedy="Save it as CSV in UTF-8.") from None


def print_report(file: Path, report: Mapping[str, Any]) -> None:
    """Print what an import did or would do: every wrong line, or who is new and who is changed."""
    for problem in report["errors"]:
        out.print(f"{file}:{problem['line']}: {problem['column']}: {problem['message']}", markup=False)
    if report["errors"]:
        return
    verb = "was" if report["applied"] else "would be"
    for what, names in (
        ("added", report["created"]),
        ("changed", report["updated"]),
        ("made as groups", report["groups_created"]),
    ):
        if names:
            shown = ", ".join(names[:SHOWN_MAX]) + (" …" if len(names) > SHOWN_MAX else "")
            out.print(f"{len(names)} {verb} {what}: {shown}", markup=False)
    out.print(f"{report['unchanged']} unchanged.", markup=False)

"""`limen user`: the people of the directory."""

from pathlib import Path
from typing import Annotated, Any

import typer

from limen.cli.output import (
    JsonOption,
    ReasonOption,
    StateOption,
    connect,
    out,
    parse_instant,
    print_fields,
    print_json,
    print_rows,
)
from limen.core.entities import Kind, Status
from limen.core.errors import Invalid

app = typer.Typer(no_args_is_help=True, help="People: add, change, list, import.")

COLUMNS = {
    "USER": "id",
    "NAME": "name",
    "EMAIL": "email",
    "STATUS": "status",
    "KIND": "kind",
    "GROUPS": "groups",
    "EXPIRES": "expires_at",
}


@app.command("list")
def list_people(
    state: StateOption = None,
    group: Annotated[str | None, typer.Option(help="Only members of this group, nested ones too.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only people of this status.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List people."""
    rows = connect(state).get("/v1/people", group=group, status=status)
    print_rows(rows, COLUMNS, as_json=as_json, empty="Nobody yet. Add someone with `limen user add NAME`.")


@app.command()
def show(user: str, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show a person: groups, factors, sessions."""
    print_fields(connect(state).get(f"/v1/people/{user}"), as_json=as_json)


@app.command()
def add(
    user: str,
    state: StateOption = None,
    name: Annotated[str, typer.Option(help="Full name.")] = "",
    email: Annotated[str, typer.Option(help="E-mail address.")] = "",
    group: Annotated[list[str] | None, typer.Option(help="A group to be in; repeat for more.")] = None,
    kind: Annotated[Kind, typer.Option(help="How they belong to the organisation.")] = Kind.EMPLOYEE,
    expires: Annotated[str | None, typer.Option(help="Last day, as 2027-01-31.")] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Add a person, and print the one-time link with which they set up sign-in."""
    body = {
        "id": user,
        "name": name or user,
        "email": email,
        "groups": group or [],
        "kind": kind,
        "expires_at": parse_instant(expires, "--expires"),
        "reason": reason,
    }
    person = connect(state).post("/v1/people", body)
    if as_json:
        print_json(person)
        return
    out.print(f"Added {user}. Give them this link; it works once, for one hour:", markup=False)
    out.print(person["enrolment_link"], markup=False)


@app.command("set")
def set_fields(
    user: str,
    state: StateOption = None,
    name: Annotated[str | None, typer.Option(help="Full name.")] = None,
    email: Annotated[str | None, typer.Option(help="E-mail address.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only `active` people are ever let in.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="How they belong to the organisation.")] = None,
    expires: Annotated[str | None, typer.Option(help="Last day, as 2027-01-31; `never` removes it.")] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; an empty VALUE removes it.")] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Change a person. What they may do follows at once."""
    body: dict[str, Any] = {"name": name, "email": email, "status": status, "kind": kind}
    body = {key: value for key, value in body.items() if value is not None}
    if expires is not None:
        body["expires_at"] = None if expires == "never" else parse_instant(expires, "--expires")
    if attribute:
        body["attributes"] = dict(parse_attribute(text) for text in attribute)
    if not body:
        raise Invalid("Nothing to change.", remedy="Name a field, such as --status suspended.")
    print_fields(connect(state).patch(f"/v1/people/{user}", {**body, "reason": reason}), as_json=as_json)


@app.command()
def link(user: str, state: StateOption = None, reason: ReasonOption = "") -> None:
    """Print a new one-time link with which a person sets up sign-in again."""
    answer = connect(state).post(f"/v1/people/{user}/enrolment-link", {"reason": reason})
    out.print(answer["enrolment_link"], markup=False)


@app.command("import")
def import_people(
    file: Annotated[Path, typer.Argument(help="CSV: id,name,email,groups,kind,expires.", exists=True)],
    state: StateOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change; change nothing.")
    ] = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Import people from a CSV file: all of it, or, if one line is wrong, nothing."""
    body = {"csv": file.read_text("utf-8-sig"), "dry_run": dry_run, "reason": reason or f"import {file.name}"}
    report = connect(state).post("/v1/people/import", body)
    if as_json:
        print_json(report)
    else:
        for problem in report["errors"]:
            out.print(f"{file}:{problem['line']}: {problem['message']}", markup=False)
        verb = "would be" if dry_run or report["errors"] else "were"
        counts = (
            f"{report['created']} {verb} added, {report['updated']} changed, {report['unchanged']} unchanged"
        )
        out.print(f"{counts}.", markup=False)
    if report["errors"]:
        raise Invalid(
            f"{len(report['errors'])} lines are wrong, so nothing was imported.",
            remedy="Mend them, and import again.",
        )


def parse_attribute(text: str) -> tuple[str, Any]:
    """Return key and value of `KEY=VALUE`: true and false are booleans, digits a number, empty is None."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise Invalid(f"--attribute: '{text}' has no '='.", remedy="Write --attribute department=sales.")
    if value in ("true", "false"):
        return key, value == "true"
    if value.lstrip("-").isdigit():
        return key, int(value)
    return key, value or None

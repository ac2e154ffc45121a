"""`limen user`: the people of the directory."""

import re
from typing import Annotated, Any

import typer

from limen.cli.output import (
    JsonOption,
    ReasonOption,
    StateOption,
    WhyOption,
    connect,
    out,
    parse_instant,
    print_fields,
    print_json,
    print_rows,
)
from limen.cli.people_import import import_people
from limen.cli.person_page import print_page
from limen.core.entities import Kind, Status
from limen.core.errors import Invalid

app = typer.Typer(no_args_is_help=True, help="People: add, change, list, import.")

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")  # Cedar's Long; 0042 is text, as in a room's number
SPONSOR = "The employee who answers for a partner or contractor."
COLUMNS = {
    "USER": "id",
    "NAME": "name",
    "EMAIL": "email",
    "STATUS": "status",
    "QUARANTINED": "quarantined",
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
    nobody = "Nobody fits." if group or status else "Nobody yet. Add someone with `limen user add NAME`."
    print_rows(rows, COLUMNS, as_json=as_json, empty=nobody)


@app.command()
def show(user: str, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show all about a person: who keeps them, how they prove themselves, what they reach, what is wrong."""
    page = connect(state).get(f"/v1/people/{user}")
    if as_json:
        print_json(page)
    else:
        print_page(page)


@app.command()
def add(
    user: str,
    state: StateOption = None,
    name: Annotated[str, typer.Option(help="Full name.")] = "",
    email: Annotated[str, typer.Option(help="E-mail address.")] = "",
    group: Annotated[list[str] | None, typer.Option(help="A group to be in; repeat for more.")] = None,
    kind: Annotated[Kind, typer.Option(help="How they belong to the organisation.")] = Kind.EMPLOYEE,
    expires: Annotated[str | None, typer.Option(help="Last day, as 2027-01-31.")] = None,
    sponsor: Annotated[str | None, typer.Option(help=SPONSOR)] = None,
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
        "sponsor": sponsor,
        "reason": reason,
    }
    person = connect(state).post("/v1/people", body)
    if as_json:
        print_json(person)
        return
    out.print(f"Added {user}. Give them this link; it works once, for one hour:", markup=False)
    out.print(person["enrolment_link"], markup=False)


@app.command()
def invite(
    user: str,
    state: StateOption = None,
    name: Annotated[str, typer.Option(help="Full name.")] = "",
    email: Annotated[str, typer.Option(help="Where the invitation goes.")] = "",
    group: Annotated[list[str] | None, typer.Option(help="A group to be in; repeat for more.")] = None,
    kind: Annotated[Kind, typer.Option(help="How they belong to the organisation.")] = Kind.PARTNER,
    expires: Annotated[str | None, typer.Option(help="Last day, as 2027-01-31; a year at most.")] = None,
    sponsor: Annotated[str | None, typer.Option(help=SPONSOR)] = None,
    provider: Annotated[
        str, typer.Option(help="Their own OpenID provider, at which they sign in instead of by a password.")
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Invite somebody who is here already.")] = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Invite a partner or contractor by a one-time link, valid a week; everything ends on their last day."""
    if again:
        wanted = {"provider": provider, "reason": reason}
        answer = connect(state).post(f"/v1/people/{user}/invitation", wanted)
    else:
        body = {
            "id": user,
            "name": name or user,
            "email": email,
            "groups": group or [],
            "kind": kind,
            "expires_at": parse_instant(expires, "--expires"),
            "sponsor": sponsor,
            "invite": True,
            "provider": provider,
            "reason": reason,
        }
        answer = connect(state).post("/v1/people", body)
    if as_json:
        print_json(answer)
    elif answer["sent"]:
        out.print(f"The invitation is on its way to {user}, by {' and '.join(answer['sent'])}.", markup=False)
    else:
        out.print(f"Give {user} this link; it works once, for a week:", markup=False)
        out.print(answer["enrolment_link"], markup=False)


@app.command()
def extend(
    user: str,
    expires: Annotated[str, typer.Option(help="Last day, as 2027-01-31; a year at most.")],
    reason: WhyOption,
    state: StateOption = None,
    sponsor: Annotated[str | None, typer.Option(help="Who answers for them from now on.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Move somebody's last day, also after it has come, and name another sponsor."""
    body = {"expires_at": parse_instant(expires, "--expires"), "sponsor": sponsor, "reason": reason}
    print_fields(connect(state).post(f"/v1/people/{user}/extension", body), as_json=as_json)


@app.command("set")
def set_fields(
    user: str,
    state: StateOption = None,
    name: Annotated[str | None, typer.Option(help="Full name.")] = None,
    email: Annotated[str | None, typer.Option(help="E-mail address.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only `active` people are ever let in.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="How they belong to the organisation.")] = None,
    expires: Annotated[str | None, typer.Option(help="Last day, as 2027-01-31; `never` removes it.")] = None,
    sponsor: Annotated[str | None, typer.Option(help=SPONSOR + " `none` removes it.")] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; an empty VALUE removes it.")] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Change a person. What they may do follows at once."""
    body: dict[str, Any] = {"name": name, "email": email, "status": status, "kind": kind}
    body = {key: value for key, value in body.items() if value is not None}
    if expires is not None:
        body["expires_at"] = None if expires == "never" else parse_instant(expires, "--expires")
    if sponsor is not None:
        body["sponsor"] = None if sponsor == "none" else sponsor
    if attribute:
        body["attributes"] = dict(parse_attribute(text) for text in attribute)
    if not body:
        raise Invalid("Nothing to change.", remedy="Name a field, such as --status suspended.")
    print_fields(connect(state).patch(f"/v1/people/{user}", {**body, "reason": reason}), as_json=as_json)


@app.command()
def suspend(user: str, reason: WhyOption, state: StateOption = None) -> None:
    """Shut a person out, and end all their sessions and connections. `release` takes it back."""
    connect(state).patch(f"/v1/people/{user}", {"status": Status.SUSPENDED, "reason": reason})
    out.print(f"{user} is suspended; all their sessions have ended.", markup=False)


@app.command()
def quarantine(user: str, reason: WhyOption, state: StateOption = None) -> None:
    """Deny a person everything while something is looked into. Their sessions stay; connections end."""
    connect(state).patch(f"/v1/people/{user}", {"quarantined": True, "reason": reason})
    out.print(f"{user} is quarantined; everything is denied, in every mode.", markup=False)


@app.command()
def release(user: str, reason: WhyOption, state: StateOption = None) -> None:
    """Lift a person's suspension and quarantine, both."""
    body = {"status": Status.ACTIVE, "quarantined": False, "reason": reason}
    connect(state).patch(f"/v1/people/{user}", body)
    out.print(f"{user} is active, and in no quarantine.", markup=False)


@app.command()
def link(
    user: str,
    state: StateOption = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Drop the old password, factors and codes, and end all sessions.")
    ] = False,
    send: Annotated[bool, typer.Option("--send", help="Send it to them, and print nothing.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Print, or send, a new one-time link with which a person sets up sign-in again."""
    wanted = {"reset": reset, "send": send, "reason": reason}
    answer = connect(state).post(f"/v1/people/{user}/enrolment-link", wanted)
    if answer["sent"]:
        out.print(f"On its way to {user}, by {' and '.join(answer['sent'])}.", markup=False)
    else:
        out.print(answer["enrolment_link"], markup=False)


def parse_attribute(text: str) -> tuple[str, Any]:
    """Return key and value of `KEY=VALUE`.

    true and false are booleans, digits a number, empty is None; a value in double quotes is text, whatever
    it looks like.

    Raises:
        Invalid: not of that form.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise Invalid(f"--attribute: '{text}' has no '='.", remedy="Write --attribute department=sales.")
    if value in ("true", "false"):
        return key, value == "true"
    if NUMBER.fullmatch(value):
        return key, int(value)
    if len(value) > 1 and value[0] == value[-1] == '"':
        return key, value[1:-1]
    return key, value or None


app.command("import")(import_people)

"""`limen workload`: the machines that act here, and the tokens by which they call the admin API."""

from typing import Annotated, Any

import typer

from limen.cli import workload_keys
from limen.cli.decisions import parse_duration
from limen.cli.output import (
    JsonOption,
    ReasonOption,
    StateOption,
    WhyOption,
    connect,
    out,
    print_fields,
    print_json,
    print_rows,
)
from limen.core.entities import Status

app = typer.Typer(no_args_is_help=True, help="Workloads: create, stop, their groups and tokens.")
group_app = typer.Typer(no_args_is_help=True, help="The groups that a workload is in.")
app.add_typer(group_app, name="group")
app.add_typer(workload_keys.key_app, name="key")
app.add_typer(workload_keys.secret_app, name="secret")
app.command("sessions")(workload_keys.sessions)
app.command("end-session")(workload_keys.end_session)

NameArgument = Annotated[str, typer.Argument(help="The workload's name.")]
GroupArgument = Annotated[str, typer.Argument(help="A group.")]

COLUMNS = {
    "WORKLOAD": "id",
    "OWNER": "owner",
    "STATUS": "status",
    "QUARANTINED": "quarantined",
    "GROUPS": "groups",
    "PURPOSE": "description",
    "EXPIRES": "expires_at",
    "REVIEW": "review_at",
    "USED": "used_at",
    "FLAGS": "flags",
}
TOKENS = {
    "TOKEN": "id",
    "NAME": "name",
    "MADE": "created_at",
    "EXPIRES": "expires_at",
    "USED": "used_at",
    "BY": "actor",
}


@app.command()
def create(
    name: NameArgument,
    owner: Annotated[str, typer.Option(help="The person who answers for it.")],
    description: Annotated[str, typer.Option("--purpose", "--description", help="What it is for.")] = "",
    expires: Annotated[str, typer.Option(help="After which it ends by itself: 30d. Else never.")] = "",
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a workload. It may nothing until a policy says so."""
    body: dict[str, Any] = {"id": name, "owner": owner, "description": description, "reason": reason}
    if expires:
        body |= {"expires_s": parse_duration(expires, "--expires")}
    print_fields(connect(state).post("/v1/workloads", body), as_json=as_json)


@app.command("list")
def list_workloads(
    state: StateOption = None,
    all_: Annotated[bool, typer.Option("--all", help="Those too that were removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List workloads."""
    rows = connect(state).get("/v1/workloads", ended=all_)
    print_rows(rows, COLUMNS, as_json=as_json, empty="There is no workload.")


@app.command()
def show(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show a workload with its tokens."""
    print_fields(connect(state).get(f"/v1/workloads/{name}"), as_json=as_json)


@app.command()
def suspend(name: NameArgument, reason: WhyOption, state: StateOption = None) -> None:
    """Deny a workload everything, from its next call on. `release` takes it back."""
    _change(state, name, reason, status=Status.SUSPENDED)
    out.print(f"{name} is suspended: its next call is refused.", markup=False)


@app.command()
def quarantine(name: NameArgument, reason: WhyOption, state: StateOption = None) -> None:
    """Deny a workload everything while something is looked into."""
    _change(state, name, reason, quarantined=True)
    out.print(f"{name} is quarantined; everything is denied, in every mode.", markup=False)


@app.command()
def release(name: NameArgument, reason: WhyOption, state: StateOption = None) -> None:
    """Lift a workload's suspension and quarantine, both."""
    _change(state, name, reason, status=Status.ACTIVE, quarantined=False)
    out.print(f"{name} is active, and in no quarantine.", markup=False)


@app.command()
def remove(name: NameArgument, reason: WhyOption, state: StateOption = None) -> None:
    """End a workload and its tokens for good. Its name is never issued again."""
    _change(state, name, reason, status=Status.ENDED)
    out.print(f"{name} is removed, and its tokens with it.", markup=False)


@app.command()
def give(
    name: NameArgument,
    owner: Annotated[str, typer.Option(help="The person who answers for it from now on.")],
    reason: WhyOption,
    state: StateOption = None,
) -> None:
    """Give a workload to another owner."""
    _change(state, name, reason, owner=owner)
    out.print(f"{owner} answers for {name}.", markup=False)


@app.command()
def review(name: NameArgument, reason: WhyOption, state: StateOption = None) -> None:
    """Say that a workload is still needed, and why."""
    connect(state).post(f"/v1/workloads/{name}/review", {"reason": reason})
    out.print(f"{name} is reviewed.", markup=False)


@app.command()
def extend(
    name: NameArgument,
    expires: Annotated[str, typer.Option(help="When it ends by itself, from now: 30d.")],
    reason: WhyOption,
    state: StateOption = None,
) -> None:
    """Set when a workload ends by itself."""
    _change(state, name, reason, expires_s=parse_duration(expires, "--expires"))
    out.print(f"{name} ends in {expires}.", markup=False)


@group_app.command("add")
def add_group(
    name: NameArgument, group: GroupArgument, state: StateOption = None, reason: ReasonOption = ""
) -> None:
    """Put a workload into a group."""
    connect(state).put(f"/v1/workloads/{name}/groups/{group}", {"reason": reason})
    out.print(f"{name} is in {group}.", markup=False)


@group_app.command("remove")
def remove_group(
    name: NameArgument, group: GroupArgument, state: StateOption = None, reason: ReasonOption = ""
) -> None:
    """Take a workload out of a group."""
    connect(state).delete(f"/v1/workloads/{name}/groups/{group}", reason=reason)
    out.print(f"{name} is not in {group} any more.", markup=False)


@app.command()
def token(
    name: NameArgument,
    label: Annotated[str, typer.Option("--name", help="What it is for.")] = "ci",
    expires: Annotated[
        str, typer.Option(help="How long it lives: 8h. More than 1d: `machines.secrets` names it.")
    ] = "8h",
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a token, and print it: this once. Give it to the pipeline as LIMEN_TOKEN."""
    body = {"name": label, "expires_s": parse_duration(expires, "--expires"), "reason": reason}
    made = connect(state).post(f"/v1/workloads/{name}/tokens", body)
    if as_json:
        print_json(made)
    else:
        out.print(made["token"], markup=False)


@app.command()
def tokens(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List a workload's tokens: when made, when used, when over."""
    rows = connect(state).get(f"/v1/workloads/{name}/tokens")
    print_rows(rows, TOKENS, as_json=as_json, empty=f"{name} has no token.")


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(help="The id that `limen workload tokens` shows.")],
    state: StateOption = None,
    reason: ReasonOption = "",
) -> None:
    """End a token now: the next call with it is refused."""
    connect(state).delete(f"/v1/workload-tokens/{token}", reason=reason)
    out.print(f"Revoked {token}.", markup=False)


def _change(state: Any, name: str, reason: str, **fields: Any) -> None:
    connect(state).patch(f"/v1/workloads/{name}", {**fields, "reason": reason})

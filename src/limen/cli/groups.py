"""`limen group`: groups, who is in them, and which groups are in which."""

from typing import Annotated

import typer

from limen.cli.output import JsonOption, ReasonOption, StateOption, connect, out, print_fields, print_rows

app = typer.Typer(no_args_is_help=True, help="Groups: add, fill, nest, list.")


@app.command("list")
def list_groups(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List groups."""
    rows = connect(state).get("/v1/groups")
    columns = {"GROUP": "id", "NAME": "name", "MEMBERS": "members", "IN": "parents"}
    print_rows(rows, columns, as_json=as_json, empty="No groups yet. Make one with `limen group add NAME`.")


@app.command()
def show(group: str, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show a group: members and groups above it."""
    print_fields(connect(state).get(f"/v1/groups/{group}"), as_json=as_json)


@app.command()
def add(
    group: str,
    state: StateOption = None,
    name: Annotated[str, typer.Option(help="A name for people to read.")] = "",
    reason: ReasonOption = "",
) -> None:
    """Make a group."""
    connect(state).post("/v1/groups", {"id": group, "name": name or group, "reason": reason})
    out.print(f"Made the group {group}.", markup=False)


@app.command()
def remove(group: str, state: StateOption = None, reason: ReasonOption = "") -> None:
    """Remove a group. Its members lose what it gave them."""
    connect(state).delete(f"/v1/groups/{group}", reason=reason)
    out.print(f"Removed the group {group}.", markup=False)


@app.command("add-member")
def add_member(group: str, user: str, state: StateOption = None, reason: ReasonOption = "") -> None:
    """Put a person into a group."""
    connect(state).put(f"/v1/groups/{group}/members/{user}", {"reason": reason})
    out.print(f"{user} is in {group}.", markup=False)


@app.command("remove-member")
def remove_member(group: str, user: str, state: StateOption = None, reason: ReasonOption = "") -> None:
    """Take a person out of a group."""
    connect(state).delete(f"/v1/groups/{group}/members/{user}", reason=reason)
    out.print(f"{user} is no longer in {group}.", markup=False)


@app.command()
def nest(group: str, into: str, state: StateOption = None, reason: ReasonOption = "") -> None:
    """Put a group into another: its members are then in both."""
    connect(state).put(f"/v1/groups/{group}/parents/{into}", {"reason": reason})
    out.print(f"Whoever is in {group} is in {into}.", markup=False)


@app.command()
def unnest(group: str, out_of: str, state: StateOption = None, reason: ReasonOption = "") -> None:
    """Take a group out of another."""
    connect(state).delete(f"/v1/groups/{group}/parents/{out_of}", reason=reason)
    out.print(f"{group} is no longer in {out_of}.", markup=False)

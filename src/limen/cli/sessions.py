"""`limen session`: who is signed in, and the end of it."""

from typing import Annotated

import typer

from limen.cli.output import JsonOption, ReasonOption, StateOption, connect, out, print_rows

app = typer.Typer(no_args_is_help=True, help="Sessions: list, end.")

COLUMNS = {
    "SESSION": "id",
    "USER": "person",
    "AAL": "aal",
    "METHODS": "methods",
    "SIGNED IN": "auth_at",
    "SEEN": "seen_at",
    "ENDS": "expires_at",
    "FROM": "ip",
    "APPS": "apps",
}


@app.command("list")
def list_sessions(
    state: StateOption = None,
    user: Annotated[str | None, typer.Option(help="Only this person's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List live sessions."""
    rows = connect(state).get("/v1/sessions", person=user)
    print_rows(rows, COLUMNS, as_json=as_json, empty="Nobody is signed in.")


@app.command()
def end(
    session: Annotated[str | None, typer.Argument(help="The session's id.")] = None,
    user: Annotated[str | None, typer.Option(help="End all sessions of this person.")] = None,
    state: StateOption = None,
    reason: ReasonOption = "",
) -> None:
    """End a session, or all of a person's. Every app session below it ends with it."""
    if (session is None) == (user is None):
        raise typer.BadParameter("Name a session, or a person with --user.")
    client = connect(state)
    if session is not None:
        client.delete(f"/v1/sessions/{session}", reason=reason)
        out.print(f"Ended {session}.", markup=False)
        return
    answer = client.delete("/v1/sessions", person=user, reason=reason)
    out.print(f"Ended {answer['ended']} sessions of {user}.", markup=False)

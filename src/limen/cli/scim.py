"""`limen scim`: the clients that provision people and groups, and the tokens by which they do."""

from typing import Annotated, Any

import typer

from limen.cli.decisions import parse_duration
from limen.cli.output import (
    JsonOption,
    ReasonOption,
    StateOption,
    WhyOption,
    connect,
    err,
    out,
    print_json,
    print_rows,
)

app = typer.Typer(no_args_is_help=True, help="SCIM clients: their tokens, and people handed over to them.")

ClientArgument = Annotated[str, typer.Argument(help="The client's name in limen.yaml, below `scim`.")]
NameOption = Annotated[str, typer.Option("--name", help="What the token is for.")]
ExpiresOption = Annotated[str, typer.Option(help="How long it lives: 90d, 365d; at most 366d.")]

CLIENTS = {
    "CLIENT": "id",
    "IN THE BUNDLE": "configured",
    "PEOPLE": "people",
    "GROUPS": "groups",
    "WROTE": "written_at",
    "CALLED": "used_at",
    "TOKENS": "count",
}
TOKENS = {
    "CLIENT": "client",
    "TOKEN": "id",
    "NAME": "name",
    "MADE": "created_at",
    "EXPIRES": "expires_at",
    "USED": "used_at",
    "BY": "actor",
}


@app.command("list")
def list_clients(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List SCIM clients: what each keeps here, and when it called last."""
    rows = connect(state).get("/v1/scim")
    if not as_json:
        rows = [{**row, "count": len(row["tokens"])} for row in rows]
    print_rows(rows, CLIENTS, as_json=as_json, empty="There is no SCIM client: add `scim:` to limen.yaml.")


@app.command()
def tokens(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the tokens of all clients: when made, when used, when over."""
    rows = [token for client in connect(state).get("/v1/scim") for token in client["tokens"]]
    print_rows(rows, TOKENS, as_json=as_json, empty="No SCIM client has a token.")


@app.command()
def token(
    client: ClientArgument,
    name: NameOption = "",
    expires: ExpiresOption = "365d",
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a token, and print it: this once. Give it to the client with the address that stands beside."""
    body = {"name": name, "expires_s": parse_duration(expires, "--expires"), "reason": reason}
    _show(connect(state).post(f"/v1/scim/{client}/tokens", body), as_json=as_json)


@app.command()
def rotate(
    client: ClientArgument,
    overlap: Annotated[str, typer.Option(help="How long the other tokens count still: 0s, 24h.")] = "24h",
    name: NameOption = "",
    expires: ExpiresOption = "365d",
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a token, and let the client's others end after an overlap."""
    body = {
        "name": name,
        "expires_s": parse_duration(expires, "--expires"),
        "overlap_s": 0.0 if overlap in ("0", "0s") else parse_duration(overlap, "--overlap"),
        "reason": reason,
    }
    _show(connect(state).post(f"/v1/scim/{client}/tokens", body), as_json=as_json)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(help="The id that `limen scim tokens` shows.")],
    state: StateOption = None,
    reason: ReasonOption = "",
) -> None:
    """End a token now: the next call with it is refused."""
    connect(state).delete(f"/v1/scim-tokens/{token}", reason=reason)
    out.print(f"Revoked {token}.", markup=False)


@app.command()
def adopt(
    client: ClientArgument,
    people: Annotated[list[str], typer.Argument(help="Usernames.")],
    reason: WhyOption,
    state: StateOption = None,
) -> None:
    """Hand people over to a client, which finds them by `userName` and keeps them from now on."""
    done = connect(state).post(f"/v1/scim/{client}/people", {"people": people, "reason": reason})
    out.print(f"{client} keeps {', '.join(done['adopted'])} from now on.", markup=False)


def _show(made: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    err.print(f"For the client at {made['url']}:", markup=False)
    out.print(made["token"], markup=False, soft_wrap=True)
    if made["shortened"]:
        err.print(f"Ending after the overlap: {', '.join(made['shortened'])}.", markup=False)

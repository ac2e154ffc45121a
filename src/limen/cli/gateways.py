"""`limen gateway list|token|remove|join`: gateways of other machines. `limen gateway` itself runs one."""

import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from limen.cli.decisions import parse_duration
from limen.cli.output import JsonOption, StateOption, WhyOption, connect, err, out, print_json, print_rows
from limen.core.errors import Invalid

COLUMNS = {
    "NODE": "node",
    "STATE": "state",
    "RELEASE": "release",
    "POSITION": "position",
    "LAG": "lag",
    "AGE (S)": "age_s",
    "STREAMS": "streams",
    "RECORDS": "ships",
    "LEFT (B)": "ship_left_bytes",
    "SEEN": "seen_at",
    "CERTIFICATE UNTIL": "certificate_expires_at",
    "FROM": "address",
}


def register(app: typer.Typer) -> None:
    """Add these commands to `limen gateway`."""
    app.command("list")(list_gateways)
    app.command()(token)
    app.command()(remove)
    app.command()(join)


def list_gateways(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List gateways: how far behind each is, how old what it knows is, what it holds and has yet to send."""
    rows = connect(state).get("/v1/gateways")
    print_rows(rows, COLUMNS, as_json=as_json, empty="No gateway follows, and none has joined.")


def token(
    node: Annotated[str, typer.Argument(help="The new gateway's name: a-z, 0-9 and -.")],
    reason: WhyOption,
    for_: Annotated[str, typer.Option("--for", help="How long it works: 30m, 1h, at most 7d.")] = "1h",
    address: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT of control as the gateway reaches it; repeat for more nodes."),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a token with which one machine may join as this gateway, once."""
    body = {
        "node": node,
        "for_s": parse_duration(for_, "--for"),
        "addresses": address or [],
        "reason": reason,
    }
    made = connect(state).post("/v1/gateways/tokens", body)
    if as_json:
        print_json(made)
        return
    typer.echo(made["token"])
    err.print(
        f"Works once, for {for_}. On the new machine: limen gateway join --state DIR, and paste it.",
        markup=False,
    )


def remove(node: str, reason: WhyOption, state: StateOption = None) -> None:
    """Remove a gateway: its certificate counts no longer, its connection ends at once."""
    connect(state).delete(f"/v1/gateways/{node}", reason=reason)
    out.print(
        f"Removed {node}. It denies everything once what it knows is too old (300 s by default); "
        "if the machine was stolen, take it off the network now.",
        markup=False,
    )


def join(
    state: Annotated[Path, typer.Option("--state", help="This gateway's own folder; made if it is new.")],
    control: Annotated[
        str, typer.Option(help="HOST:PORT[,HOST:PORT] of control, instead of what the token says.")
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(help="A file that holds the token. Else it is asked for, or read from the pipe."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make this machine a gateway, with the token that control made. The token never stands in argv."""
    from limen.administrator.join_wire import parse_token
    from limen.services.join import join_gateway, read_token

    given = ""
    if token_file is None:
        given = getpass("Join token: ") if sys.stdin.isatty() else sys.stdin.read()
    text = read_token(token_file, given)
    if not text.strip():
        raise Invalid("There is no token.", remedy="Paste what `limen gateway token` printed.")
    controls = tuple(part.strip() for part in control.split(",") if part.strip())
    identity = join_gateway(parse_token(text), state, controls)
    if as_json:
        shown = {"node": identity.node, "domain": identity.domain, "controls": list(identity.controls)}
        print_json(shown)
        return
    out.print(f"Joined as {identity.node} of {identity.domain}. Run it: limen gateway --state {state}")

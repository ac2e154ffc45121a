"""`limen login|logout|status|connect`: the client's commands. They need none of the server's parts.

Exit codes of `connect`: 0 it ended in good order, 1 refused or failed, 3 the gateway cut it.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limen.cli.output import JsonOption, StateOption, err, print_fields, render_instant
from limen.core.errors import Invalid, LimenError, NotFound, Refused, Unavailable
from limen.core.needs import NEEDS

if TYPE_CHECKING:
    from limen.connect.login import Client
    from limen.connect.oauth import Account
    from limen.connect.outcomes import Outcome
    from limen.connect.profiles import Profile
    from limen.connect.why import End

ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="The sign-in host. Else the one logged in to last.")
]


def register(program: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (login, logout, status, connect):
        program.command()(command)


def login(
    url: Annotated[
        str | None, typer.Argument(help="https://auth.DOMAIN, or DOMAIN. Else the one of last time.")
    ] = None,
    device: Annotated[
        bool, typer.Option("--device", help="Confirm a code in a browser on another device.")
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address instead of opening it.")
    ] = False,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="A private CA to trust, and no other.", dir_okay=False)
    ] = None,
    need: Annotated[
        str, typer.Option("--need", help=f"What the sign-in must achieve: {', '.join(NEEDS)}.")
    ] = "",
) -> None:
    """Log in, so that `limen connect` can open services."""
    from limen.connect.login import Client, LoginOptions, log_in
    from limen.connect.profiles import parse_auth_url

    client = Client()
    known: Profile | None = None
    try:
        known = client.profiles.find(url)
    except NotFound:
        if url is None:
            raise
    place = parse_auth_url(url) if url else known.place if known else None
    assert place is not None
    if ca is None and known is not None:
        ca = client.ca_of(known)
    options = LoginOptions(place, ca, device=device, browser=not no_browser, need=need)
    profile, _ = log_in(client, options, lambda line: err.print(line, markup=False))
    kept = "the system's keyring" if profile.kept == "keyring" else f"a file in {client.profiles.folder}"
    err.print(f"Logged in as {profile.person}, until {render_instant(profile.expires_at)}.", markup=False)
    err.print(f"The token is in {kept}. See: limen status", markup=False)


def logout(profile: ProfileOption = None) -> None:
    """End the session of `limen login`, and forget it on this machine."""
    from limen.connect.login import Client, log_out

    client = Client()
    known = client.profiles.find(profile)
    failed = log_out(client, known)
    if failed is not None:
        raise Unavailable(
            f"Forgotten on this machine, but not ended: {failed.message}",
            remedy=f"It ends {render_instant(known.expires_at)}, or on your account page.",
        )
    err.print(f"Logged out of {known.auth_url}.", markup=False)


def status(profile: ProfileOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the system on this machine; without one, who is logged in and which services are open."""
    if profile is None:
        try:
            return _system_status(state, as_json=as_json)
        except ModuleNotFoundError as error:
            if state is not None or error.name is None or error.name.startswith("limen"):
                raise
        except NotFound:
            if state is not None or not _is_logged_in():
                raise
    return _login_status(profile, as_json=as_json)


def _system_status(state: Path | None, *, as_json: bool) -> None:
    from limen.cli import start

    start.status(state, as_json)


def _is_logged_in() -> bool:
    from limen.connect.profiles import Profiles

    try:
        Profiles().find(None)
    except LimenError:
        return False
    return True


def _login_status(wanted: str | None, *, as_json: bool) -> None:
    from limen.connect.login import Client

    client = Client()
    known = client.profiles.find(wanted)
    try:
        account = client.oauth(known).account(client.token(known))
    except Refused as error:
        raise Refused(error.message, remedy=f"Run: {known.login_command}", code=error.code) from None
    print_fields(_show(known, account, as_json=as_json), as_json=as_json)


def _show(known: "Profile", account: "Account", *, as_json: bool) -> dict[str, Any]:
    from limen.connect.plain import plain

    rows = [
        {
            "name": plain(one.name, 63),
            "host": plain(one.host, 253),
            "port": one.port,
            "protocol": plain(one.protocol, 32),
            "may": one.may,
            "why": plain(one.why),
        }
        for one in account.services
    ]
    words = {True: "open to you", False: "not open to you", None: "not known"}
    lines = [
        " ".join((f"{row['name']} ({row['protocol']}): {words[one.may]}.", str(row["why"]))).rstrip()
        for row, one in zip(rows, account.services, strict=True)
    ]
    return {
        "auth_url": known.auth_url,
        "person": plain(account.person, 128),
        "expires_at": account.expires_at,
        "services": rows if as_json else lines,
    }


def connect(
    service: Annotated[str, typer.Argument(help="The service's name. `limen status` lists them.")],
    listen: Annotated[
        str | None, typer.Option("--listen", help="HOST:PORT on this machine. Port 0 takes a free one.")
    ] = None,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Standard input and output, for OpenSSH's ProxyCommand.")
    ] = False,
    profile: ProfileOption = None,
    anyone: Annotated[
        bool,
        typer.Option(
            "--anyone-on-this-network", help="Let others use it in your name: listen beyond loopback."
        ),
    ] = False,
) -> None:
    """Reach a TCP service through the gateway."""
    import asyncio

    from limen.connect.login import Client

    if stdio == (listen is not None):
        raise Invalid("Say one of --listen and --stdio.", remedy="For example: --listen 127.0.0.1:5433")
    client = Client()
    known = client.profiles.find(profile)
    if known.expires_at <= time.time():
        raise Refused("Your sign-in has ended.", remedy=f"Run: {known.login_command}", code="SIGNED_OUT")
    try:
        code = asyncio.run(_carry(client, known, service, listen, anyone=anyone))
    except KeyboardInterrupt:  # how people end --listen
        code = 0
    raise typer.Exit(code)


async def _carry(
    client: "Client", known: "Profile", service: str, listen: str | None, *, anyone: bool
) -> int:
    """Carry tunnels until they are over; return the exit code."""
    from limen.connect.gateway import ServiceGateway
    from limen.connect.serve import ListenAddress, parse_listen, serve_port, serve_stdio
    from limen.connect.why import EXIT_REFUSED

    place, token = known.service(service), client.token(known)
    gateway = ServiceGateway(place, token, client.tunnel_context(known))
    if listen is None:
        outcome = await serve_stdio(gateway.carry)
        return (await _tell(client, known, service, outcome)).exit_code
    signed_out = False

    async def on_end(outcome: "Outcome") -> bool:
        nonlocal signed_out
        signed_out = (await _tell(client, known, service, outcome)).signed_out
        return signed_out

    def on_ready(address: ListenAddress) -> None:
        where = f"[{address.host}]" if ":" in address.host else address.host
        err.print(f"{service} is at {where}:{address.port}. Ctrl-C ends it.", markup=False)

    await serve_port(parse_listen(listen, anyone=anyone), gateway.carry, on_end, on_ready)
    return EXIT_REFUSED if signed_out else 0


async def _tell(client: "Client", known: "Profile", service: str, outcome: "Outcome") -> "End":
    """Print why a tunnel ended, if there is anything to say."""
    import asyncio

    from limen.connect.why import ask_why, explain_outcome

    def ask(stream_id: str) -> "End":
        https = client.https(known.service(service), client.ca_of(known))
        return ask_why(https, client.token(known), service, stream_id)

    end = await asyncio.to_thread(explain_outcome, outcome, service, known.login_command, ask)
    for line in end.lines:
        err.print(f"limen: {line}", markup=False)
    return end

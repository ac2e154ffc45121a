"""`limen break-glass`: the sealed credential for the day on which nothing else lets an administrator in."""

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from limen.cli.output import (
    JsonOption,
    StateOption,
    WhyOption,
    connect,
    err,
    out,
    print_fields,
    print_json,
    print_rows,
    render_instant,
)
from limen.core.errors import Invalid, Refused
from limen.core.secret import Secret

app = typer.Typer(no_args_is_help=True, help="Emergency access: seal, use, review.")

COLUMNS = {
    "ID": "id",
    "STATE": "state",
    "SEALED": "sealed_at",
    "BY": "sealed_by",
    "USED": "used_at",
    "FROM": "ip",
    "REVIEWED": "reviewed_at",
    "REVIEWED BY": "reviewed_by",
}
UseArgument = Annotated[str | None, typer.Argument(help="A use, by its id. Without one: what is to review.")]


@app.command()
def seal(reason: WhyOption, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Print one sealed credential. Print it on paper, seal it, put it in a safe. The one before is void."""
    made = connect(state).post("/v1/break-glass/seal", {"reason": reason})
    if as_json:
        print_json(made)
        return
    lines = (
        f"Emergency access to Limen, sealed {render_instant(made['sealed_at'])}",
        "",
        f"    {made['credential']}",
        "",
        f"Type it at {made['url']}",
        "or run: limen break-glass use ADDRESS",
        "",
        "It works once, for one hour, without any provider and without mail. Everybody who looks after Limen",
        "is told. Afterwards: limen break-glass review, and seal another.",
    )
    for line in lines:
        out.print(line, markup=False)
    if made["warning"]:
        err.print(f"Warning: {made['warning']}", markup=False)


@app.command()
def status(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List sealed credentials and their uses."""
    rows = connect(state).get("/v1/break-glass")
    print_rows(rows, COLUMNS, as_json=as_json, empty="None was ever sealed: `limen break-glass seal`.")


@app.command()
def withdraw(reason: WhyOption, state: StateOption = None) -> None:
    """Make the sealed credential void: it was lost, or seen."""
    connect(state).post("/v1/break-glass/withdraw", {"reason": reason})
    out.print("No credential is good now. Seal another: limen break-glass seal", markup=False)


@app.command()
def use(
    url: Annotated[str, typer.Argument(help="https://auth.DOMAIN, or DOMAIN.")],
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="A private CA to trust.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Use the sealed credential: log in with it on this machine, for one hour.

    It is asked for, or taken from LIMEN_BREAK_GLASS. Then: limen --server ADDRESS COMMAND.
    """
    from limen.connect.login import Client
    from limen.connect.plain import plain
    from limen.connect.profiles import Profile, parse_auth_url, profile_name
    from limen.services.form_client import Form, FormClient

    place = parse_auth_url(url)
    with FormClient(ca_file) as browser:
        page = browser.get(f"{place.origin}/break-glass")
        hidden = Form(str(page.url), page.text).hidden
        values = {**hidden, "credential": _ask().reveal()}
        answer = browser.post(f"{place.origin}/break-glass", values, accept="application/json")
    if answer.status_code != 200:
        raise Refused("The credential was not accepted.", remedy="Check what you typed; it works once.")
    body = answer.json()
    client = Client()
    if ca_file is not None:
        from limen.connect.folders import write_private

        write_private(client.profiles.ca_file(place), ca_file.read_bytes())
    profile = Profile(
        auth_url=place.origin,
        person=plain(str(body["person"]), 128),
        expires_at=float(body["expires_at"]),
        kept=client.vault.save(profile_name(place), Secret(str(body["token"]))),
        ca_source=None if ca_file is None else str(ca_file.absolute()),
    )
    client.profiles.save(profile)
    until = render_instant(profile.expires_at)
    err.print(f"Emergency access until {until}. Everybody who looks after Limen is told.", markup=False)
    err.print(f"Now: limen --server {place.origin} user list", markup=False)


@app.command()
def review(
    use_id: UseArgument = None,
    text: Annotated[str, typer.Option("--text", help="What happened; closes the review.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was done under emergency access, and, with --text, say what it was for."""
    client = connect(state)
    if use_id is None and text:
        raise Invalid(
            "ID: which use is reviewed is missing.",
            remedy="`limen break-glass review` lists them: limen break-glass review ID --text …",
        )
    if use_id is None:
        rows = [row for row in client.get("/v1/break-glass") if row["state"] == "to review"]
        print_rows(rows, COLUMNS, as_json=as_json, empty="There is nothing to review.")
        return
    if text:
        print_fields(client.post(f"/v1/break-glass/{use_id}/review", {"text": text}), as_json=as_json)
        return
    print_fields(client.get(f"/v1/break-glass/{use_id}"), as_json=as_json)


def _ask() -> Secret[str]:
    value = os.environ.get("LIMEN_BREAK_GLASS", "")
    if value:
        return Secret(value)
    if not sys.stdin.isatty():
        raise Refused("The credential is missing.", remedy="Run it in a terminal, or set LIMEN_BREAK_GLASS.")
    return Secret(getpass("Sealed credential: "))

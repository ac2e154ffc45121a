"""`limen token`: a short-lived token for one app, for curl, git and pip.

The person signs in by the same forms as in a browser: a token is never given for someone else.
"""

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limen.cli.output import JsonOption, StateOption, connect, out, print_json
from limen.core.errors import Invalid, Refused
from limen.core.secret import Secret

if TYPE_CHECKING:
    import httpx


def register(program: typer.Typer) -> None:
    """Add this command to the program."""
    program.command()(token)


def token(
    app: Annotated[str, typer.Option(help="The app that the token opens.")],
    auth_url: Annotated[
        str | None,
        typer.Option("--auth-url", help="https://auth.DOMAIN. Else of the system on this machine."),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="A private CA to trust.", exists=True, dir_okay=False)
    ] = None,
    username: Annotated[str | None, typer.Option(help="Else LIMEN_USERNAME, else asked for.")] = None,
    name: Annotated[str, typer.Option(help="What it is for; your account page shows it.")] = "command line",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a short-lived token for one app. Send it as Bearer, as a Basic password, or in X-Limen-Token.

    Password and code come from the terminal, or from LIMEN_PASSWORD and LIMEN_CODE.
    """
    if auth_url is None:
        here = connect(state).get("/v1/status")
        auth_url = str(here["auth_url"])
        ca_file = ca_file or (Path(here["ca_file"]) if here["ca_file"] else None)
    auth_url = auth_url.rstrip("/")
    if not auth_url.startswith("https://"):
        raise Invalid(
            f"--auth-url: '{auth_url}' is not an https address.", remedy="Write https://auth.DOMAIN."
        )
    who = username or _answer("LIMEN_USERNAME", "Username: ", hidden=False).reveal()
    answer = _ask(auth_url, ca_file, who, app=app, name=name)
    if answer.status_code not in (200, 201):
        raise Refused(
            _detail(answer.text, answer.status_code), remedy="Check the app's name and your rights."
        )
    if as_json:
        print_json(answer.json())
    else:
        out.print(answer.json()["token"], markup=False)


def _ask(auth_url: str, ca_file: Path | None, who: str, *, app: str, name: str) -> "httpx.Response":
    """Sign in by the forms, and send the one that makes a token."""
    from limen.services.form_client import Form, FormClient

    with FormClient(ca_file) as browser:
        browser.sign_in(
            f"{auth_url}/login",
            who,
            _answer("LIMEN_PASSWORD", "Password: "),
            lambda: _answer("LIMEN_CODE", "Code: ", hidden=False),
        )
        account = browser.get(f"{auth_url}/account")
        hidden = Form(str(account.url), account.text).hidden
        return browser.post(
            f"{auth_url}/tokens", {**hidden, "app": app, "name": name}, accept="application/json"
        )


def _answer(variable: str, prompt: str, *, hidden: bool = True) -> Secret[str]:
    value = os.environ.get(variable)
    if value:
        return Secret(value)
    if not sys.stdin.isatty():
        raise Refused(
            f"{prompt.rstrip(': ')} is missing.", remedy=f"Set {variable}, or run it in a terminal."
        )
    return Secret(getpass(prompt) if hidden else input(prompt))


def _detail(text: str, status: int) -> str:
    import json

    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The token was refused ({status})."

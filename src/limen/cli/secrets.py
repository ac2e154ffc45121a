"""`limen secret`: credentials that Limen gives to apps and providers. Set, never shown."""

import sys
from getpass import getpass

import typer

from limen.cli.output import JsonOption, ReasonOption, StateOption, connect, out, print_rows
from limen.core.errors import Invalid

app = typer.Typer(no_args_is_help=True, help="Secrets that a bundle names: set, list, remove.")


@app.command("set")
def set_secret(name: str, state: StateOption = None, reason: ReasonOption = "") -> None:
    """Store a secret, read from the terminal or from standard input; never from an argument."""
    value = getpass(f"Value of {name}: ") if sys.stdin.isatty() else sys.stdin.read().rstrip("\n")
    if not value:
        raise Invalid(f"The value of {name} is empty.", remedy="Type it, or pipe it in.")
    connect(state).put(f"/v1/secrets/{name}", {"value": value, "reason": reason})
    out.print(f"Stored {name}. It is encrypted, and will not be shown again.", markup=False)


@app.command("list")
def list_secrets(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the names of secrets."""
    rows = connect(state).get("/v1/secrets")
    print_rows(
        rows, {"NAME": "name", "SET": "set_at", "BY": "actor"}, as_json=as_json, empty="No secrets stored."
    )


@app.command()
def remove(name: str, state: StateOption = None, reason: ReasonOption = "") -> None:
    """Remove a secret."""
    connect(state).delete(f"/v1/secrets/{name}", reason=reason)
    out.print(f"Removed {name}.", markup=False)

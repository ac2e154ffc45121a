"""`limen saml`: what others are to be told of Limen, and the keys by which they know it."""

from typing import Annotated

import typer

from limen.cli.decisions import parse_duration
from limen.cli.output import (
    JsonOption,
    StateOption,
    WhyOption,
    connect,
    print_fields,
    print_json,
    print_rows,
)

app = typer.Typer(no_args_is_help=True, help="SAML: metadata to hand out, and Limen's own keys.")

KEYS = {"KEY": "kid", "MADE": "created_at", "SIGNS FROM": "active_at"}


@app.command()
def metadata(
    provider: Annotated[
        str, typer.Argument(help="An identity provider of the bundle. Left out: what apps are told.")
    ] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print Limen's metadata: for apps that people sign in to, or for a provider that they come from."""
    found = connect(state).get("/v1/saml/metadata", provider=provider or None)
    if as_json:
        print_json(found)
    else:
        typer.echo(found["metadata"], nl=False)


@app.command("keys")
def list_keys(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the key that signs, and those that will."""
    print_rows(connect(state).get("/v1/saml/keys"), KEYS, as_json=as_json, empty="There is no key yet.")


@app.command()
def rotate(
    reason: WhyOption,
    after: Annotated[
        str, typer.Option(help="When it begins to sign; all who trust Limen know it then.")
    ] = "14d",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the next key: it is in the metadata at once, and signs later."""
    body = {"reason": reason, "after_s": parse_duration(after, "--after")}
    made = connect(state).post("/v1/saml/keys", body)
    if as_json:
        print_json(made)
    else:
        print_fields({word: made[key] for word, key in KEYS.items()}, as_json=False)
        typer.echo("Hand out the new metadata: limen saml metadata")

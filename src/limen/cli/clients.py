"""`limen client`: apps elsewhere that people sign in to through Limen, and the keys that sign for them."""

import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

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
from limen.core.errors import Invalid

app = typer.Typer(no_args_is_help=True, help="Clients: apps that people sign in to through Limen.")

NameArgument = Annotated[str, typer.Argument(help="The client's name, its client_id.")]
PersonOption = Annotated[str | None, typer.Option("--user", help="Of one person.")]

COLUMNS = {
    "CLIENT": "name",
    "SPEAKS": "speaks",
    "OWNER": "owner",
    "ALLOW": "allow",
    "SIGNED IN": "signed_in",
    "UNTOLD LOGOUTS": "untold_logouts",
}
SESSIONS = {
    "CLIENT": "client",
    "PERSON": "person",
    "SINCE": "created_at",
    "UNTIL": "expires_at",
    "SCOPES": "scopes",
    "BOUND": "bound_to_key",
    "SESSION": "session",
}
KEYS = {
    "KEY": "kid",
    "ALG": "alg",
    "MADE": "created_at",
    "SIGNS FROM": "active_at",
    "RETIRED": "retired_at",
}
SECRET_BYTES = 32


@app.command()
def add(
    name: NameArgument,
    redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Where codes may go; repeat for more.")
    ] = None,
    allow: Annotated[list[str] | None, typer.Option(help="group:NAME or user:NAME; repeat for more.")] = None,
    device: Annotated[
        bool, typer.Option("--device", help="It has no browser: people confirm a code elsewhere.")
    ] = False,
    auth: Annotated[str, typer.Option(help="none, secret or private_key_jwt.")] = "none",
    jwks_uri: Annotated[str | None, typer.Option(help="Where it publishes its keys.")] = None,
    jwks: Annotated[str | None, typer.Option(help="Its keys, a .json file of the bundle.")] = None,
    post_logout_redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Where people go on to after signing out.")
    ] = None,
    backchannel_logout_uri: Annotated[str | None, typer.Option(help="Where logout tokens go.")] = None,
    frontchannel_logout_uri: Annotated[
        str | None, typer.Option(help="Loaded in the browser that signs out.")
    ] = None,
    saml_metadata: Annotated[
        Path | None, typer.Option(help="It speaks SAML: its metadata, which is put into the bundle.")
    ] = None,
    audience: Annotated[str | None, typer.Option(help="It is an API: the `aud` of tokens for it.")] = None,
    title: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    url: Annotated[str | None, typer.Option(help="Where my apps lead to.")] = None,
    owner: Annotated[str | None, typer.Option(help="The person who answers for it.")] = None,
    folder: Annotated[Path | None, typer.Option(help="The bundle's folder. Else this one, or above.")] = None,
) -> None:
    """Add a client and who may sign in there to the bundle, and show the difference."""
    from limen.cli.start import edit_bundle
    from limen.engine.protect import add_client

    if not (redirect_uri or device) and audience is None and saml_metadata is None:
        raise Invalid(
            "client add: say --redirect-uri, --device, --saml-metadata, or --audience for an API.",
            remedy="`limen client add grafana --redirect-uri https://grafana.example/login/generic_oauth`.",
        )
    oidc = {
        "redirect_uris": redirect_uri,
        "grants": _grants(codes=bool(redirect_uri)) if device else None,
        "post_logout_redirect_uris": post_logout_redirect_uri,
        "auth": auth if auth != "none" else None,
        "secret": name if auth == "secret" else None,
        "jwks": jwks,
        "jwks_uri": jwks_uri,
        "backchannel_logout_uri": backchannel_logout_uri,
        "frontchannel_logout_uri": frontchannel_logout_uri,
    }
    said: dict[str, Any] = {"title": title, "url": url, "owner": owner, "audience": audience}
    said["oidc"] = {key: value for key, value in oidc.items() if value} if redirect_uri or device else None
    said["saml"] = {"metadata": f"{name}.xml"} if saml_metadata is not None else None
    kept = {key: value for key, value in said.items() if value}
    more = {} if saml_metadata is None else {f"{name}.xml": _read(saml_metadata)}
    catalogue = edit_bundle(
        folder, lambda text: add_client(text, name=name, said=kept, allow=tuple(allow or ())), more
    )
    out.print(f"\n{name} is a client of {catalogue.domain}. Serve it: `limen policy apply`.", markup=False)
    if auth == "secret":
        out.print(f"Then make its secret: `limen client secret {name}`.", markup=False)
    if saml_metadata is not None:
        out.print("What it must be told: `limen saml metadata`.", markup=False)
    else:
        out.print(f"What it must be told: `limen client show {name}`.", markup=False)
    if not allow:
        out.print("Nobody may sign in yet: add --allow, or write a policy.", markup=False)


def _grants(*, codes: bool) -> list[str]:
    """Return the grants of a client that has the device flow, beside codes or alone."""
    return [*(["authorization_code"] if codes else []), "device_code", "refresh_token"]


@app.command("list")
def list_clients(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List clients: what they speak, who may sign in, how many have."""
    rows = connect(state).get("/v1/clients")
    print_rows(rows, COLUMNS, as_json=as_json, empty="There is no client. Add one: limen client add NAME")


@app.command()
def show(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show a client, and what its own configuration must be told of this issuer."""
    print_fields(connect(state).get(f"/v1/clients/{name}"), as_json=as_json)


@app.command()
def secret(
    name: NameArgument,
    stored: Annotated[
        str | None, typer.Option(help="Which of its stored secrets. Else the first that the bundle names.")
    ] = None,
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a new secret of a client, and print it: this once.

    To replace one without a gap, let `secret:` in the bundle name two, and make the other one.
    """
    api = connect(state)
    names = api.get(f"/v1/clients/{name}").get("secrets", [])
    chosen = stored or (names[0] if names else None)
    if chosen is None or chosen not in names:
        raise Invalid(
            f"{name} has no such secret in the bundle in force.",
            remedy="Say `auth: secret` and `secret: NAME` there, then `limen policy apply`.",
        )
    value = secrets.token_urlsafe(SECRET_BYTES)
    api.put(f"/v1/secrets/{chosen}", {"value": value, "reason": reason})
    if as_json:
        print_json({"client": name, "stored": chosen, "secret": value})
    else:
        out.print(value, markup=False)


@app.command()
def sessions(
    name: Annotated[str | None, typer.Argument(help="Of one client.")] = None,
    user: PersonOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who is signed in where."""
    rows = connect(state).get("/v1/client-sessions", client=name, person=user)
    print_rows(rows, SESSIONS, as_json=as_json, empty="Nobody is signed in there.")


@app.command()
def end(
    name: NameArgument,
    reason: WhyOption,
    user: PersonOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End sign-ins at a client, of one person or of all: tokens, and the client's own sessions."""
    ended = connect(state).post(f"/v1/clients/{name}/end", {"person": user, "reason": reason})
    if as_json:
        print_json(ended)
    else:
        out.print(f"Ended {ended['ended']} at {name}.", markup=False)


@app.command()
def keys(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the keys that sign tokens."""
    rows = connect(state).get("/v1/signing-keys")
    print_rows(rows, KEYS, as_json=as_json, empty="No key yet: the first token makes one.")


@app.command("rotate-keys")
def rotate_keys(
    reason: WhyOption,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Believe nothing any more that the old keys have signed.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make new signing keys: published now, signing in a day. Limen does this by itself each quarter."""
    made = connect(state).post("/v1/signing-keys/rotate", {"compromised": compromised, "reason": reason})
    print_rows(
        made,
        {"KEY": "kid", "ALG": "alg", "SIGNS FROM": "active_at"},
        as_json=as_json,
        empty="There was none.",
    )


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(
            f"{file} cannot be read.", remedy="Name the app's SAML metadata, an XML file."
        ) from error

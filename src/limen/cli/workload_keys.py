"""`limen workload key`, `secret` and sessions: what a workload proves itself by, and what it got by that."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from limen.cli.decisions import parse_duration
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

key_app = typer.Typer(no_args_is_help=True, help="Keys by which a workload proves itself.")
secret_app = typer.Typer(no_args_is_help=True, help="Shared secrets, where the bundle allows them.")

NameArgument = Annotated[str, typer.Argument(help="The workload's name.")]
LabelOption = Annotated[str, typer.Option("--name", help="What it is for.")]

KEYS = {
    "KEY": "id",
    "KIND": "kind",
    "NAME": "name",
    "MADE": "created_at",
    "EXPIRES": "expires_at",
    "USED": "used_at",
    "BY": "actor",
}
SESSIONS = {
    "SESSION": "id",
    "PROVEN BY": "methods",
    "AS": "about",
    "FOR": "apps",
    "BEGAN": "started_at",
    "EXPIRES": "expires_at",
    "FROM": "ip",
}


@key_app.command("new")
def new_key(
    name: NameArgument,
    file: Annotated[Path, typer.Option("--out", help="A new file for the private key, a JWK.")],
    label: LabelOption = "",
    expires: Annotated[str, typer.Option(help="How long it counts: 90d; at most 366d.")] = "180d",
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a key here, keep its private half in a new file, and register the public one."""
    from joserfc.jwk import ECKey

    from limen.journal.private_file import create_private

    key = ECKey.generate_key("P-256", private=True)
    named = {"kid": key.thumbprint(), "alg": "ES256", "use": "sig"}
    create_private(file, json.dumps(key.as_dict(private=True) | named).encode())
    _register(name, key.as_dict(private=False) | named, label, expires, state, reason, as_json)


@key_app.command("add")
def add_key(
    name: NameArgument,
    file: Annotated[Path, typer.Option("--jwk", help="The public half, a JSON Web Key.")],
    label: LabelOption = "",
    expires: Annotated[str, typer.Option(help="How long it counts: 90d; at most 366d.")] = "180d",
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Register the public half of a key that the workload has made for itself."""
    try:
        jwk = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise Invalid(f"--jwk: {file} holds no JSON.", remedy="Write the public key as a JWK.") from error
    if not isinstance(jwk, dict):
        raise Invalid("--jwk: it is no JSON object.", remedy="Write the public key as a JWK.")
    _register(name, jwk, label, expires, state, reason, as_json)


def _register(
    name: str,
    jwk: dict[str, Any],
    label: str,
    expires: str,
    state: Path | None,
    reason: str,
    as_json: bool,
) -> None:
    body = {"jwk": jwk, "name": label, "expires_s": parse_duration(expires, "--expires"), "reason": reason}
    made = connect(state).post(f"/v1/workloads/{name}/keys", body)
    print_fields(made, as_json=as_json)


@key_app.command("list")
def list_keys(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List a workload's keys and secrets: when made, when used, when over."""
    rows = connect(state).get(f"/v1/workloads/{name}/keys")
    print_rows(rows, KEYS, as_json=as_json, empty=f"{name} has no key.")


@key_app.command("remove")
def remove_key(
    key: Annotated[str, typer.Argument(help="The id that `limen workload key list` shows.")],
    reason: WhyOption,
    state: StateOption = None,
) -> None:
    """End a key or a secret now, with its workload's sessions."""
    connect(state).delete(f"/v1/workload-keys/{key}", reason=reason)
    out.print(f"{key} is removed, and the sessions of its workload are over.", markup=False)


@secret_app.command("new")
def new_secret(
    name: NameArgument,
    label: LabelOption = "",
    expires: Annotated[str, typer.Option(help="How long it counts: 30d; at most 90d.")] = "30d",
    overlap: Annotated[str, typer.Option(help="How long the one before it still counts: 1h.")] = "0m",
    state: StateOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a shared secret, and print it: this once. The bundle must allow it (`machines.secrets`)."""
    body = {
        "name": label,
        "expires_s": parse_duration(expires, "--expires"),
        "overlap_s": parse_duration(overlap, "--overlap"),
        "reason": reason,
    }
    made = connect(state).post(f"/v1/workloads/{name}/secrets", body)
    if as_json:
        print_json(made)
    else:
        out.print(made["secret"], markup=False)


def sessions(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List what a workload has got by proving itself: its sessions, and what each is good for."""
    rows = connect(state).get(f"/v1/workloads/{name}/sessions")
    print_rows(rows, SESSIONS, as_json=as_json, empty=f"{name} has no session.")


def end_session(
    session: Annotated[str, typer.Argument(help="The id that `limen workload sessions` shows.")],
    reason: WhyOption,
    state: StateOption = None,
) -> None:
    """End a session now: its token opens nothing more, and its streams are cut."""
    connect(state).post("/v1/workload-sessions/end", {"session": session, "reason": reason})
    out.print(f"{session} is over.", markup=False)

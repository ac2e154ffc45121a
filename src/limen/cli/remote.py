"""Which system a command means when it is not on this machine: `--server`, and the token that goes with it.

A token is never an argument: every program of the machine can read those. Where none is given, it is that of
`limen login` at that server: a person's.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from limen.core.errors import Invalid, NotFound, Refused
from limen.core.secret import Secret

if TYPE_CHECKING:
    from limen.api.client import AdminClient

TOKEN_FILE_MAX = 4_096  # bytes


class Choice(msgspec.Struct):
    """What this call of the program was told before its command."""

    server: str | None = None
    ca_file: Path | None = None


_choice = Choice()


def choose(server: str | None, ca_file: Path | None) -> None:
    """Note what stands before the command."""
    _choice.server, _choice.ca_file = server, ca_file


def chosen(state: Path | None) -> "AdminClient | None":
    """Return a client of the system elsewhere that was named; None when one of this machine is meant.

    Raises:
        Invalid: the address is not one, or both a server and a folder were named.
        Refused: there is no token.
    """
    if _choice.server is not None and state is not None:
        raise Invalid("--server and --state: name one of the two.", remedy="A folder is of this machine.")
    server = _choice.server or (os.environ.get("LIMEN_SERVER") if state is None else None)
    if not server:
        return None
    from limen.api.client import AdminClient
    from limen.services.form_client import verified_transport

    origin = parse_origin(server)
    ca_file = _choice.ca_file or _path("LIMEN_CA_FILE")
    if not (os.environ.get("LIMEN_TOKEN") or os.environ.get("LIMEN_TOKEN_FILE")):
        place, token, kept_ca = logged_in(origin)
        return AdminClient.remote(place, token, verified_transport(ca_file or kept_ca))
    return AdminClient.remote(origin, read_token(), verified_transport(ca_file))


def logged_in(origin: str) -> tuple[str, Secret[str], Path | None]:
    """Return where somebody logged in that a server means, their token, and the private CA trusted there.

    The token goes to where it came from: `https://corp.example` stands for its sign-in host.

    Raises:
        Refused: nobody is logged in there on this machine.
    """
    from limen.connect.login import Client

    client = Client()
    try:
        profile = client.profiles.find(origin)
    except NotFound:
        raise Refused(
            "No token was given, and you are not logged in there.",
            remedy=f"Run: limen login {origin}. A program sets LIMEN_TOKEN or LIMEN_TOKEN_FILE.",
            code="NO_TOKEN",
        ) from None
    return profile.place.origin, client.token(profile), client.ca_of(profile)


def parse_origin(text: str) -> str:
    """Return `https://host[:port]`.

    Raises:
        Invalid: anything else: a token would go where it does not belong.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _no_origin(text) from None
    bare = parts.scheme == "https" and parts.hostname and parts.path in ("", "/")
    if not bare or parts.query or parts.fragment or "@" in parts.netloc:
        raise _no_origin(text)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"https://{host}" + (f":{port}" if port else "")


def read_token() -> Secret[str]:
    """Return the token of `LIMEN_TOKEN`, or of the file that `LIMEN_TOKEN_FILE` names.

    Raises:
        Refused: there is none.
        Invalid: the file is too large to be one.
    """
    file = _path("LIMEN_TOKEN_FILE")
    text = os.environ.get("LIMEN_TOKEN", "")
    if not text and file is not None:
        with file.open("rb") as handle:
            raw = handle.read(TOKEN_FILE_MAX + 1)
        text = raw.decode("utf-8", "replace") if len(raw) <= TOKEN_FILE_MAX else "\n"
    text = text.strip()
    if not text:
        raise Refused(
            "No token was given.",
            remedy="Set LIMEN_TOKEN or LIMEN_TOKEN_FILE; `limen workload token NAME` makes one.",
            code="NO_TOKEN",
        )
    if not text.isascii() or not text.isprintable() or " " in text:
        raise Invalid("LIMEN_TOKEN holds no token.", remedy="Copy it as `limen workload token` printed it.")
    return Secret(text)


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _no_origin(text: str) -> Invalid:
    return Invalid(f"--server: '{text[:200]}' is no https address.", remedy="Write https://auth.DOMAIN.")

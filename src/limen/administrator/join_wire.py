"""How a gateway joins: what the token holds, and the lines of the exchange, all over TLS 1.3.

1. The gateway connects without trust and asks for the CA (`fetch_ca`): nothing secret is said.
2. It compares the CA with the fingerprint in its token, connects again, and now verifies control.
3. It sends the token's one-time secret, a request for its certificate, and the public key of its identity
   assertions (`join`); control answers with what a gateway needs (`welcome`), or with `bye`.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from limen.administrator.feed_wire import Bye
from limen.core import base64url
from limen.core.errors import Invalid
from limen.core.secret import Secret

TOKEN_FORM = "lj1."  # noqa: S105  # a prefix
TOKEN_LENGTH_MAX = 4096
SECRET_BYTES = 32


class JoinToken(msgspec.Struct, frozen=True):
    """What an operator carries from control to a new gateway.

    Attributes:
        controls: `host:port` of control nodes, the first to be tried first.
        ca: SHA-256 of the CA's certificate, hex.
        secret: works once; control keeps its hash alone.
    """

    node: str
    controls: tuple[str, ...]
    ca: str
    secret: str

    def __repr__(self) -> str:
        return f"JoinToken({self.node!r}, •••)"


class FetchCa(msgspec.Struct, frozen=True, tag="fetch_ca"):
    """Asks for the CA's certificate."""


class Join(msgspec.Struct, frozen=True, tag="join"):
    """Asks to be the gateway `node`."""

    node: str
    secret: str
    csr: str
    assertion_jwk: Mapping[str, Any]
    release: str = ""


class CaIs(msgspec.Struct, frozen=True, tag="ca_is"):
    """The CA's certificate, PEM. Believed only with the token's fingerprint."""

    ca: str


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """What a gateway needs. The keys are base64, and leave control for gateways alone.

    Attributes:
        token_key: the MAC of session tokens (law F4).
        app_secret_key: opens the app secrets that gateways inject.
        journal: what its journals are called, as control keeps copies of them; empty is the node's name.
    """

    node: str
    domain: str
    chain: str
    ca: str
    token_key: str
    app_secret_key: str
    journal: str = ""

    def __repr__(self) -> str:
        return f"Welcome({self.node!r}, •••)"


_from_joiner: msgspec.json.Decoder[FetchCa | Join] = msgspec.json.Decoder(FetchCa | Join)
_to_joiner: msgspec.json.Decoder[CaIs | Welcome | Bye] = msgspec.json.Decoder(CaIs | Welcome | Bye)


def parse_from_joiner(line: bytes) -> FetchCa | Join:
    """Parse the one line of who has no certificate yet.

    Raises:
        Invalid: it is none of ours.
    """
    try:
        return _from_joiner.decode(line)
    except msgspec.MsgspecError:
        raise Invalid(
            "Only a request to join is answered without a certificate.",
            remedy="Join this gateway first.",
            code="JOIN_INVALID",
        ) from None


def parse_to_joiner(line: bytes) -> CaIs | Welcome | Bye:
    """Parse control's answer.

    Raises:
        Invalid: it is none.
    """
    try:
        return _to_joiner.decode(line)
    except msgspec.MsgspecError:
        raise Invalid(
            "What answers there is no control of Limen.", remedy="Check --control.", code="JOIN_INVALID"
        ) from None


def render_token(token: JoinToken) -> Secret[str]:
    """Return the one string that an operator carries."""
    body = base64url.encode(msgspec.json.encode(token))
    return Secret(TOKEN_FORM + body)


def parse_token(text: str) -> JoinToken:
    """Parse what an operator pasted.

    Raises:
        Invalid: not a join token, or not all of one.
    """
    body = text.strip().removeprefix(TOKEN_FORM)
    try:
        if not text.strip().startswith(TOKEN_FORM) or len(text) > TOKEN_LENGTH_MAX:
            raise ValueError
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=JoinToken)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise Invalid(
            "This is not a join token.",
            remedy="Paste the whole line that `limen gateway token` printed.",
            code="JOIN_INVALID",
        ) from None


def parse_address(text: str, field: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6]:port`.

    Raises:
        Invalid: not of that form.
    """
    host, _, port = text.strip().rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    # The console answers on the port after it, so the last port of all cannot be taken.
    if not bare or (":" in bare) != host.startswith("[") or not port.isdecimal() or not 0 < int(port) < 65535:
        raise Invalid(f"{field}: '{text[:100]}' is not HOST:PORT.", remedy="Write control.example.org:9443.")
    return bare, int(port)

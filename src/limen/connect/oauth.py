"""Control's OAuth endpoints, as the public client `limen-connect`.

Source: RFC 8414 (discovery), RFC 6749 §5, RFC 7636 (PKCE), RFC 8628 (device flow), RFC 7009 (revocation),
RFC 9207 (`iss`).
"""

import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec

from limen.connect.https import Https, parse_reply, read_object
from limen.connect.plain import plain
from limen.core import base64url
from limen.core.errors import Refused, Unavailable
from limen.core.secret import Secret

CLIENT_ID = "limen-connect"
DISCOVERY_PATH = "/.well-known/oauth-authorization-server"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
POLL_DEFAULT_S = 5.0  # RFC 8628 §3.2
SLOW_DOWN_S = 5.0  # RFC 8628 §3.5
POLL_MAX_S = 60.0
DEVICE_MAX_S = 1_800.0


class Metadata(msgspec.Struct, frozen=True):
    """What discovery says, checked: every endpoint is a path of the issuer's own origin."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    device_authorization_endpoint: str
    revocation_endpoint: str
    limen_services_endpoint: str
    code_challenge_methods_supported: tuple[str, ...] = ()


class Grant(NamedTuple):
    """A token, and until when it opens anything."""

    token: Secret[str]
    expires_at: float


class TokenAnswer(msgspec.Struct, frozen=True):
    """RFC 6749 §5.1."""

    access_token: str
    token_type: str
    expires_in: float


class DeviceAnswer(msgspec.Struct, frozen=True):
    """RFC 8628 §3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: float
    verification_uri_complete: str = ""
    interval: float = POLL_DEFAULT_S


class Service(msgspec.Struct, frozen=True):
    """One service, and whether this person may open it now; None if that is not known."""

    name: str
    host: str = ""
    port: int = 443
    protocol: str = "tcp"
    may: bool | None = None
    why: str = ""


class Account(msgspec.Struct, frozen=True):
    """Whose token it is, and what there is."""

    person: str
    expires_at: float
    services: tuple[Service, ...] = ()


class Proof(NamedTuple):
    """PKCE: what proves that the one who asked is the one who takes the token."""

    verifier: Secret[str]
    challenge: str


def make_proof() -> Proof:
    """Return a fresh verifier with its S256 challenge (RFC 7636 §4)."""
    verifier = secrets.token_urlsafe(32)
    return Proof(Secret(verifier), base64url.sha256(verifier))


class OAuth:
    """One organisation's sign-in, discovered."""

    def __init__(self, https: Https, metadata: Metadata) -> None:
        self._https = https
        self.metadata = metadata

    @classmethod
    def discover(cls, https: Https) -> "OAuth":
        """Ask a host for its endpoints.

        Raises:
            Unavailable: it is no sign-in of Limen.
            Refused: it speaks for another issuer, or sends elsewhere (RFC 8414 §3.3, RFC 9700 §4.4).
        """
        reply = https.get(DISCOVERY_PATH)
        if reply.status != 200:
            raise Unavailable(
                f"{https.place} is no sign-in of Limen ({reply.status}).", remedy="Check the address."
            )
        metadata = parse_reply(reply, Metadata, https.place)
        origin = https.place.origin
        endpoints = (getattr(metadata, name) for name in metadata.__struct_fields__ if "endpoint" in name)
        if metadata.issuer.rstrip("/") != origin or not all(_same_origin(url, origin) for url in endpoints):
            raise Refused(
                f"{https.place} names another host for signing in.",
                remedy="Do not go on; tell whoever runs it.",
                code="ISSUER_MISMATCH",
            )
        if "S256" not in metadata.code_challenge_methods_supported:
            raise Refused(f"{https.place} does not support PKCE.", remedy="It needs an update.")
        return cls(https, metadata)

    def authorization_url(self, redirect_uri: str, state: str, proof: Proof, need: str = "") -> str:
        """Return where the browser goes. `need` is what the sign-in must achieve, a remedy's id."""
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": proof.challenge,
            "code_challenge_method": "S256",
            **({"need": need} if need else {}),
        }
        return f"{self.metadata.authorization_endpoint}?{urlencode(query)}"

    def redeem(self, code: Secret[str], redirect_uri: str, proof: Proof) -> Grant:
        """Exchange the code for a token.

        Raises:
            Refused: the code is not good.
        """
        fields = {
            "grant_type": "authorization_code",
            "code": code.reveal(),
            "redirect_uri": redirect_uri,
            "client_id": CLIENT_ID,
            "code_verifier": proof.verifier.reveal(),
        }
        granted = self._token(fields)
        if isinstance(granted, Grant):
            return granted
        raise Refused(_said(granted, "The sign-in was refused."), remedy="Log in again.")

    def start_device(self, client_name: str) -> DeviceAnswer:
        """Begin a device flow.

        Raises:
            Refused: it is not allowed, or sends people to another host.
        """
        fields = {"client_id": CLIENT_ID, "client_name": client_name}
        reply = self._https.post(_path(self.metadata.device_authorization_endpoint), fields)
        if reply.status != 200:
            raise Refused(_said(read_object(reply.body), "No code is given now."), remedy="Try again later.")
        answer = parse_reply(reply, DeviceAnswer, self._https.place)
        if not _same_origin(answer.verification_uri, self._https.place.origin):
            raise Refused("The code is for another host.", remedy="Do not go on.", code="ISSUER_MISMATCH")
        return answer

    def poll_device(
        self,
        answer: DeviceAnswer,
        *,
        sleep: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> Grant:
        """Wait until the person has confirmed the code.

        Raises:
            Refused: the person said no, or the time is over.
        """
        deadline = now() + min(answer.expires_in, DEVICE_MAX_S)
        wait_s = min(max(answer.interval, 1.0), POLL_MAX_S)
        fields = {"grant_type": DEVICE_GRANT, "device_code": answer.device_code, "client_id": CLIENT_ID}
        while now() + wait_s < deadline:
            sleep(wait_s)
            try:
                granted = self._token(fields)
            except Unavailable:  # RFC 8628 §3.5: back off when the connection fails
                wait_s = min(wait_s * 2, POLL_MAX_S)
                continue
            if isinstance(granted, Grant):
                return granted
            error = granted.get("error")
            if error == "slow_down":
                wait_s = min(wait_s + SLOW_DOWN_S, POLL_MAX_S)
            elif error != "authorization_pending":
                raise Refused(_said(granted, "The sign-in was refused."), remedy="Log in again.")
        raise Refused("The code was not confirmed in time.", remedy="Log in again.")

    def account(self, token: Secret[str]) -> Account:
        """Return whose token it is, and which services there are.

        Raises:
            Refused: the token opens nothing any more.
            Unavailable: control does not answer.
        """
        reply = self._https.get(_path(self.metadata.limen_services_endpoint), token)
        if reply.status == 401:
            raise Refused("Your sign-in has ended.", remedy="Log in again.", code="SIGNED_OUT")
        if reply.status != 200:
            raise Unavailable(f"{self._https.place} answers {reply.status}.", remedy="Try again in a moment.")
        return parse_reply(reply, Account, self._https.place)

    def revoke(self, token: Secret[str]) -> None:
        """End the token's session (RFC 7009).

        Raises:
            Unavailable: control did not do it.
        """
        fields = {"token": token.reveal(), "client_id": CLIENT_ID}
        reply = self._https.post(_path(self.metadata.revocation_endpoint), fields)
        if reply.status != 200:
            raise Unavailable(f"{self._https.place} answers {reply.status}.", remedy="Try again.")

    def _token(self, fields: dict[str, str]) -> Grant | dict[str, Any]:
        """Ask for a token; return it, or the error document."""
        reply = self._https.post(_path(self.metadata.token_endpoint), fields)
        if reply.status >= 500:
            raise Unavailable(f"{self._https.place} answers {reply.status}.", remedy="Try again.")
        if reply.status != 200:
            return read_object(reply.body)
        answer = parse_reply(reply, TokenAnswer, self._https.place)
        usable = answer.token_type.lower() == "bearer" and answer.access_token.isascii()
        if not usable or not answer.access_token.isprintable() or not answer.access_token:
            raise Unavailable("The token that was given is none.", remedy="Log in again.")
        return Grant(Secret(answer.access_token), time.time() + answer.expires_in)


def _same_origin(url: str, origin: str) -> bool:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower().removesuffix(":443") == origin


def _path(url: str) -> str:
    return urlsplit(url).path


def _said(document: dict[str, Any], otherwise: str) -> str:
    if document.get("error") == "access_denied":
        return "The sign-in was declined."
    return plain(document.get("error_description")) or otherwise

"""Who a client is: proven by nothing but PKCE, by a stored secret, or by a key of its own.

Laws:
    W1 one way. A client proves itself in the way that the bundle says, and in one way at a time (RFC 6749
       section 2.3); whoever sends nothing is a public client or nobody.
    W2 one answer. A client that is not known and one that proves nothing are told the same.

Source: RFC 6749 section 2.3, RFC 7521, RFC 7523, RFC 9449 section 5.
"""

import base64
import binascii
import hashlib
import hmac
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

import httpx
import msgspec

from limen.administrator.desk import Desk
from limen.administrator.oauth.values import OAuthRefused, TokenRequest
from limen.core.client_config import ClientConfig, OidcClient
from limen.core.errors import LimenError, Unavailable
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.information.identity import client_assertion, dpop, throttle
from limen.information.identity.jwks import KeyRing, TokenInvalid
from limen.information.identity.provider_http import ProviderHttp
from limen.store import sign_ins
from limen.store.spent import spend_once

WRONG_SECRETS = throttle.Limit(burst=20, interval_s=30)  # of one client, from one address
NOTED_EVERY_S = 60.0  # strangers may fail as often as they like; the journal hears of it once a minute


class Client(msgspec.Struct, frozen=True):
    """A client that has proven itself, as far as it must. Only `Clients.identify` makes one."""

    config: ClientConfig
    oidc: OidcClient

    @property
    def name(self) -> str:
        """Its `client_id`."""
        return self.config.name

    @property
    def public(self) -> bool:
        """Whether it has nothing to prove itself with."""
        return self.oidc.auth == "none"


class _Given(msgspec.Struct, frozen=True):
    """What a request says of its sender."""

    client: str
    way: str
    proof: str = ""


class Clients:
    """Identifies clients. Threads may share it.

    Args:
        secret: reads a stored secret by its name.
        transport: how clients' key sets are fetched; None is the network.
    """

    def __init__(
        self,
        desk: Desk,
        secret: Callable[[str], Secret[str]],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._desk = desk
        self._secret = secret
        self._transport = transport
        self._rings: dict[tuple[str, str | None, str | None, str | None], KeyRing] = {}
        self._lock = threading.Lock()
        self._noted: dict[str, Instant] = {}

    def identify(self, request: TokenRequest) -> Client:
        """Return who sends a request.

        Raises:
            OAuthRefused: `invalid_client`, whatever the reason (law W2).
        """
        given = _read(request)
        config = self._desk.catalogue().clients.get(given.client)
        try:
            if config is None or config.oidc is None:
                raise TokenInvalid("there is no such client")
            if given.way != config.oidc.auth:
                raise TokenInvalid(f"it proves itself by {given.way}, and not by {config.oidc.auth}")
            if given.way == "secret":
                self._check_secret(config.oidc, given, request.ip)
            elif given.way == "private_key_jwt":
                self._check_assertion(config.oidc, given, request.url)
        except TokenInvalid as error:
            self._note(given.client if config is not None else "", error.message, request.ip)
            raise _refused(request) from None
        assert config is not None and config.oidc is not None, "checked above"
        return Client(config, config.oidc)

    def prove_key(self, client: Client, request: TokenRequest) -> str:
        """Return the thumbprint of the key that a token is to be bound to; empty for none (RFC 9449).

        Raises:
            OAuthRefused: `invalid_dpop_proof`.
        """
        if not request.dpop:
            if client.oidc.dpop:
                raise OAuthRefused("invalid_dpop_proof", "This client proves a key with each request.")
            return ""
        return self.verify_proof(request)

    def verify_proof(self, request: TokenRequest, access_token: str | None = None) -> str:
        """Return the thumbprint of the key that a request shows.

        Raises:
            OAuthRefused: `invalid_dpop_proof`.
        """
        now = self._desk.clock.now()
        try:
            return dpop.verify_proof(
                request.dpop,
                request.method,
                request.url,
                now=now,
                spend=self.spend,
                access_token=access_token,
            )
        except TokenInvalid as error:
            raise OAuthRefused(
                "invalid_dpop_proof", f"The DPoP proof is not good: {error.message}."
            ) from None

    def spend(self, kind: str, value: str, expires_at: Instant) -> bool:
        """Use what may be used once; return whether it was unused."""
        with self._desk.ledger.store.transaction("limen", f"use a {kind.partition(':')[0]} once") as tx:
            return spend_once(tx.connection, kind, value, expires_at)

    # --- ways to prove it --------------------------------------------------------------------------

    def _check_secret(self, oidc: OidcClient, given: _Given, ip: str) -> None:
        bucket = f"client:{given.client}:{throttle.address_network(ip)}"
        now = self._desk.clock.now()
        with self._desk.ledger.store.read() as connection:
            known = sign_ins.load_buckets(connection, [bucket])
        if isinstance(throttle.take(WRONG_SECRETS, known.get(bucket), now), throttle.Wait):
            raise TokenInvalid("too many wrong secrets were tried")
        sent = hashlib.sha256(given.proof.encode()).digest()
        good = False
        for name in oidc.secrets:
            try:
                stored = self._secret(name).reveal()
            except LimenError:
                continue  # not set yet, or removed already: the other one counts
            good |= hmac.compare_digest(hashlib.sha256(stored.encode()).digest(), sent)
        if not good:
            with self._desk.ledger.store.transaction("limen", "a wrong client secret") as tx:
                self._desk.charge(tx.connection, ((bucket, WRONG_SECRETS),))
            raise TokenInvalid("its secret is wrong")

    def _check_assertion(self, oidc: OidcClient, given: _Given, url: str) -> None:
        issuer = self._desk.auth_origin
        audiences = {issuer, url, f"{issuer}/oauth2/token"}
        now = self._desk.clock.now()
        try:
            ring = self._ring(given.client, oidc)
            client_assertion.verify(
                given.proof, ring, given.client, audiences=audiences, now=now, spend=self.spend
            )
        except Unavailable as error:
            raise TokenInvalid(f"its keys cannot be had: {error.message}") from None

    def _ring(self, name: str, oidc: OidcClient) -> KeyRing:
        """Return a client's keys; those of a client that was configured anew are read anew."""
        key = (name, oidc.jwks, oidc.jwks_uri, oidc.ca_pem)
        with self._lock:
            found = self._rings.get(key)
            if found is None:
                self._rings = {k: ring for k, ring in self._rings.items() if k[0] != name}
                found = self._rings[key] = KeyRing(self._fetch(name, oidc))
            return found

    def _fetch(self, name: str, oidc: OidcClient) -> Callable[[], Mapping[str, Any]]:
        uri, jwks = oidc.jwks_uri, oidc.jwks
        if uri is not None:
            http = ProviderHttp(name, oidc.ca_pem, self._transport)
            return lambda: http.get_json(uri)
        return lambda: _parse_jwks(jwks)

    def _note(self, client: str, why: str, ip: str) -> None:
        """Tell the operator, of each client once a minute."""
        now = self._desk.clock.now()
        with self._lock:
            if now - self._noted.get(client, float("-inf")) < NOTED_EVERY_S:
                return
            self._noted[client] = now
        self._desk.ledger.tell(
            "client.not_proven", actor="nobody", reason="a client's request", target=client, ip=ip, why=why
        )


def _parse_jwks(text: str | None) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        raise Unavailable(
            "The client's key set is no JSON.", remedy="Correct the file.", code="KEYS_UNAVAILABLE"
        ) from None


def _read(request: TokenRequest) -> _Given:
    """Return who sends a request, by its own word, and how it says so (law W1)."""
    form = request.form
    ways: list[_Given] = []
    scheme, _, rest = request.authorization.partition(" ")
    if scheme.lower() == "basic":
        ways.append(_read_basic(rest.strip(), request))
    if "client_secret" in form:
        ways.append(_Given(form.get("client_id", ""), "secret", form["client_secret"]))
    if "client_assertion" in form or "client_assertion_type" in form:
        if form.get("client_assertion_type") != client_assertion.JWT_BEARER:
            raise _refused(request)
        claimed = form.get("client_id") or _claimed_issuer(form.get("client_assertion", ""))
        ways.append(_Given(claimed, "private_key_jwt", form.get("client_assertion", "")))
    if len(ways) > 1:
        raise OAuthRefused("invalid_request", "A client proves itself in one way at a time.")
    found = ways[0] if ways else _Given(form.get("client_id", ""), "none")
    if form.get("client_id", found.client) != found.client:
        raise OAuthRefused("invalid_request", "`client_id` is not the client that proves itself.")
    return found


def _read_basic(text: str, request: TokenRequest) -> _Given:
    try:
        name, mark, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _refused(request) from None
    if not mark:
        raise _refused(request)
    return _Given(unquote_plus(name), "secret", unquote_plus(secret))


def _claimed_issuer(assertion: str) -> str:
    """Return whom an assertion says that it is of. Nothing of it is proven yet."""
    issuer = client_assertion.unproven_claims(assertion).get("iss")
    return issuer if isinstance(issuer, str) else ""


def _refused(request: TokenRequest) -> OAuthRefused:
    """Return the one answer (law W2); a challenge only for whoever tried `Authorization` (RFC 6749 5.2)."""
    headers = {"www-authenticate": 'Basic realm="limen"'} if request.authorization else {}
    return OAuthRefused("invalid_client", "The client is not proven.", status=401, headers=headers)

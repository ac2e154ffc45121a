"""Which workload a request is of: proven by its own key, its certificate, or a secret where that is allowed.

Laws:
    M1 one way. A workload proves itself in one way at a time (RFC 6749 section 2.3).
    M2 one answer. A workload that is not known and one that proves nothing are told the same; the cause is
       for the operator.
    M3 no secrets by default. A long-lived shared secret counts only where the bundle names its workload.

Source: RFC 7523 section 2.2, RFC 8705 section 2.1.2, RFC 6749 section 2.3.1.
"""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import unquote_plus

import msgspec

from limen.administrator.desk import Desk
from limen.administrator.oauth.values import OAuthRefused, TokenRequest
from limen.core.catalogue import Catalogue
from limen.core.ids import Instant
from limen.core.tokens import token_hash
from limen.information.identity import client_assertion
from limen.information.identity.client_assertion import Spend
from limen.information.identity.jwks import KeyRing, TokenInvalid, read_header
from limen.information.identity.svid import ClientCertificate, find_workload
from limen.store import machines
from limen.store.machines import KEY, Credential

SECRET_PREFIX = "limen_ws_"  # noqa: S105 - by which scanners for leaked secrets know one
SECRET_LENGTH_MAX = 128


class Proven(msgspec.Struct, frozen=True):
    """A workload that has proven itself.

    Attributes:
        method: what by, as policies read it in `session.methods`.
        about: the same for lists: which key, which subject elsewhere.
        credential: the id of the key or secret; empty where there is none here.
    """

    workload: str
    method: str
    about: str
    credential: str = ""


class MachineProofs:
    """Identifies workloads at the token endpoint. Threads may share it."""

    def __init__(self, desk: Desk, spend: Spend) -> None:
        self._desk = desk
        self._spend = spend

    def identify(self, request: TokenRequest) -> Proven:
        """Return the workload that a request is of.

        Raises:
            TokenInvalid: it proves nothing; says why, for the operator alone.
            OAuthRefused: it proves itself in two ways.
        """
        form = request.form
        basic = _read_basic(request.authorization)
        ways = [
            name
            for name, given in (
                ("assertion", "client_assertion" in form or "client_assertion_type" in form),
                ("secret", "client_secret" in form),
                ("basic", basic is not None),
            )
            if given
        ]
        if len(ways) > 1:
            raise OAuthRefused("invalid_request", "A workload proves itself in one way at a time.")
        if ways == ["assertion"]:
            return self._by_key(request)
        if ways:
            name, secret = basic or (form.get("client_id", ""), form["client_secret"])
            if form.get("client_id", name) != name:
                raise OAuthRefused("invalid_request", "`client_id` is not the workload that proves itself.")
            return self._by_secret(name, secret)
        return by_certificate(request, self._desk.catalogue())

    def _by_key(self, request: TokenRequest) -> Proven:
        form = request.form
        if form.get("client_assertion_type") != client_assertion.JWT_BEARER:
            raise TokenInvalid("its assertion is of a kind that is not accepted")
        assertion = form.get("client_assertion", "")
        name = form.get("client_id") or claimed_subject(assertion)
        now = self._desk.clock.now()
        with self._desk.ledger.store.read() as connection:
            held = machines.list_credentials(connection, name)
        keys = [one for one in held if one.kind == KEY and now < one.expires_at and one.public]
        if not keys:
            raise TokenInvalid("it has no key that is registered and good")
        ring = KeyRing(lambda: {"keys": [dict(one.public or {}) for one in keys]})
        issuer = self._desk.auth_origin
        audiences = {issuer, request.url, f"{issuer}/oauth2/token"}
        client_assertion.verify(assertion, ring, name, audiences=audiences, now=now, spend=self._spend)
        used = _key_of(read_header(assertion), keys)
        return Proven(name, "key", f"key {used.name or used.id}", used.id)

    def _by_secret(self, name: str, secret: str) -> Proven:
        if name not in self._desk.catalogue().sources.machines.secrets:
            raise TokenInvalid("`machines.secrets` of the bundle does not let it use a secret")
        if len(secret) > SECRET_LENGTH_MAX or not secret.startswith(SECRET_PREFIX):
            raise TokenInvalid("its secret is wrong")
        with self._desk.ledger.store.read() as connection:
            found = machines.find_secret(connection, token_hash(secret))
        if found is None or found.workload != name:
            raise TokenInvalid("its secret is wrong")
        if self._desk.clock.now() >= found.expires_at:
            raise TokenInvalid("its secret has expired")
        return Proven(name, "secret", f"secret {found.name or found.id}", found.id)


def by_certificate(request: TokenRequest, catalogue: Catalogue) -> Proven:
    """Return the workload whose X.509-SVID a request's connection showed (RFC 8705 section 2.1.2).

    Raises:
        TokenInvalid: it showed none, or one that is nobody's here.
    """
    if not request.x5t:
        raise TokenInvalid("it brings no assertion, no certificate and no secret")
    shown = ClientCertificate(request.san_uris, "", Instant(0), Instant(0))
    name = find_workload(shown, catalogue.sources.machines.spiffe)
    if name is None:
        raise TokenInvalid("its certificate is of no workload of the bundle")
    if request.form.get("client_id", name) != name:
        raise TokenInvalid("its certificate is of another workload")
    return Proven(name, "svid", request.san_uris[0])


def claimed_subject(assertion: str) -> str:
    """Return whom an assertion says that it is of; empty for nobody. Nothing of it is proven yet."""
    value = client_assertion.unproven_claims(assertion).get("sub")
    return value if isinstance(value, str) else ""


def _key_of(header: Mapping[str, object], keys: list[Credential]) -> Credential:
    kid = header.get("kid")
    return next((one for one in keys if (one.public or {}).get("kid") == kid), keys[0])


def _read_basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, mark, secret = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise TokenInvalid("its Authorization header cannot be read") from None
    return (unquote_plus(name), unquote_plus(secret)) if mark else None

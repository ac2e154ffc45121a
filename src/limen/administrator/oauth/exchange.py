"""Tokens of other issuers, exchanged for ours: of CI, of Kubernetes (RFC 8693).

Laws:
    E1 one issuer, one audience. A token counts if its `iss` is one of the bundle's, its signature that
       issuer's, and its audience the one that the bundle says, and no other beside it: whoever else it is for
       could bring it here.
    E2 no laundering. What we issued ourselves is not exchanged, nor is one kind of token taken for another.
    E3 one workload. A token is of the one workload whose rules its claims meet; of several one must be named.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import msgspec

from limen.administrator.desk import Desk
from limen.administrator.oauth.machine_proofs import Proven
from limen.administrator.oauth.values import OAuthRefused, TokenRequest
from limen.core.errors import Unavailable
from limen.core.identity_config import IssuerConfig
from limen.information.identity import client_assertion
from limen.information.identity.jwks import KeyRing, TokenInvalid, demand
from limen.information.identity.provider_http import ProviderHttp
from limen.information.identity.workload_claims import matching_workloads

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPE = "urn:ietf:params:oauth:token-type:"
ACCESS_TOKEN, JWT, ID_TOKEN = f"{_TYPE}access_token", f"{_TYPE}jwt", f"{_TYPE}id_token"

SUBJECT_TYPES = (JWT, ID_TOKEN)
REQUESTED_TYPES = ("", ACCESS_TOKEN, JWT)
LIFE_MAX_S = 86_400.0 + 60.0  # of a subject token: a day, which Kubernetes gives at most
LEEWAY_S = 60.0  # between two organisations' clocks
TYPES = ("", "jwt")
SUBJECT_MAX = 120  # characters of a subject that lists show

Ring = tuple[str, str | None, str | None, str | None]


class Exchange:
    """Verifies subject tokens. Threads may share it.

    Args:
        transport: how issuers are spoken to; None is the network.
    """

    def __init__(self, desk: Desk, transport: httpx.BaseTransport | None = None) -> None:
        self._desk = desk
        self._transport = transport
        self._rings: dict[Ring, KeyRing] = {}
        self._lock = threading.Lock()

    def identify(self, request: TokenRequest) -> Proven:
        """Return the workload that a subject token is of.

        Raises:
            OAuthRefused: the request is not one that we answer.
            TokenInvalid: the token proves nothing; says why, for the operator alone.
            Unavailable: the issuer's keys cannot be had.
        """
        _demand_form(request)
        token = request.form["subject_token"]
        claimed = client_assertion.unproven_claims(token).get("iss")
        config = self._find(claimed)
        claims = self._ring(config).verify(token, self._desk.clock.now(), types=TYPES).claims
        now = self._desk.clock.now()
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) != 1:
            raise TokenInvalid(f"the token of {config.name} is for several audiences")
        demand(
            claims,
            issuer=config.issuer,
            audience=config.audience,
            now=now,
            leeway_s=LEEWAY_S,
            life_max_s=LIFE_MAX_S,
        )
        workload = _choose(config, claims, request.form.get("client_id", ""))
        return Proven(workload, f"exchange:{config.name}", f"{config.name}: {_subject(claims)}")

    def _find(self, issuer: object) -> IssuerConfig:
        if issuer == self._desk.auth_origin:
            raise TokenInvalid("the token is one of ours")
        for config in self._desk.catalogue().sources.machines.issuers:
            if config.issuer == issuer:
                return config
        raise TokenInvalid("the token's issuer is none of the bundle's")

    def _ring(self, config: IssuerConfig) -> KeyRing:
        """Return an issuer's keys; those of one that was configured anew are read anew."""
        key = (config.issuer, config.jwks, config.jwks_uri, config.ca_pem)
        with self._lock:
            found = self._rings.get(key)
            if found is None:
                known = {one.issuer for one in self._desk.catalogue().sources.machines.issuers}
                self._rings = {
                    k: ring for k, ring in self._rings.items() if k[0] in known and k[0] != config.issuer
                }
                found = self._rings[key] = KeyRing(self._fetch(config))
            return found

    def _fetch(self, config: IssuerConfig) -> Callable[[], Mapping[str, Any]]:
        if config.jwks is not None:
            return lambda: _parse_keys(config)
        http = ProviderHttp(config.name, config.ca_pem, self._transport)

        def fetch() -> Mapping[str, Any]:
            return http.get_json(config.jwks_uri or _discover(http, config))

        return fetch


def _discover(http: ProviderHttp, config: IssuerConfig) -> str:
    """Return where an issuer has its keys (OIDC Discovery 4.3: the document must be of that issuer)."""
    document = http.get_json(f"{config.issuer.rstrip('/')}/.well-known/openid-configuration")
    uri = document.get("jwks_uri")
    if document.get("issuer") != config.issuer or not isinstance(uri, str):
        raise Unavailable(
            f"The configuration of {config.name} is another issuer's.",
            remedy="Correct `issuer`, or name `jwks_uri`.",
            code="ISSUER_MISMATCH",
        )
    return uri


def _demand_form(request: TokenRequest) -> None:
    form = request.form
    if not form.get("subject_token"):
        raise OAuthRefused("invalid_request", "`subject_token` is missing.")
    if form.get("subject_token_type") not in SUBJECT_TYPES:
        raise OAuthRefused("invalid_request", f"`subject_token_type` is {JWT} here.")
    if "actor_token" in form or "actor_token_type" in form:
        raise OAuthRefused("invalid_request", "Nobody acts for another here: leave `actor_token` out.")
    if form.get("requested_token_type", "") not in REQUESTED_TYPES:
        raise OAuthRefused("invalid_request", f"`requested_token_type` is {ACCESS_TOKEN} here.")
    proofs = {"client_secret", "client_assertion", "client_assertion_type"} & set(form)
    if proofs or request.authorization:
        raise OAuthRefused("invalid_request", "The subject token alone proves who asks: bring nothing else.")


def _choose(config: IssuerConfig, claims: Mapping[str, Any], wanted: str) -> str:
    """Return the workload that a token is of (law E3)."""
    found = matching_workloads(config.workloads, claims)
    if wanted:
        if wanted not in found:
            raise TokenInvalid(f"the token of {config.name} is not of the workload that was named")
        return wanted
    if len(found) > 1:
        raise TokenInvalid(f"the token of {config.name} is of several workloads: name one by `client_id`")
    if not found:
        raise TokenInvalid(f"the claims of the token of {config.name} are of no workload")
    return found[0]


def _subject(claims: Mapping[str, Any]) -> str:
    value = claims.get("sub")
    text = value if isinstance(value, str) else ""
    return "".join(one for one in text[:SUBJECT_MAX] if one.isprintable())


def _parse_keys(config: IssuerConfig) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(config.jwks or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        raise Unavailable(
            f"The key set of {config.name} is no JSON.",
            remedy="Correct the file in the bundle.",
            code="KEYS_UNAVAILABLE",
        ) from None

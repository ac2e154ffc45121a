"""One upstream OpenID provider: the authorization code flow with PKCE, from start to a known identity.

The checks of an answer, in the order in which they are made:

1. `state` is the one that this browser's flow was given (RFC 6749 section 10.12). The caller has
   found the flow by the browser's cookie and destroyed it, so an answer is looked at once.
2. `iss`, when sent or announced, is the issuer (RFC 9207 section 2.4).
3. The code is exchanged with its PKCE verifier (RFC 7636 section 4.5).
4. The ID token is signed by a key of the issuer with an asymmetric algorithm (OIDC Core 3.1.3.7).
5. `iss`, `aud`, `azp`, `exp`, `iat`, `nonce`, `at_hash` hold (the same).
6. What userinfo says is about the same `sub` (OIDC Core 5.3.2).
"""

import hmac
import secrets
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from limen.core.errors import Refused
from limen.core.identity_config import OidcConfig
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.information.identity.assurance import OIDC_PREFIX, assess_upstream
from limen.information.identity.provider_http import ProviderHttp
from limen.information.identity.upstream_identity import UpstreamIdentity

with warnings.catch_warnings():  # Authlib says at import that it would rather have httpx2
    from authlib.deprecate import AuthlibDeprecationWarning

    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.common.errors import AuthlibBaseError
    from authlib.integrations.httpx_client import OAuth2Client
    from authlib.oauth2.rfc7636 import create_s256_code_challenge
    from authlib.oidc.core import CodeIDToken

LEEWAY_S = 60  # clocks of two organisations
METADATA_S = 3600.0  # discovery and keys are read again after this
ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]  # none and HMAC are never believed


class UpstreamFlow(msgspec.Struct, frozen=True):
    """What the browser's flow must remember until the provider answers."""

    provider: str
    state: str
    nonce: str
    verifier: str
    max_age_s: int | None = None  # the person must have signed in there this recently


class _Metadata(msgspec.Struct, frozen=True):
    authorization_endpoint: str
    token_endpoint: str
    issuer: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class UpstreamProvider:
    """A provider as configured. Threads may share it."""

    def __init__(self, config: OidcConfig, transport: httpx.BaseTransport | None = None) -> None:
        self.config = config
        self._http = ProviderHttp(config.name, config.ca_pem, transport)
        self._metadata: tuple[Instant, _Metadata] | None = None
        self._keys: tuple[Instant, KeySet] | None = None

    def start(
        self, redirect_uri: str, now: Instant, *, max_age_s: int | None = None
    ) -> tuple[str, UpstreamFlow]:
        """Return where to send the browser, and what to remember. `max_age_s`: for a fresh sign-in.

        Raises:
            Unavailable: the provider does not answer, or not as a provider.
        """
        metadata = self._discover(now)
        flow = UpstreamFlow(
            provider=self.config.name,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            max_age_s=max_age_s,
        )
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.config.scopes),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": create_s256_code_challenge(flow.verifier),  # type: ignore[no-untyped-call]
            "code_challenge_method": "S256",
        }
        if max_age_s is not None:
            query["max_age"] = str(max_age_s)
        joint = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{joint}{urlencode(query)}", flow

    def finish(
        self,
        flow: UpstreamFlow,
        answer: Mapping[str, str],
        *,
        redirect_uri: str,
        client_secret: Secret[str] | None,
        now: Instant,
    ) -> UpstreamIdentity:
        """Return who signed in. `answer` is the query of the callback. The module says the checks.

        Raises:
            Refused: the answer is not the provider's answer to this flow.
            Unavailable: the provider does not answer.
        """
        if not hmac.compare_digest(answer.get("state", ""), flow.state):
            raise refused("its state is not that of this browser")
        metadata = self._discover(now)
        announced = metadata.authorization_response_iss_parameter_supported
        if answer.get("iss", None if announced else self.config.issuer) != self.config.issuer:
            raise refused("it is from another issuer")
        if "error" in answer or not answer.get("code"):
            raise refused("the provider refused")
        tokens = self._exchange(metadata, flow, answer["code"], redirect_uri, client_secret)
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise refused("it holds no ID token")
        claims = self._verify_id_token(metadata, id_token, access_token, flow, now)
        return self._identify(claims, self._userinfo(metadata, access_token, claims["sub"]), now)

    def _discover(self, now: Instant) -> _Metadata:
        if self._metadata is not None and now - self._metadata[0] < METADATA_S:
            return self._metadata[1]
        url = self.config.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            found = msgspec.convert(self._http.get_json(url), _Metadata)
        except msgspec.ValidationError as error:
            raise self._http.unavailable() from error
        if found.issuer != self.config.issuer:  # OIDC Discovery 4.3
            raise self._http.unavailable()
        for endpoint in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            self._http.require_tls(endpoint)
        self._metadata = (now, found)
        return found

    def _exchange(
        self,
        metadata: _Metadata,
        flow: UpstreamFlow,
        code: str,
        redirect_uri: str,
        client_secret: Secret[str] | None,
    ) -> Mapping[str, Any]:
        method = "none"
        if client_secret is not None:
            posts = "client_secret_basic" not in metadata.token_endpoint_auth_methods_supported
            method = "client_secret_post" if posts else "client_secret_basic"
        client = OAuth2Client(  # type: ignore[no-untyped-call]
            client_id=self.config.client_id,
            client_secret=client_secret.reveal() if client_secret else None,
            token_endpoint_auth_method=method,
            redirect_uri=redirect_uri,
            **self._http.options(),
        )
        with client:
            try:
                tokens = client.fetch_token(  # type: ignore[no-untyped-call]
                    metadata.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=flow.verifier,
                )
            except httpx.TransportError as error:
                raise self._http.unavailable() from error
            except (AuthlibBaseError, httpx.HTTPStatusError, ValueError) as error:
                raise refused("its code was not accepted") from error
        assert isinstance(tokens, Mapping)
        return tokens

    def _verify_id_token(
        self, metadata: _Metadata, id_token: str, access_token: str, flow: UpstreamFlow, now: Instant
    ) -> Mapping[str, Any]:
        options: dict[str, Any] = {
            "iss": {"essential": True, "value": self.config.issuer},
            "aud": {"essential": True, "value": self.config.client_id},
        }
        params = {"nonce": flow.nonce, "client_id": self.config.client_id, "access_token": access_token}
        try:
            token = self._decode(metadata, id_token, now)
            claims = CodeIDToken(token.claims, token.header, options, params)
            claims.validate(now=int(now), leeway=LEEWAY_S)  # type: ignore[no-untyped-call]
        except (JoseError, ValueError) as error:
            raise refused("its ID token does not hold") from error
        signed_in_at = claims.get("auth_time")
        if flow.max_age_s is not None and (
            signed_in_at is None or signed_in_at < now - flow.max_age_s - LEEWAY_S
        ):
            raise refused("the sign-in there is too old")
        assert isinstance(claims, Mapping)
        return claims

    def _decode(self, metadata: _Metadata, id_token: str, now: Instant) -> jwt.Token:
        """Verify the signature; keys are fetched once more if none fits, for they rotate."""
        if self._keys is not None and now - self._keys[0] < METADATA_S:
            try:
                return jwt.decode(id_token, self._keys[1], algorithms=ALGORITHMS)
            except (JoseError, ValueError):
                self._keys = None
        keys = KeySet.import_key_set(self._http.get_json(metadata.jwks_uri))  # type: ignore[arg-type]
        self._keys = (now, keys)
        return jwt.decode(id_token, keys, algorithms=ALGORITHMS)

    def _userinfo(self, metadata: _Metadata, access_token: str, subject: str) -> Mapping[str, Any]:
        if metadata.userinfo_endpoint is None:
            return {}
        self._http.require_tls(metadata.userinfo_endpoint)
        found = self._http.get_json(metadata.userinfo_endpoint, {"Authorization": f"Bearer {access_token}"})
        if found.get("sub") != subject:
            raise refused("userinfo is about somebody else")
        return found

    def _identify(
        self, claims: Mapping[str, Any], userinfo: Mapping[str, Any], now: Instant
    ) -> UpstreamIdentity:
        said = {**userinfo, **claims}
        amr, groups = claims.get("amr") or (), said.get(self.config.groups_claim) or ()
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        return UpstreamIdentity(
            source=f"{OIDC_PREFIX}{self.config.name}",
            subject=str(claims["sub"]),
            username=_text(said.get(self.config.username_claim)),
            name=_text(said.get("name")),
            email=_text(said.get("email")),
            groups=tuple(sorted({group for group in listed if isinstance(group, str)})),
            assurance=assess_upstream([str(value) for value in amr], _text(claims.get("acr"))),
            auth_at=min(now, float(claims.get("auth_time") or now)),
        )


def refused(why: str) -> Refused:
    """Return the refusal of a provider's answer. `why` never holds a token."""
    return Refused(
        f"The identity provider's answer was not accepted: {why}.",
        remedy="Sign in again.",
        code="UPSTREAM_REFUSED",
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

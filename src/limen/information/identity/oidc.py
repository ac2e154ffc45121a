"""One upstream OpenID provider: the authorization code flow with PKCE, from start to a known identity.

The checks of an answer, in the order in which they are made:

1. `state` is the one that this browser's flow was given (RFC 6749 section 10.12). The caller has
   found the flow by the browser's cookie and destroyed it, so an answer is looked at once.
2. The flow was begun with this provider as it is configured now: same issuer, same client. Each provider has
   a callback address of its own besides (RFC 9700 section 4.4.2.2).
3. `iss`, when sent or announced, is the issuer (RFC 9207 section 2.4).
4. The code is exchanged with its PKCE verifier (RFC 7636 section 4.5).
5. The ID token is signed by a key of the issuer with an asymmetric algorithm (OIDC Core 3.1.3.7).
6. `iss`, `aud`, `azp`, `exp`, `iat`, `nonce`, `at_hash` hold (the same).
7. The sign-in there is as young as was asked for (OIDC Core 3.1.2.1, `max_age`).
8. What userinfo says is about the same `sub` (OIDC Core 5.3.2).
"""

import hmac
import secrets
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec

from limen.core.identity_config import OidcConfig
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.information.identity.jwks import KeyRing
from limen.information.identity.oidc_claims import auth_time, fetch_groups, identify
from limen.information.identity.oidc_metadata import Discovery, Metadata
from limen.information.identity.oidc_tokens import (
    LEEWAY_S,
    ClientProof,
    Sign,
    exchange_code,
    refused,
    verify_id_token,
    verify_logout_token,
)
from limen.information.identity.provider_http import ProviderHttp
from limen.information.identity.upstream_identity import UpstreamIdentity

with warnings.catch_warnings():  # Authlib says at import that it would rather have httpx2
    from authlib.deprecate import AuthlibDeprecationWarning

    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

CODE_LENGTH_MAX = 4_096  # characters of a code, which goes on to the provider as it came


class UpstreamFlow(msgspec.Struct, frozen=True):
    """What the browser's flow must remember until the provider answers."""

    provider: str
    state: str
    nonce: str
    verifier: str
    max_age_s: int | None = None  # the person must have signed in there this recently
    issuer: str = ""
    client_id: str = ""


class UpstreamProvider:
    """A provider as configured. Threads may share it."""

    def __init__(self, config: OidcConfig, transport: httpx.BaseTransport | None = None) -> None:
        self.config = config
        self._http = ProviderHttp(config.name, config.ca_pem, transport)
        self._discovery = Discovery(config, self._http)
        self._keys: tuple[str, KeyRing] | None = None

    def start(
        self,
        redirect_uri: str,
        now: Instant,
        *,
        max_age_s: int | None = None,
        acr_values: tuple[str, ...] = (),
        login_hint: str = "",
    ) -> tuple[str, UpstreamFlow]:
        """Return where to send the browser, and what to remember.

        Args:
            redirect_uri: our callback.
            now: wall time.
            max_age_s: for a fresh sign-in.
            acr_values: what a step-up asks for, best first.
            login_hint: what the person typed as their name; it proves nothing.

        Raises:
            Unavailable: the provider does not answer, or not as a provider.
        """
        metadata = self._discovery.read(now)
        flow = UpstreamFlow(
            provider=self.config.name,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            max_age_s=max_age_s,
            issuer=self.config.issuer,
            client_id=self.config.client_id,
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
        if acr_values:
            query["acr_values"] = " ".join(acr_values)
        if login_hint:
            query["login_hint"] = login_hint
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
        sign: Sign | None = None,
    ) -> UpstreamIdentity:
        """Return who signed in. `answer` is the query of the callback. The module says the checks.

        Raises:
            UpstreamRefused: the answer is not the provider's answer to this flow.
            Unavailable: the provider does not answer.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), flow.state.encode()):
            raise refused("its state is not that of this browser")
        here = (self.config.name, self.config.issuer, self.config.client_id)
        if (flow.provider, flow.issuer, flow.client_id) != here:
            raise refused("the sign-in was begun with another provider, or it was changed meanwhile")
        metadata = self._discovery.read(now)
        announced = metadata.authorization_response_iss_parameter_supported
        if answer.get("iss", None if announced else self.config.issuer) != self.config.issuer:
            raise refused("its answer is from another issuer")
        code = answer.get("code", "")
        if "error" in answer or not 0 < len(code) <= CODE_LENGTH_MAX:
            raise refused("the provider did not sign the person in")
        proof = ClientProof(self.config, client_secret, sign, now)
        id_token, access_token = exchange_code(
            self._http,
            metadata,
            self.config,
            proof,
            code=code,
            verifier=flow.verifier,
            redirect_uri=redirect_uri,
        )
        keys = self._ring(metadata)
        claims = verify_id_token(keys, self.config, id_token, access_token, nonce=flow.nonce, now=now)
        _require_age(flow, claims, now)
        found = identify(self.config, claims, self._userinfo(metadata, access_token, claims["sub"]), now)
        return self._with_groups(found, access_token)

    def logged_out(self, token: str, now: Instant) -> tuple[str, str, str, Instant]:
        """Return `sub`, `sid`, `jti`, `exp` of a logout token that is the provider's.

        Raises:
            UpstreamRefused: it is not.
            Unavailable: the provider does not answer.
        """
        return verify_logout_token(self._ring(self._discovery.read(now)), self.config, token, now)

    # --- inside ------------------------------------------------------------------------------------

    def _ring(self, metadata: Metadata) -> KeyRing:
        """Return the provider's keys; another `jwks_uri` is another ring."""
        known = self._keys
        if known is None or known[0] != metadata.jwks_uri:
            url = metadata.jwks_uri
            known = self._keys = (url, KeyRing(lambda: self._http.get_json(url)))
        return known[1]

    def _userinfo(self, metadata: Metadata, access_token: str, subject: str) -> Mapping[str, Any]:
        if metadata.userinfo_endpoint is None:
            return {}
        found = self._http.get_json(metadata.userinfo_endpoint, {"Authorization": f"Bearer {access_token}"})
        if found.get("sub") != subject:
            raise refused("userinfo is about somebody else")
        return found

    def _with_groups(self, found: UpstreamIdentity, access_token: str) -> UpstreamIdentity:
        asked = self.config.people.groups_from == "endpoint" or found.groups is None
        if self.config.groups_endpoint is None or not asked:
            return found
        groups, missing = fetch_groups(self._http, self.config, access_token)
        return msgspec.structs.replace(found, groups=groups, groups_missing=missing)


def _require_age(flow: UpstreamFlow, claims: Mapping[str, Any], now: Instant) -> None:
    if flow.max_age_s is None:
        return
    signed_in_at = auth_time(claims)
    if signed_in_at is None or signed_in_at < now - flow.max_age_s - LEEWAY_S:
        raise refused("the sign-in there is older than was asked for, or of unknown age")

"""From an authorization code to claims that hold: the token endpoint, the ID token, the logout token.

`refused` is how all that does not hold is refused: one sentence for the person, the cause apart, for the
operator.
"""

import re
import secrets
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from joserfc.errors import JoseError

from limen.core.errors import Refused
from limen.core.identity_config import OidcConfig
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.information.identity.jwks import KeyRing, TokenInvalid, demand
from limen.information.identity.oidc_metadata import Metadata
from limen.information.identity.provider_http import ProviderHttp

with warnings.catch_warnings():  # Authlib says at import that it would rather have httpx2
    from authlib.deprecate import AuthlibDeprecationWarning

    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.common.errors import AuthlibBaseError
    from authlib.integrations.httpx_client import OAuth2Client
    from authlib.oidc.core import CodeIDToken

LEEWAY_S = 60.0  # clocks of two organisations
ASSERTION_S = 60  # life of our own assertion
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2
BACKCHANNEL_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TOKEN_LIFE_MAX_S = 600.0  # longer than the two minutes that the standard recommends

Sign = Callable[[Mapping[str, Any]], str]
"""Returns a JWT of claims, signed by Limen."""


class UpstreamRefused(Refused):
    """A provider's answer does not hold. `why` is for the operator alone, and has nothing of a token."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "The sign-in through this provider did not come to an end that is accepted here.",
            remedy="Start again; if it happens once more, tell an administrator when it did.",
            code="UPSTREAM_REFUSED",
        )
        self.why = why


def refused(why: str) -> UpstreamRefused:
    """Return the refusal of what a provider sent."""
    return UpstreamRefused(why)


class ClientProof:
    """How Limen proves itself at a provider's token endpoint.

    Args:
        secret: what `client_secret` names, read; None where there is none.
        sign: for `private_key_jwt`; None where Limen has no key to sign with.
    """

    def __init__(
        self, config: OidcConfig, secret: Secret[str] | None, sign: Sign | None, now: Instant
    ) -> None:
        self._config = config
        self._secret = secret
        self._sign = sign
        self._now = now

    def choose(self, metadata: Metadata) -> tuple[str, dict[str, str]]:
        """Return Authlib's name of the method, and what else the form holds.

        Raises:
            UpstreamRefused: the bundle wants what cannot be done.
        """
        if self._config.auth == "private_key_jwt":
            return "none", self._assertion()
        if self._config.auth == "none" or self._secret is None:
            return "none", {}
        posts = "client_secret_basic" not in metadata.token_endpoint_auth_methods_supported
        return ("client_secret_post" if posts else "client_secret_basic"), {}

    @property
    def secret(self) -> str | None:
        """The secret, where it is what proves Limen."""
        shown = self._secret if self._config.auth == "secret" else None
        return shown.reveal() if shown is not None else None

    def _assertion(self) -> dict[str, str]:
        """Sign who Limen is there (RFC 7523 section 3). The audience is the issuer and nothing else, so that
        no other provider could use it."""
        if self._sign is None:
            raise refused("private_key_jwt is configured, and Limen has no key to sign with")
        claims = {
            "iss": self._config.client_id,
            "sub": self._config.client_id,
            "aud": self._config.issuer,
            "jti": secrets.token_urlsafe(24),
            "iat": int(self._now),
            "exp": int(self._now) + ASSERTION_S,
        }
        return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": self._sign(claims)}


def exchange_code(
    http: ProviderHttp,
    metadata: Metadata,
    config: OidcConfig,
    proof: ClientProof,
    *,
    code: str,
    verifier: str,
    redirect_uri: str,
) -> tuple[str, str]:
    """Return the ID token and the access token of a code.

    Raises:
        UpstreamRefused: the provider does not take the code, or sends no such tokens.
        Unavailable: it does not answer.
    """
    method, more = proof.choose(metadata)
    client = OAuth2Client(  # type: ignore[no-untyped-call]
        client_id=config.client_id,
        client_secret=proof.secret,
        token_endpoint_auth_method=method,
        redirect_uri=redirect_uri,
        **http.options(),
    )
    with client:
        try:
            tokens = client.fetch_token(  # type: ignore[no-untyped-call]
                metadata.token_endpoint,
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
                **more,
            )
        except httpx.TransportError as error:
            raise http.unavailable() from error
        except (AuthlibBaseError, httpx.HTTPStatusError, ValueError, RecursionError) as error:
            raise refused(f"its code was not accepted{_said(error)}") from error
    found = (tokens.get("id_token"), tokens.get("access_token")) if isinstance(tokens, Mapping) else ()
    if not all(isinstance(one, str) and one for one in found) or not found:
        raise refused("its answer holds no ID token")
    return str(found[0]), str(found[1])


def _said(error: Exception) -> str:
    """Return the error code of a token endpoint, if it is one (RFC 6749 section 5.2)."""
    code = getattr(error, "error", None)
    return f": {code}" if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,64}", code) else ""


def verify_id_token(
    keys: KeyRing, config: OidcConfig, id_token: str, access_token: str, *, nonce: str, now: Instant
) -> Mapping[str, Any]:
    """Return the claims of an ID token (OIDC Core 3.1.3.7): signed, for us, of now, of this flow.

    Raises:
        UpstreamRefused: one of them does not hold.
        Unavailable: the provider's keys cannot be had.
    """
    params = {"nonce": nonce, "client_id": config.client_id, "access_token": access_token}
    try:
        token = keys.verify(id_token, now, types=("", "jwt"))
        demand(token.claims, issuer=config.issuer, audience=config.client_id, now=now, leeway_s=LEEWAY_S)
        claims = CodeIDToken(token.claims, token.header, {}, params)
        claims.validate(now=int(now), leeway=int(LEEWAY_S))  # type: ignore[no-untyped-call]
    except TokenInvalid as error:
        raise refused(f"its ID token: {error.message}") from error
    except (JoseError, ValueError, TypeError) as error:
        raise refused(f"its ID token does not hold ({type(error).__name__})") from error
    if not isinstance(claims.get("sub"), str):
        raise refused("its ID token has no subject")
    return dict(claims)


def verify_logout_token(
    keys: KeyRing, config: OidcConfig, token: str, now: Instant
) -> tuple[str, str, str, Instant]:
    """Return `sub`, `sid` (one may be empty), `jti` and `exp` of a logout token.

    Source: OpenID Connect Back-Channel Logout 1.0 section 2.6.

    Raises:
        UpstreamRefused: it is none of this provider's, or none at all.
        Unavailable: the provider's keys cannot be had.
    """
    try:
        claims = keys.verify(token, now, types=("", "jwt", "logout+jwt")).claims
        demand(
            claims,
            issuer=config.issuer,
            audience=config.client_id,
            now=now,
            leeway_s=LEEWAY_S,
            life_max_s=LOGOUT_TOKEN_LIFE_MAX_S,
        )
    except TokenInvalid as error:
        raise refused(f"its logout token: {error.message}") from error
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(BACKCHANNEL_EVENT), Mapping):
        raise refused("its logout token is not about a logout")
    if "nonce" in claims:
        raise refused("its logout token has a nonce: it is an ID token")
    sub, sid, jti = (claims.get(name, "") for name in ("sub", "sid", "jti"))
    if not all(isinstance(one, str) for one in (sub, sid, jti)) or not jti or not (sub or sid):
        raise refused("its logout token names no session")
    return str(sub), str(sid), str(jti), float(claims["exp"])

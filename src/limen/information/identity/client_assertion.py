"""How a program proves itself by a key of its own: `private_key_jwt`.

Laws:
    A1 itself alone. An assertion is of the client that it names as issuer and subject, and for nobody but us.
    A2 once. An assertion is taken once, and none lives longer than `LIFE_MAX_S`.

Source: RFC 7523 section 3; draft-ietf-oauth-rfc7523bis (one audience, a string).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from limen.core import base64url
from limen.core.ids import Instant
from limen.information.identity.jwks import KeyRing, TokenInvalid, read_instant

LIFE_MAX_S = 600.0  # RFC 7523 section 3 item 4: an unreasonably far expiry may be refused
LEEWAY_S = 30.0  # between two organisations' clocks
ASSERTION_LENGTH_MAX = 8_192  # characters
TYPES = ("", "jwt", "client-authentication+jwt")
"""Values of `typ` that count, so that no token of another kind is taken for an assertion (RFC 8725 3.11)."""

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Spend = Callable[[str, str, Instant], bool]
"""Uses what may be used once; returns whether it was unused: kind, value, when it is too old anyway."""


def verify(
    assertion: str,
    keys: KeyRing,
    client_id: str,
    *,
    audiences: Collection[str],
    now: Instant,
    spend: Spend,
) -> Mapping[str, Any]:
    """Return the claims of an assertion by which `client_id` proves itself here, and now.

    Args:
        assertion: compact JWS.
        keys: the client's own.
        client_id: who the caller says it is.
        audiences: what we are called: the issuer, and the token endpoint's address.
        now: wall clock.
        spend: remembers what was used; called last, once all else holds.

    Raises:
        TokenInvalid: it proves nothing.
        Unavailable: the client's keys cannot be had.
    """
    if len(assertion) > ASSERTION_LENGTH_MAX:
        raise TokenInvalid("the assertion is too long")
    claims = keys.verify(assertion, now, types=TYPES).claims
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise TokenInvalid("the assertion is not of the client that sends it")
    if _only(claims.get("aud")) not in audiences:
        raise TokenInvalid("the assertion is for another audience, or for several")
    expires_at = _demand_times(claims, now)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not spend(f"jti:{client_id}", jti, expires_at + LEEWAY_S):
        raise TokenInvalid("the assertion was used before, or has no `jti`")
    return claims


def _only(aud: object) -> str | None:
    """Return the one audience. One of several could be somebody who passes the assertion on."""
    listed = [aud] if isinstance(aud, str) else aud
    one = listed[0] if isinstance(listed, list) and len(listed) == 1 else None
    return one if isinstance(one, str) else None


def _demand_times(claims: Mapping[str, Any], now: Instant) -> Instant:
    expires_at = read_instant(claims, "exp")
    if expires_at is None or expires_at <= now - LEEWAY_S:
        raise TokenInvalid("the assertion has expired, or never does")
    if expires_at > now + LIFE_MAX_S + LEEWAY_S:
        raise TokenInvalid("the assertion lives too long")
    for name in ("iat", "nbf"):
        at = read_instant(claims, name) if name in claims else now
        if at is None or at > now + LEEWAY_S:
            raise TokenInvalid(f"the assertion's `{name}` is in the future")
    return expires_at


def unproven_claims(token: str) -> Mapping[str, object]:
    """Return what a token claims. Nothing of it is proven yet."""
    if len(token) > ASSERTION_LENGTH_MAX or token.count(".") != 2:
        return {}
    try:
        return msgspec.json.decode(base64url.decode(token.split(".")[1]), type=dict[str, object])
    except (ValueError, msgspec.DecodeError, RecursionError):
        return {}

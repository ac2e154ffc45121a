"""The identity assertion: a short ES256 JWT in `X-Limen-Assertion`, by which an app knows who it serves.

Source: RFC 7519 (JWT), RFC 7518 §3.4 (ES256), RFC 8176 (`amr`); `sid` as in OpenID front-channel logout.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from joserfc import jwt
from joserfc.jwk import ECKey

from limen.core.changes import PersonFact
from limen.core.decision import SessionFacts
from limen.core.ids import Instant

LIFETIME_S = 60
RENEW_S = 30  # signed once per session and app in this time, so at least half the lifetime is left
GROUPS_BYTES_MAX = 4_096  # of names: apps' servers limit headers to 8 kB and more


class Signer(Protocol):
    """Signs assertions."""

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return the compact JWT."""
        ...


class AssertionSigner:
    """Signs with this gateway's key. `kid` is the key's RFC 7638 thumbprint."""

    def __init__(self, key_pem: bytes) -> None:
        self._key = ECKey.import_key(key_pem)
        self._header = {"alg": "ES256", "typ": "JWT", "kid": self._key.thumbprint()}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return the compact JWT."""
        return jwt.encode(dict(self._header), dict(claims), self._key, algorithms=["ES256"])

    def public_jwk(self) -> dict[str, Any]:
        """Return the public key as a member of a JWK set (RFC 7517)."""
        public = self._key.as_dict(private=False)
        return {**public, "kid": self._header["kid"], "alg": "ES256", "use": "sig"}


def assertion_claims(
    person: PersonFact, session: SessionFacts, *, issuer: str, audience: str, at: Instant
) -> dict[str, Any]:
    """Return what the app is told about the person, and how they signed in."""
    issued_at = int(at)
    groups, complete = fitting(person.groups)
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": person.id,
        "aud": audience,
        "iat": issued_at,
        "nbf": issued_at - 5,  # clocks of gateway and app differ a little
        "exp": issued_at + LIFETIME_S,
        "name": person.name,
        "email": person.email,
        "groups": list(groups),
        "sid": session.id,
        "auth_time": int(session.auth_at),
        "amr": list(session.methods),
        "aal": session.aal,
    }
    if not complete:
        claims["groups_complete"] = False
    return claims


def fitting(groups: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Return the groups that fit a header, in order, and whether these are all.

    A comma would make one group look like two in a list, so such a name is left out.
    """
    kept: list[str] = []
    room = GROUPS_BYTES_MAX
    for group in groups:
        room -= len(group.encode()) + 1
        if room < 0:
            break
        if "," not in group:
            kept.append(group)
    return tuple(kept), len(kept) == len(groups)

"""What a client learns of a person: claims by scope, and those that the bundle adds.

Source: OIDC Core 1.0 sections 2, 5.1, 5.4; RFC 9068 section 2.2; OIDC Back-Channel Logout 1.0 section 2.4.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from limen.administrator.oauth.levels import acr_of, amr_of
from limen.core import base64url
from limen.core.ids import Instant
from limen.store.oauth import Authorization
from limen.store.sessions import Session

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TOKEN_S = 120.0
GROUPS_MAX = 10_000  # names in one token; more than that is no token any more


class Subject(msgspec.Struct, frozen=True):
    """Who a token is about. `groups` are all of theirs, those that others are in among them."""

    username: str
    name: str
    email: str
    email_verified: bool
    groups: tuple[str, ...]
    attributes: Mapping[str, Any]

    def field(self, name: str) -> Any:
        """Return a field or attribute by its name in the bundle; None where there is none."""
        fields = {
            "username": self.username,
            "email": self.email,
            "name": self.name,
            "groups": list(self.groups[:GROUPS_MAX]),
        }
        return fields[name] if name in fields else self.attributes.get(name)


def person_claims(subject: Subject, scopes: Iterable[str], more: Mapping[str, str]) -> dict[str, Any]:
    """Return what the scopes, and the bundle's `claims`, tell of a person. What is empty is left out."""
    asked = frozenset(scopes)
    found: dict[str, Any] = {}
    if "profile" in asked:
        found |= {"name": subject.name, "preferred_username": subject.username}
    if "email" in asked and subject.email:
        found |= {"email": subject.email, "email_verified": subject.email_verified}
    if "groups" in asked:
        found["groups"] = subject.field("groups")
    found |= {claim: subject.field(field) for claim, field in more.items()}
    return {claim: value for claim, value in found.items() if value not in (None, "")}


def session_claims(session: Session, asked: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a sign-in was worth. `asked`: the client's `acr_values`."""
    return {"auth_time": int(session.auth_at), "acr": acr_of(session, asked), "amr": amr_of(session)}


def id_claims(
    issuer: str, authorization: Authorization, session: Session, *, now: Instant, life_s: float, at: str
) -> dict[str, Any]:
    """Return the claims of an ID token, but for the person's. `at` is the access token given with it."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": authorization.person,
        "aud": authorization.client,
        "iat": int(now),
        "exp": int(now + life_s),
        "sid": authorization.sid,
        "at_hash": at_hash(at),
        **session_claims(session),
    }
    return claims | ({"nonce": authorization.nonce} if authorization.nonce else {})


def logout_claims(
    issuer: str, client: str, person: str, sid: str, *, now: Instant, jti: str
) -> dict[str, Any]:
    """Return the claims of a logout token: never a nonce, so that it is no ID token."""
    return {
        "iss": issuer,
        "sub": person,
        "aud": client,
        "iat": int(now),
        "exp": int(now + LOGOUT_TOKEN_S),
        "jti": jti,
        "sid": sid,
        "events": {LOGOUT_EVENT: {}},
    }


def at_hash(access_token: str) -> str:
    """Return what ties an ID token to its access token (OIDC Core 3.1.3.6); we sign with SHA-256 alone."""
    digest = hashlib.sha256(access_token.encode()).digest()
    return base64url.encode(digest[:16])

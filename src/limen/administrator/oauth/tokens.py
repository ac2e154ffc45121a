"""Token responses: access tokens for APIs and for us, ID tokens, refresh tokens.

Access tokens are JWTs of RFC 9068. They live minutes, as an API believes one until it expires; here, at
userinfo and introspection, one counts only while its row is there. Refresh tokens are random, and rotate
with each use.

Source: RFC 9068 section 2, OIDC Core 1.0 section 2, RFC 9449 sections 5 and 6.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from limen.administrator.ledger import Entry
from limen.administrator.oauth.claims import Subject, id_claims, person_claims, session_claims
from limen.administrator.oauth.clients import Client
from limen.administrator.oauth.issuing import Issuing, Live, new_token
from limen.core.ids import Instant, new_id
from limen.core.tokens import token_hash
from limen.store import oauth as rows
from limen.store.oauth import ACCESS, REFRESH, OauthToken

ACCESS_TYPE = "at+jwt"
REFRESH_PREFIX = "limen_rt_"
"""By which scanners for leaked secrets know a refresh token."""


class Drawn(msgspec.Struct, frozen=True):
    """What a transaction has stored of a token response. It is signed after the commit.

    Attributes:
        jkt: the key that the access token is bound to; empty for none.
        refresh: the refresh token; empty for none.
    """

    jti: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    jkt: str
    issued_at: Instant
    expires_at: Instant
    refresh: str = ""


class Tokens:
    """Makes token responses. Threads may share it."""

    def __init__(self, issuing: Issuing) -> None:
        self._issuing = issuing

    def ready(self, person: str, client: Client) -> None:
        """See that a response could be signed, before anything is used up for it. Not inside a transaction.

        Raises:
            Unavailable: it could not.
        """
        self._issuing.subject(person)
        self._issuing.signing.ready(client.oidc.signing)

    def draw(
        self,
        entry: Entry,
        live: Live,
        client: Client,
        *,
        jkt: str,
        scopes: tuple[str, ...],
        audiences: tuple[str, ...],
        until: Instant | None,
    ) -> Drawn:
        """Store new tokens of an authorization. `until`: of the decision that gives them (law T5)."""
        authorization, now = live.authorization, entry.tx.now
        ends = min(now + client.oidc.access_token_s, authorization.expires_at)
        ends = ends if until is None else min(ends, until)
        jti = new_id("at")
        rows.add_token(
            entry.tx,
            OauthToken(
                hash=token_hash(jti),
                kind=ACCESS,
                authorization=authorization.id,
                data={"scopes": list(scopes), "audiences": list(audiences), "jkt": jkt},
                created_at=now,
                expires_at=ends,
            ),
        )
        refresh = self._draw_refresh(entry, live, client) if "refresh_token" in client.oidc.grants else ""
        return Drawn(jti, scopes, audiences, jkt, now, ends, refresh)

    def _draw_refresh(self, entry: Entry, live: Live, client: Client) -> str:
        authorization = live.authorization
        ends = min(authorization.expires_at, authorization.created_at + client.oidc.refresh_token_s)
        if ends <= entry.tx.now:
            return ""
        refresh = new_token(REFRESH_PREFIX)
        rows.add_token(
            entry.tx, OauthToken(token_hash(refresh), REFRESH, authorization.id, {}, entry.tx.now, ends)
        )
        return refresh

    def render(self, live: Live, client: Client, drawn: Drawn) -> dict[str, Any]:
        """Sign what was drawn, and return the token response. Not inside a transaction."""
        subject = self._issuing.subject(live.authorization.person)
        access = self._access(live, client, drawn, subject)
        answer: dict[str, Any] = {
            "access_token": access,
            "token_type": "DPoP" if drawn.jkt else "Bearer",
            "expires_in": max(0, int(drawn.expires_at - drawn.issued_at)),
            "scope": " ".join(drawn.scopes),
        }
        if "openid" in drawn.scopes:
            answer["id_token"] = self._id(live, client, drawn, subject, access)
        if drawn.refresh:
            answer["refresh_token"] = drawn.refresh
        return answer

    def _access(self, live: Live, client: Client, drawn: Drawn, subject: Subject) -> str:
        issuing = self._issuing
        claims: dict[str, Any] = {
            "iss": issuing.issuer,
            "sub": subject.username,
            "aud": self._audience(drawn.audiences),
            "client_id": client.name,
            "iat": int(drawn.issued_at),
            "exp": int(drawn.expires_at),
            "jti": drawn.jti,
            "scope": " ".join(drawn.scopes),
            "sid": live.authorization.sid,
            **session_claims(live.session),
        }
        if "groups" in drawn.scopes:
            claims["groups"] = subject.field("groups")
        if drawn.jkt:
            claims["cnf"] = {"jkt": drawn.jkt}
        return issuing.signing.sign(claims, typ=ACCESS_TYPE, alg=client.oidc.signing)

    def _audience(self, names: Iterable[str]) -> str | list[str]:
        """Return `aud`: the APIs, else we ourselves (userinfo)."""
        found = [api.audience for api in self._issuing.audiences(names) if api.audience]
        return found[0] if len(found) == 1 else found or self._issuing.issuer

    def _id(self, live: Live, client: Client, drawn: Drawn, subject: Subject, access: str) -> str:
        claims = person_claims(subject, drawn.scopes, client.oidc.claims)
        claims |= id_claims(
            self._issuing.issuer,
            live.authorization,
            live.session,
            now=drawn.issued_at,
            life_s=drawn.expires_at - drawn.issued_at,
            at=access,
        )
        return self._issuing.signing.sign(claims, typ="JWT", alg=client.oidc.signing)

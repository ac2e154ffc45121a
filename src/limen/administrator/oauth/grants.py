"""The token endpoint's grants of people: a code for tokens, a refresh token for the next ones.

What is wrong with a code or token that was good once ends what came of it, in a transaction of its own: the
answer is `invalid_grant` for every reason, and the reason is in the journal.

Source: RFC 6749 sections 4.1.3, 6, 10.4; RFC 7636 section 4.6; RFC 9700 sections 2.1.1, 4.14.2.
"""

import hmac
import re
from collections.abc import Mapping
from typing import Any

from limen.administrator.oauth.clients import Client
from limen.administrator.oauth.issuing import Issuing, Live
from limen.administrator.oauth.request import RequestRefused, parse_audiences
from limen.administrator.oauth.tokens import Drawn, Tokens
from limen.administrator.oauth.values import Grant, OAuthRefused, TokenRequest
from limen.core import base64url
from limen.core.ids import Instant
from limen.core.tokens import token_hash
from limen.store import oauth as rows
from limen.store.oauth import CODE, REFRESH, Authorization, OauthToken

CODE_GRANT = "authorization_code"
REFRESH_GRANT = "refresh_token"
TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 section 4.1


class Grants:
    """`authorization_code` and `refresh_token`. Threads may share it."""

    def __init__(self, issuing: Issuing, tokens: Tokens) -> None:
        self._issuing = issuing
        self._tokens = tokens

    def grants(self) -> Mapping[str, Grant]:
        """Return the grants by `grant_type`."""
        return {CODE_GRANT: self.redeem, REFRESH_GRANT: self.refresh}

    def redeem(self, request: TokenRequest) -> Mapping[str, Any]:
        """Give tokens for a code (RFC 6749 section 4.1.3). The code is spent either way.

        Raises:
            OAuthRefused: it is not good, or policy says no.
        """
        client = self._client(request, CODE_GRANT)
        token, live = self._present(client, CODE, request.form.get("code", ""))
        jkt = self._issuing.clients.prove_key(client, request)  # last: a proof that counts is stored
        wrong = _wrong_code(token, request, jkt)
        if wrong:
            self._end(live.authorization, "client.code_refused", f"a code was brought wrongly: {wrong}")
            raise _invalid("code")
        return self._issue(request, client, token, live, jkt=jkt, scopes=live.authorization.scopes)

    def refresh(self, request: TokenRequest) -> Mapping[str, Any]:
        """Give the next tokens for a refresh token, which is then used (law T3).

        Raises:
            OAuthRefused: it is not good, or policy says no.
        """
        client = self._client(request, REFRESH_GRANT)
        token, live = self._present(client, REFRESH, request.form.get("refresh_token", ""))
        jkt = self._issuing.clients.prove_key(client, request)
        bound = live.authorization.jkt
        if bound and not hmac.compare_digest(bound.encode(), jkt.encode()):
            # Not spent: whoever stole it without the key must not be able to end it for its owner either.
            raise OAuthRefused("invalid_dpop_proof", "The refresh token is bound to another key.")
        scopes = _narrower(request.form.get("scope"), live.authorization)
        self._issuing.desk.sessions.see(live.session)  # the app is in use, as a request of it would say
        return self._issue(request, client, token, live, jkt=jkt, scopes=scopes)

    # --- what was presented ------------------------------------------------------------------------

    def _client(self, request: TokenRequest, grant: str) -> Client:
        client = self._issuing.clients.identify(request)
        if grant not in client.oidc.grants:
            raise OAuthRefused("unauthorized_client", f"This client may not use {grant}.")
        return client

    def _present(self, client: Client, kind: str, text: str) -> tuple[OauthToken, Live]:
        """Return a code or refresh token of this client that may be used now.

        Raises:
            OAuthRefused: it is none. One that was used before, or that another client brings, has leaked.
        """
        with self._issuing.desk.ledger.store.read() as connection:
            token = rows.load_token(connection, token_hash(text), kind) if text else None
            found = rows.load_authorization(connection, token.authorization) if token else None
            live = self._issuing.find_live(connection, found.id) if found else None
        if token is None or found is None:
            raise _invalid(kind)
        if found.client != client.name:
            self._end(found, f"client.{kind}_refused", f"another client brought the {kind}: {client.name}")
            raise _invalid(kind)
        if token.used_at is not None:
            self._end(found, f"client.{kind}_reused", f"a {kind} was used twice")
            raise _invalid(kind)
        if live is None or token.expires_at <= self._issuing.desk.clock.now():
            raise _invalid(kind)
        return token, live

    def _end(self, authorization: Authorization, event: str, why: str) -> None:
        with self._issuing.desk.ledger.entry("limen", why) as entry:
            if self._issuing.end(entry, authorization, why):
                entry.note(event, target=authorization.client, person=authorization.person, why=why)

    # --- what is given -----------------------------------------------------------------------------

    def _issue(
        self,
        request: TokenRequest,
        client: Client,
        token: OauthToken,
        live: Live,
        *,
        jkt: str,
        scopes: tuple[str, ...],
    ) -> Mapping[str, Any]:
        issuing = self._issuing
        audiences = _chosen(request, client, live, issuing)
        asked = (client.config, *issuing.audiences(audiences))
        # A server that redeems or refreshes is not where its person is; a program of their own is.
        ip = request.ip if client.public else live.session.ip
        answer = issuing.decide(live.session, asked, ip=ip, path=TOKEN_PATH)
        if not answer.decision.allowed:
            self._end(live.authorization, "client.denied", f"denied: {answer.decision.code}")
            raise _invalid(token.kind)
        self._tokens.ready(live.session.person, client)
        until = answer.decision.deadline_at
        drawn = self._draw(
            request, client, token, live, jkt=jkt, scopes=scopes, audiences=audiences, until=until
        )
        if drawn is None:
            self._end(live.authorization, f"client.{token.kind}_reused", f"a {token.kind} was used twice")
            raise _invalid(token.kind)
        return self._tokens.render(live, client, drawn)

    def _draw(
        self,
        request: TokenRequest,
        client: Client,
        token: OauthToken,
        live: Live,
        *,
        jkt: str,
        scopes: tuple[str, ...],
        audiences: tuple[str, ...],
        until: Instant | None,
    ) -> Drawn | None:
        """Use the code or token, and store the next ones; None if somebody else was quicker.

        Raises:
            OAuthRefused: the session has ended meanwhile.
        """
        person, name = live.session.person, client.name
        with self._issuing.desk.ledger.entry(person, f"tokens for {name}", ip=request.ip) as entry:
            current = self._issuing.find_live(entry.tx.connection, live.authorization.id)
            if current is None:
                raise _invalid(token.kind)
            if not rows.spend_token(entry.tx, token.hash):
                return None
            if token.kind == CODE:
                rows.mark_redeemed(entry.tx, live.authorization.id, jkt if client.public else "")
                entry.note("client.signed_in", target=name, person=person)
            return self._tokens.draw(
                entry, current, client, jkt=jkt, scopes=scopes, audiences=audiences, until=until
            )


def _wrong_code(token: OauthToken, request: TokenRequest, jkt: str) -> str:
    """Return what is wrong with how a code was brought; empty when nothing is."""
    data, form = token.data, request.form
    if form.get("redirect_uri", "") != data["redirect_uri"]:
        return "another redirect_uri"
    verifier = form.get("code_verifier", "")
    if not _VERIFIER.fullmatch(verifier):
        return "no code_verifier"
    if not hmac.compare_digest(challenge_of(verifier), str(data["challenge"])):
        return "another code_verifier"
    if data["jkt"] and data["jkt"] != jkt:
        return "another DPoP key"
    return ""


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return base64url.sha256(verifier)


def _narrower(text: str | None, authorization: Authorization) -> tuple[str, ...]:
    """Return the scopes that a refresh asks for, never more than were given (RFC 6749 section 6)."""
    if not text:
        return authorization.scopes
    asked = tuple(dict.fromkeys(text.split(" ")))
    if not set(asked) <= set(authorization.scopes):
        raise OAuthRefused("invalid_scope", "`scope` has more than was given.")
    return asked


def _chosen(request: TokenRequest, client: Client, live: Live, issuing: Issuing) -> tuple[str, ...]:
    """Return the APIs that this access token is for: those given, or one of them (RFC 8707 section 2.2)."""
    given = live.authorization.audiences
    resource = request.form.get("resource")
    if resource is None:
        return given
    try:
        asked = parse_audiences((resource,), client.oidc, issuing.desk.catalogue())
    except RequestRefused as error:
        raise OAuthRefused(error.error, error.message) from None
    if not set(asked) <= set(given):
        raise OAuthRefused("invalid_target", "`resource` was not asked for when signing in.")
    return asked


def _invalid(kind: str) -> OAuthRefused:
    words = {CODE: "code", REFRESH: "refresh token"}
    return OAuthRefused("invalid_grant", f"The {words.get(kind, kind)} is not good. Sign in again.")

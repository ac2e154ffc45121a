"""Tokens that come back: userinfo, introspection, revocation.

Law:
    I1 asked of the owner. A client learns of, and ends, its own tokens; an API learns of those that are for
       it. Of every other token both are told what they are told of rubbish.

Source: OIDC Core 1.0 section 5.3, RFC 6750, RFC 7662, RFC 7009, RFC 9449 section 7, RFC 9470.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.administrator.oauth.claims import person_claims
from limen.administrator.oauth.clients import Client
from limen.administrator.oauth.issuing import Issuing, Live
from limen.administrator.oauth.tokens import ACCESS_TYPE
from limen.administrator.oauth.values import OAuthRefused, TokenRequest
from limen.core.entities import Status
from limen.core.tokens import token_hash
from limen.information.identity import dpop
from limen.information.identity.jwks import TokenInvalid
from limen.store import oauth as rows
from limen.store.oauth import ACCESS, REFRESH, OauthToken
from limen.store.workloads import find_workload

INACTIVE: Mapping[str, Any] = {"active": False}


class _Access(msgspec.Struct, frozen=True):
    """An access token of a person that is good now."""

    claims: Mapping[str, Any]
    row: OauthToken
    live: Live


class Inspection:
    """Answers about tokens. Threads may share it."""

    def __init__(self, issuing: Issuing) -> None:
        self._issuing = issuing

    # --- userinfo ----------------------------------------------------------------------------------

    def userinfo(self, request: TokenRequest) -> Mapping[str, Any]:
        """Return what the bearer of an access token for us may know of its person.

        Raises:
            OAuthRefused: 401 with a challenge, or 403 for want of scope.
        """
        scheme, _, token = request.authorization.partition(" ")
        scheme, token = scheme.lower(), token.strip()
        if scheme not in ("bearer", "dpop") or not token:
            raise _challenge("", "An access token is needed.")
        found = self._find_access(token)
        if found is None or self._issuing.issuer not in _listed(found.claims.get("aud")):
            raise _challenge("invalid_token", "The access token is not good.")
        self._demand_key(request, found, token, scheme)
        scopes = str(found.claims.get("scope", "")).split()
        if "openid" not in scopes:
            raise _challenge("insufficient_scope", "The scope openid is needed.", status=403)
        subject = self._issuing.subject(found.live.authorization.person)
        oidc = found.live.client.oidc
        more = oidc.claims if oidc is not None else {}
        self._issuing.desk.sessions.see(found.live.session)
        return {"sub": subject.username, **person_claims(subject, scopes, more)}

    def _demand_key(self, request: TokenRequest, found: _Access, token: str, scheme: str) -> None:
        """Check that a bound token comes with its proof, and no other as if it were bound (RFC 9449 7.1)."""
        jkt = found.row.data.get("jkt", "")
        if bool(jkt) != (scheme == "dpop"):
            raise _challenge("invalid_token", "The access token is not presented as it is bound.")
        if not jkt:
            return
        try:
            shown = self._issuing.clients.verify_proof(request, access_token=token)
        except OAuthRefused as error:
            raise _challenge("invalid_dpop_proof", error.message, bound=True) from None
        if shown != jkt:
            raise _challenge("invalid_token", "The access token is bound to another key.", bound=True)

    # --- introspection -----------------------------------------------------------------------------

    def introspect(self, request: TokenRequest) -> Mapping[str, Any]:
        """Return what a client that proves itself may know of a token (RFC 7662).

        Raises:
            OAuthRefused: the client is not proven, or public: anybody could ask then.
        """
        client = self._issuing.clients.identify(request)
        if client.public:
            raise OAuthRefused("unauthorized_client", "A public client may not ask about tokens.")
        token = request.form.get("token", "")
        access = self._find_access(token)
        if access is not None:
            return self._tell_access(client, access)
        claims = self._read(token)
        if claims is not None:
            return self._tell_machine(client, claims)
        return self._tell_refresh(client, token)

    def _tell_machine(self, client: Client, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell an API about a workload's token for it: good while the workload is."""
        kind, _, name = str(claims.get("sub", "")).partition(":")
        now, audience = self._issuing.desk.clock.now(), client.config.audience
        if kind != "workload" or not audience or audience not in _listed(claims.get("aud")):
            return INACTIVE
        with self._issuing.desk.ledger.store.read() as connection:
            found = find_workload(connection, name)
        if found is None or found.status is not Status.ACTIVE or found.quarantined or claims["exp"] <= now:
            return INACTIVE
        if found.expires_at is not None and found.expires_at <= now:
            return INACTIVE
        bound = claims.get("cnf", {})
        return {"active": True, "token_type": "DPoP" if "jkt" in bound else "Bearer", **claims}

    def _tell_access(self, client: Client, found: _Access) -> Mapping[str, Any]:
        mine = found.live.client.name == client.name
        if not mine and client.config.audience not in _listed(found.claims.get("aud")):
            return INACTIVE
        said = {name: value for name, value in found.claims.items() if name != "sid" or mine}
        kind = "DPoP" if found.row.data.get("jkt") else "Bearer"
        return {"active": True, "token_type": kind, "username": found.claims["sub"], **said}

    def _tell_refresh(self, client: Client, token: str) -> Mapping[str, Any]:
        with self._issuing.desk.ledger.store.read() as connection:
            row = rows.load_token(connection, token_hash(token), REFRESH) if token else None
            live = self._issuing.find_live(connection, row.authorization) if row else None
        now = self._issuing.desk.clock.now()
        if row is None or live is None or row.used_at is not None or row.expires_at <= now:
            return INACTIVE
        if live.client.name != client.name:
            return INACTIVE
        return {
            "active": True,
            "client_id": client.name,
            "sub": live.authorization.person,
            "username": live.authorization.person,
            "scope": " ".join(live.authorization.scopes),
            "iss": self._issuing.issuer,
            "iat": int(row.created_at),
            "exp": int(row.expires_at),
        }

    # --- revocation --------------------------------------------------------------------------------

    def revoke(self, request: TokenRequest) -> None:
        """End a token of the client that asks; whether it was good is not told (RFC 7009 section 2.2).

        Raises:
            OAuthRefused: the client is not proven.
        """
        client = self._issuing.clients.identify(request)
        token = request.form.get("token", "")
        why = "the client revoked it"
        with self._issuing.desk.ledger.entry("limen", why, ip=request.ip) as entry:
            connection = entry.tx.connection
            refresh = rows.load_token(connection, token_hash(token), REFRESH) if token else None
            found = rows.load_authorization(connection, refresh.authorization) if refresh else None
            if found is not None and found.client == client.name:
                self._issuing.end(entry, found, why, tell=False)
                return
            claims = self._read(token)
            row = rows.load_token(connection, token_hash(str(claims.get("jti"))), ACCESS) if claims else None
            if row is not None and claims is not None and claims.get("client_id") == client.name:
                rows.remove_token(entry.tx, row.hash)

    # --- inside ------------------------------------------------------------------------------------

    def _read(self, token: str) -> Mapping[str, Any] | None:
        """Return the claims of an access token that we signed."""
        try:
            claims = self._issuing.signing.verify(token, typ=ACCESS_TYPE)
        except TokenInvalid:
            return None
        return claims if claims.get("iss") == self._issuing.issuer else None

    def _find_access(self, token: str) -> _Access | None:
        """Return an access token that is good now: signed by us, stored, of a live authorization."""
        claims = self._read(token)
        if claims is None:
            return None
        with self._issuing.desk.ledger.store.read() as connection:
            row = rows.load_token(connection, token_hash(str(claims.get("jti"))), ACCESS)
            live = self._issuing.find_live(connection, row.authorization) if row else None
        if row is None or live is None or row.expires_at <= self._issuing.desk.clock.now():
            return None
        return _Access(claims, row, live)


def _listed(aud: object) -> list[Any]:
    return aud if isinstance(aud, list) else [aud]


def _challenge(error: str, message: str, *, status: int = 401, bound: bool = False) -> OAuthRefused:
    """Return a refusal with its challenge (RFC 6750 section 3); without a token there is no error in it."""
    said = f', error="{error}", error_description="{message}"' if error else ""
    algorithms = f', algs="{" ".join(dpop.ALGORITHMS)}"'
    schemes = ["DPoP"] if bound else ["Bearer", "DPoP"]
    challenge = ", ".join(
        f'{scheme} realm="limen"{said}{algorithms if scheme == "DPoP" else ""}' for scheme in schemes
    )
    return OAuthRefused(
        error or "invalid_token", message, status=status, headers={"www-authenticate": challenge}
    )

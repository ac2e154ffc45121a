"""The authorization server as one part: what the console's routes call, and what control runs beside them."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from limen.administrator.authority import Authority
from limen.administrator.connect import ConnectDesk
from limen.administrator.desk import Desk
from limen.administrator.oauth.authorization import Authorizations
from limen.administrator.oauth.backchannel import BackChannel
from limen.administrator.oauth.clients import Clients
from limen.administrator.oauth.device import DeviceFlow
from limen.administrator.oauth.grants import Grants
from limen.administrator.oauth.inspection import Inspection
from limen.administrator.oauth.issuing import Issuing
from limen.administrator.oauth.leash import ClientLeash
from limen.administrator.oauth.levels import ACR_VALUES
from limen.administrator.oauth.logout import Logout
from limen.administrator.oauth.tokens import Tokens
from limen.administrator.oauth.values import Grant, OAuthRefused, TokenRequest
from limen.administrator.signing_keys import SIGNING_ALGORITHMS, SigningKeys
from limen.core.secret import Secret
from limen.information.identity import dpop, jwks

PATHS: Mapping[str, str] = {
    "authorization_endpoint": "/oauth2/authorize",
    "token_endpoint": "/oauth2/token",
    "userinfo_endpoint": "/oauth2/userinfo",
    "jwks_uri": "/oauth2/jwks",
    "introspection_endpoint": "/oauth2/introspect",
    "revocation_endpoint": "/oauth2/revoke",
    "device_authorization_endpoint": "/oauth2/device",
    "end_session_endpoint": "/oauth2/logout",
}
AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")


class AuthorizationServer:
    """Everything of it. `grants` has more when machines have some (`add_grants`).

    Args:
        secret: reads a stored secret by name.
        transport: how clients are spoken to; None is the network.
    """

    def __init__(
        self,
        desk: Desk,
        authority: Authority,
        *,
        connect: ConnectDesk,
        signing: SigningKeys,
        secret: Callable[[str], Secret[str]],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.desk = desk
        self.signing = signing
        self.clients = Clients(desk, secret, transport)
        self.issuing = Issuing(desk, authority, signing, self.clients)
        tokens = Tokens(self.issuing)
        self.authorizations = Authorizations(self.issuing)
        self.device = DeviceFlow(self.issuing, tokens, connect)
        self.inspection = Inspection(self.issuing)
        self.logout = Logout(self.issuing)
        self.leash = ClientLeash(self.issuing)
        self.backchannel = BackChannel(self.issuing, transport)
        own = Grants(self.issuing, tokens).grants()
        self.grants: dict[str, Grant] = {**own, **self.device.grants()}
        self.more_metadata: Callable[[], Mapping[str, Any]] = dict

    def add_grants(self, more: Mapping[str, Grant]) -> None:
        """Take more grants in."""
        assert self.grants.keys().isdisjoint(more), "a grant has one part that answers it"
        self.grants |= more

    def token(self, request: TokenRequest) -> Mapping[str, Any]:
        """Answer the token endpoint.

        Raises:
            OAuthRefused: no such grant, or the grant says so.
        """
        kind = request.form.get("grant_type", "")
        if not kind:
            raise OAuthRefused("invalid_request", "`grant_type` is missing.")
        grant = self.grants.get(kind)
        if grant is None:
            raise OAuthRefused("unsupported_grant_type", "`grant_type` is not one of this server's.")
        return grant(request)

    def keys(self) -> dict[str, Any]:
        """Return the key set, with a key of every algorithm that a client is configured for."""
        clients = self.desk.catalogue().clients.values()
        wanted = {client.oidc.signing for client in clients if client.oidc is not None}
        return self.signing.jwks(sorted(wanted | {"RS256"}))

    def metadata(self) -> dict[str, Any]:
        """Return what discovery says (OIDC Discovery 1.0 section 3, RFC 8414 section 2)."""
        issuer = self.desk.auth_origin
        clients = self.desk.catalogue().clients.values()
        scopes = sorted({scope for one in clients if one.oidc is not None for scope in one.oidc.scopes})
        signed = list(jwks.ALGORITHMS)
        return {
            "issuer": issuer,
            **{name: issuer + path for name, path in PATHS.items()},
            "scopes_supported": scopes or ["openid"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": sorted(self.grants),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(SIGNING_ALGORITHMS),
            "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
            "token_endpoint_auth_signing_alg_values_supported": signed,
            "introspection_endpoint_auth_methods_supported": list(AUTH_METHODS[1:]),
            "introspection_endpoint_auth_signing_alg_values_supported": signed,
            "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
            "revocation_endpoint_auth_signing_alg_values_supported": signed,
            "code_challenge_methods_supported": ["S256"],
            "dpop_signing_alg_values_supported": list(dpop.ALGORITHMS),
            "acr_values_supported": list(ACR_VALUES),
            "claims_supported": ["sub", "name", "preferred_username", "email", "email_verified", "groups"],
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "claims_parameter_supported": False,
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
            "authorization_response_iss_parameter_supported": True,
            "frontchannel_logout_supported": True,
            "frontchannel_logout_session_supported": True,
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
            **self.more_metadata(),
        }

"""Clients of a bundle: apps elsewhere that people sign in to through Limen, and APIs."""

from collections.abc import Mapping

import msgspec

from limen.core.ids import EntityRef


class OidcClient(msgspec.Struct, frozen=True):
    """What an OpenID Connect client needs.

    Attributes:
        auth: `none` (public, PKCE), `secret`, `private_key_jwt`.
        secrets: names of stored secrets; a second one while the first is being replaced.
        jwks: the client's own keys, a JWK Set as JSON text; `jwks_uri` where it publishes them.
        grants: `authorization_code`, `refresh_token`, `device_code`.
        audiences: APIs (clients with an `audience`) that it may ask tokens for, by name.
        claims: name of a claim to the field that it is made of (`username`, `email`, `name`, `groups`, an
            attribute).
        dpop: each of its requests for tokens proves a key (RFC 9449).
        ca_pem: what may sign the certificates of its `jwks_uri` and `backchannel_logout_uri`; None is the
            system's roots.
    """

    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    auth: str = "none"
    secrets: tuple[str, ...] = ()
    jwks: str | None = None
    jwks_uri: str | None = None
    grants: tuple[str, ...] = ("authorization_code", "refresh_token")
    scopes: tuple[str, ...] = ("openid", "profile", "email", "groups", "offline_access")
    audiences: tuple[str, ...] = ()
    claims: Mapping[str, str] = {}
    access_token_s: float = 300.0
    refresh_token_s: float = 43_200.0
    frontchannel_logout_uri: str | None = None
    backchannel_logout_uri: str | None = None
    signing: str = "RS256"
    dpop: bool = False
    ca_pem: str | None = None


class SamlClient(msgspec.Struct, frozen=True):
    """What a SAML service provider needs. `metadata` is its own, XML text.

    Attributes:
        name_id: what people are named by there: `username`, `email`, `persistent` (a name for it alone).
        attributes: name of an attribute to the field that it is made of.
        session_s: after this it must ask again.
    """

    metadata: str = ""
    name_id: str = "username"
    attributes: Mapping[str, str] = {}
    session_s: float = 3_600.0


class ClientConfig(msgspec.Struct, frozen=True):
    """An app elsewhere. It has `oidc` or `saml`, or it is an API and has an `audience`."""

    name: str
    owner: str | None = None
    labels: tuple[str, ...] = ()
    segment: str | None = None
    allow: tuple[str, ...] = ()
    title: str = ""  # what people read
    url: str | None = None  # where the portal leads
    audience: str | None = None
    oidc: OidcClient | None = None
    saml: SamlClient | None = None

    @property
    def ref(self) -> EntityRef:
        """The Cedar entity of this client."""
        return EntityRef("Client", self.name)

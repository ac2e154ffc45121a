"""Clients of a bundle: apps elsewhere that people sign in to through Limen, and APIs."""

from collections.abc import Mapping

import msgspec

from limen.core.ids import EntityRef


class OidcClient(msgspec.Struct, frozen=True):
    """What an OpenID Connect client needs. `secret` names a stored secret.

    Attributes:
        auth: `none` (public, PKCE), `secret`, `private_key_jwt`.
        jwks: the client's own keys, a JWK Set as JSON text; `jwks_uri` where it publishes them.
        grants: `authorization_code`, `refresh_token`, `device_code`.
        claims: name of a claim to the field that it is made of (`username`, `email`, `name`, `groups`, an
            attribute).
    """

    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    auth: str = "none"
    secret: str | None = None
    jwks: str | None = None
    jwks_uri: str | None = None
    grants: tuple[str, ...] = ("authorization_code", "refresh_token")
    scopes: tuple[str, ...] = ("openid", "profile", "email", "groups")
    audiences: tuple[str, ...] = ()  # APIs (clients with an `audience`) that it may ask tokens for
    claims: Mapping[str, str] = {}
    access_token_s: float = 300.0
    refresh_token_s: float = 43_200.0
    frontchannel_logout_uri: str | None = None
    backchannel_logout_uri: str | None = None
    signing: str = "RS256"


class SamlClient(msgspec.Struct, frozen=True):
    """What a SAML service provider needs. `metadata` is its own, XML text.

    Attributes:
        name_id: the field that is the NameID: `username`, `email`, `persistent`.
        attributes: name of an attribute to the field that it is made of.
    """

    metadata: str = ""
    name_id: str = "username"
    attributes: Mapping[str, str] = {}
    encrypt: bool = False


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

"""The catalogue of a bundle: which apps exist, where they are, and how their paths map to actions."""

from collections.abc import Mapping

import msgspec

from limen.core.ids import EntityRef

ADMIN_APP = "limen"
"""The app by whose policies Limen itself is administered."""

AUTH_HOST = "auth"
"""The label of the sign-in host below the domain; no app may have it."""

BUILT_IN_ATTRIBUTES: Mapping[str, str] = {
    "department": "String",
    "title": "String",
    "location": "String",
    "employer": "String",
}
"""Attributes of people that every organisation has, and their Cedar types."""

CEDAR_TYPES: Mapping[str, type] = {"String": str, "Long": int, "Bool": bool}
"""Cedar types that an attribute may have, and what holds their values here."""


class RouteConfig(msgspec.Struct, frozen=True):
    """A part of an app. `path` is a pattern: literal segments, `*` for one, `**` at the end for any."""

    name: str
    path: str
    methods: tuple[str, ...] = ()  # empty: all
    action: str | None = None  # None: by method
    public: bool = False
    labels: tuple[str, ...] = ()


class IdentityConfig(msgspec.Struct, frozen=True):
    """How the app learns who it is.

    `kind` is `assertion`, `headers` or `basic`. `headers` maps a field of the identity (`user`,
    `email`, `groups`, `name`) to a header name.
    """

    kind: str = "assertion"
    headers: Mapping[str, str] = {}
    basic_user: str = ""
    basic_secret: str = ""


class UpstreamTls(msgspec.Struct, frozen=True):
    """How the upstream proves itself. `ca_pem` is the content; None means the system's roots."""

    ca_pem: str | None = None
    name: str | None = None


class CorsConfig(msgspec.Struct, frozen=True):
    """Origins that may call the app from a browser page of theirs."""

    origins: tuple[str, ...] = ()


class AppConfig(msgspec.Struct, frozen=True):
    """One protected web app."""

    name: str
    host: str  # full host name, lower case
    upstream: tuple[str, ...]  # http(s)://host:port
    owner: str | None = None
    labels: tuple[str, ...] = ()
    segment: str | None = None
    allow: tuple[str, ...] = ()  # `group:staff`, `user:ada`
    identity: IdentityConfig = IdentityConfig()
    upstream_tls: UpstreamTls | None = None
    preserve_host: bool = True
    timeout_s: float = 60.0
    max_body_bytes: int = 50_000_000
    staleness_max_s: float = 300.0
    allow_encoded_slash: bool = False
    cors: CorsConfig | None = None
    routes: tuple[RouteConfig, ...] = ()
    trusts: tuple[str, ...] = ()  # apps of the domain that may post here

    @property
    def ref(self) -> EntityRef:
        """The Cedar entity of this app."""
        return EntityRef("App", self.name)


class OidcConfig(msgspec.Struct, frozen=True):
    """One upstream OpenID provider. `client_secret` names a stored secret."""

    name: str
    issuer: str
    client_id: str
    client_secret: str | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    groups_claim: str = "groups"
    username_claim: str = "preferred_username"
    ca_pem: str | None = None
    create: bool = True  # make the person at first sign-in
    group_prefix: str = ""


class EdgeConfig(msgspec.Struct, frozen=True):
    """Proxies in front of the gateway. Unset: forwarded headers are ignored."""

    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False


class CertificateConfig(msgspec.Struct, frozen=True):
    """The organisation's own certificate, by absolute path. Unset: the development CA."""

    cert: str
    key: str


class Catalogue(msgspec.Struct, frozen=True):
    """Everything of `limen.yaml`, parsed."""

    domain: str
    timezone: str = "UTC"
    apps: Mapping[str, AppConfig] = {}
    attributes: Mapping[str, str] = {}  # name -> Cedar type (String, Long, Bool)
    segments: Mapping[str, str | None] = {}  # name -> parent
    edge: EdgeConfig = EdgeConfig()
    oidc: tuple[OidcConfig, ...] = ()
    certificate: CertificateConfig | None = None
    session_max_s: int = 43_200
    session_idle_s: int = 3_600

    @property
    def attribute_types(self) -> Mapping[str, str]:
        """Every attribute that a person may have: name to Cedar type."""
        return {**BUILT_IN_ATTRIBUTES, **self.attributes}

    @property
    def auth_host(self) -> str:
        """The host of sign-in."""
        return f"{AUTH_HOST}.{self.domain}"

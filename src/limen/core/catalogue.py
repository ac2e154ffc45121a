"""The catalogue of a bundle: which apps exist, where they are, and how their paths map to actions."""

from collections.abc import Mapping

import msgspec

from limen.core.ids import EntityRef

ADMIN_APP = "limen"
"""The app by whose policies Limen itself is administered."""

AUTH_HOST = "auth"
"""The label of the sign-in host below the domain; no app may have it."""

CONNECT_APP = "@connect"
"""What a client of `limen connect` has a session of: all services, no app. No app can have this name."""

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
    streaming: bool = False  # answers may be long: held by the leash instead of cut by the clock


class StreamLimits(msgspec.Struct, frozen=True):
    """How many live streams there may be, and how long each.

    Attributes:
        per_session, per_subject, per_resource: at once, at one gateway.
        idle_s: without a byte either way.
        max_s: a stream's whole life.
    """

    per_session: int = 100
    per_subject: int = 500
    per_resource: int = 10_000
    idle_s: float = 3_600.0
    max_s: float = 43_200.0


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
    upgrades: tuple[str, ...] = ("websocket",)  # values of `Upgrade` that it may be asked for
    http2: bool = False  # the upstream is spoken to in HTTP/2, as gRPC needs
    streams: StreamLimits = StreamLimits()

    @property
    def ref(self) -> EntityRef:
        """The Cedar entity of this app."""
        return EntityRef("App", self.name)


class ServiceConfig(msgspec.Struct, frozen=True):
    """One protected TCP service, reached by CONNECT to `<host>:443`."""

    name: str
    host: str  # `<name>.<domain>`, lower case
    address: str  # of the server: a name or an IP address, without port and without brackets
    port: int
    protocol: str = "tcp"  # what policies and people see: ssh, postgres, redis, tcp …
    owner: str | None = None
    labels: tuple[str, ...] = ()
    segment: str | None = None
    allow: tuple[str, ...] = ()
    staleness_max_s: float = 300.0
    streams: StreamLimits = StreamLimits()

    @property
    def ref(self) -> EntityRef:
        """The Cedar entity of this service."""
        return EntityRef("Service", self.name)


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
    services: Mapping[str, ServiceConfig] = {}
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

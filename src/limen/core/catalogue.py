"""The catalogue of a bundle: which apps exist, where they are, and how their paths map to actions."""

from collections.abc import Mapping

import msgspec

from limen.core.client_config import ClientConfig
from limen.core.identity_config import OidcConfig, SourcesConfig
from limen.core.ids import EntityRef
from limen.core.rollout import ENFORCED, Rollout

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

NAMED_FILES = (".pem", ".xml", ".json")
"""Endings of what a bundle holds where `limen.yaml` names it: certificates, SAML metadata, key sets."""

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
    rollout: Rollout | None = None  # None: the app's


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
    rollout: Rollout = ENFORCED

    @property
    def ref(self) -> EntityRef:
        """The Cedar entity of this app."""
        return EntityRef("App", self.name)

    def rollout_of(self, resource: EntityRef) -> Rollout:
        """Return the rollout of the app, or of that route of it which has one of its own."""
        for route in self.routes:
            if route.rollout is not None and resource == ("Route", f"{self.name}/{route.name}"):
                return route.rollout
        return self.rollout


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
    rollout: Rollout = ENFORCED

    @property
    def ref(self) -> EntityRef:
        """The Cedar entity of this service."""
        return EntityRef("Service", self.name)

    def rollout_of(self, resource: EntityRef) -> Rollout:
        """Return the rollout of the service: it has no parts."""
        return self.rollout


class EdgeConfig(msgspec.Struct, frozen=True):
    """Proxies in front of the gateway. Unset: forwarded headers are ignored."""

    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False


class CertificateConfig(msgspec.Struct, frozen=True):
    """The organisation's own certificate, by absolute path. Unset: the development CA."""

    cert: str
    key: str


class JournalConfig(msgspec.Struct, frozen=True):
    """How journals are kept, on every node.

    Attributes:
        on_full: `deny`: nothing is allowed that cannot be recorded. `buffer`: records wait in memory, up to
            `buffer_bytes`, and then nothing is allowed.
        sync: each record is on the disk before its answer leaves.
        keep_s: how long records are kept, by class (`decisions`, `events`); others are kept for ever.
        bytes_max: sealed segments of a node, together; None is without bound.
        compact: sealed segments become Parquet.
        witness: folder on control's machine into which countersigned checkpoints are copied; empty for none.
    """

    on_full: str = "deny"
    buffer_bytes: int = 64 * 1024 * 1024
    sync: bool = False
    keep_s: Mapping[str, float] = {}
    bytes_max: int | None = None
    compact: bool = True
    witness: str = ""


class ExportConfig(msgspec.Struct, frozen=True):
    """A live sink of the journal's records.

    Attributes:
        kind: `syslog` (RFC 5424 over TLS), `https` (batches), `otlp` (OpenTelemetry logs over HTTP).
        url: `host:port` of a syslog collector, an https URL of the others.
        format: `ocsf` or `jsonl`; of what a syslog message or a batch carries.
        classes: `decisions`, `events`.
        secret: the stored secret sent as bearer token; None for none.
        pseudonyms: the stored secret under which people are named by pseudonyms; None names them.
        ca_pem: what may sign the collector's certificate; None is the system's roots.
    """

    name: str
    kind: str
    url: str
    format: str = "ocsf"
    classes: tuple[str, ...] = ("decisions", "events")
    secret: str | None = None
    pseudonyms: str | None = None
    ca_pem: str | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """Everything of `limen.yaml`, parsed.

    Attributes:
        guardrails_approved: a changed guardrail needs a second administrator's approval.
    """

    domain: str
    timezone: str = "UTC"
    apps: Mapping[str, AppConfig] = {}
    services: Mapping[str, ServiceConfig] = {}
    attributes: Mapping[str, str] = {}  # name -> Cedar type (String, Long, Bool)
    segments: Mapping[str, str | None] = {}  # name -> parent
    edge: EdgeConfig = EdgeConfig()
    clients: Mapping[str, ClientConfig] = {}
    oidc: tuple[OidcConfig, ...] = ()
    sources: SourcesConfig = SourcesConfig()
    certificate: CertificateConfig | None = None
    session_max_s: int = 43_200
    session_idle_s: int = 3_600
    journal: JournalConfig = JournalConfig()
    exports: Mapping[str, ExportConfig] = {}
    guardrails_approved: bool = False

    @property
    def attribute_types(self) -> Mapping[str, str]:
        """Every attribute that a person may have: name to Cedar type."""
        return {**BUILT_IN_ATTRIBUTES, **self.attributes}

    @property
    def auth_host(self) -> str:
        """The host of sign-in."""
        return f"{AUTH_HOST}.{self.domain}"

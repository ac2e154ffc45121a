"""Clusters: how Envoy reaches apps and services (CDS)."""

import ipaddress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from limen.core.catalogue import AppConfig, Catalogue, ServiceConfig, StreamLimits, UpstreamTls
from limen.core.errors import Invalid
from limen.enforcement.envoy.settings import CONNECTION_BUFFER_BYTES, EnvoySettings
from limen.enforcement.envoy.typed import seconds, typed

CONNECT_TIMEOUT_S = 5.0
HEALTH_INTERVAL_S = 5.0
HEALTH_TIMEOUT_S = 2.0
EJECT_AFTER = 5  # gateway errors in a row, before an upstream rests for EJECT_S
EJECT_S = 30.0
KEEP_ALIVE_S = 30.0  # below what the check and common app servers keep, so no request meets a closing one
HTTP2_CALLS_MAX = (1 << 31) - 1  # on one connection: the server says how many it takes
CALLS_MAX = 4_096  # at once to one app, besides its live streams
SILENT_S = 300  # after which a live stream's connection is asked whether the server is still there


HTTP1: dict[str, Any] = {"http_protocol_options": {}}


class Upstream(NamedTuple):
    """One address of an app."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The Host header of a request to it: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address rather than a name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


_PORTS = {"http": 80, "https": 443}


def parse_upstreams(app: AppConfig) -> tuple[Upstream, ...]:
    """Return the app's addresses.

    Raises:
        Invalid: an address is not http(s)://host[:port], or the schemes differ.
    """
    found = tuple(_parse_upstream(app.name, url) for url in app.upstream)
    if not found or len({upstream.scheme for upstream in found}) > 1:
        raise Invalid(
            f"apps.{app.name}.upstream needs one or more addresses of one scheme.",
            remedy="Give http:// or https:// addresses, not both.",
        )
    return found


def _parse_upstream(name: str, url: str) -> Upstream:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    plain = parts.path in ("", "/") and not parts.query and not parts.username
    if parts.scheme not in _PORTS or not parts.hostname or port == 0 or not plain:
        raise Invalid(
            f"apps.{name}.upstream: {url!r} is not an address of a server.",
            remedy="Write http://host:port or https://host:port, without a path.",
        )
    return Upstream(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


def cluster_name(app: AppConfig) -> str:
    """Return the name of an app's cluster. App names have no underscore, so it meets no fixed name."""
    return f"app_{app.name}"


def service_cluster_name(service: ServiceConfig) -> str:
    """Return the name of a service's cluster."""
    return f"service_{service.name}"


def render_clusters(catalogue: Catalogue, settings: EnvoySettings) -> list[dict[str, Any]]:
    """Return the clusters of apps and services (CDS), sorted by name."""
    apps = sorted(catalogue.apps.values(), key=lambda app: app.name)
    services = sorted(catalogue.services.values(), key=lambda service: service.name)
    return [_app_cluster(app, settings) for app in apps] + [_service_cluster(each) for each in services]


def _app_cluster(app: AppConfig, settings: EnvoySettings) -> dict[str, Any]:
    upstreams = parse_upstreams(app)
    several: dict[str, Any] = {}
    if len(upstreams) > 1:
        several = {"health_checks": [tcp_health_check()], "outlier_detection": outliers()}
    secure = {}
    if upstreams[0].scheme == "https":
        secure = {"transport_socket": _upstream_tls(app, upstreams, settings)}
    return cluster(
        cluster_name(app),
        [endpoint(_address(upstream), upstream.host) for upstream in upstreams],
        **_addresses(upstreams),
        **_room(app.streams),
        lb_policy="LEAST_REQUEST",
        protocol={"http2_protocol_options": {"allow_connect": True}} if app.http2 else HTTP1,
        **several,
        **secure,
    )


def _service_cluster(service: ServiceConfig) -> dict[str, Any]:
    server = Upstream("tcp", service.address, service.port)
    return cluster(
        service_cluster_name(service),
        [endpoint(_address(server), server.host)],
        **_addresses((server,)),
        **_room(service.streams),
    )


def _room(limits: StreamLimits) -> dict[str, Any]:
    """Room for all live streams of the resource, each of which may need a connection of its own."""
    most = CALLS_MAX + limits.per_resource
    breakers = {"max_connections": most, "max_pending_requests": most, "max_requests": most}
    return {
        "circuit_breakers": {"thresholds": [breakers]},
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": SILENT_S}},
    }


def _addresses(upstreams: tuple[Upstream, ...]) -> dict[str, Any]:
    """How names become addresses. One name is tried at all of its addresses (RFC 8305), `::1` included."""
    if all(upstream.is_address for upstream in upstreams):
        return {"type": "STATIC"}
    if len(upstreams) == 1:
        return {"type": "LOGICAL_DNS", "dns_lookup_family": "ALL"}
    return {"type": "STRICT_DNS", "dns_lookup_family": "V4_PREFERRED"}


def cluster(
    name: str, endpoints: list[dict[str, Any]], *, protocol: dict[str, Any] = HTTP1, **fields: Any
) -> dict[str, Any]:
    """Return a cluster. Without endpoints, `fields` say where they come from."""
    options = typed(
        "HttpProtocolOptions",
        common_http_protocol_options={"idle_timeout": seconds(KEEP_ALIVE_S)},
        explicit_http_config=protocol,
    )
    known = {"load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}}
    return typed(
        "Cluster",
        **{
            "name": name,
            "type": "STATIC",
            "connect_timeout": seconds(CONNECT_TIMEOUT_S),
            "per_connection_buffer_limit_bytes": CONNECTION_BUFFER_BYTES,
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
            },
            **(known if endpoints else {}),
            **fields,
        },
    )


def endpoint(address: dict[str, Any], hostname: str = "") -> dict[str, Any]:
    """Return one server of a cluster."""
    return {"endpoint": {"address": address, "hostname": hostname}}


def _address(upstream: Upstream) -> dict[str, Any]:
    return {"socket_address": {"address": upstream.host, "port_value": upstream.port}}


def tcp_health_check() -> dict[str, Any]:
    """Return the check that tells which of several servers take connections."""
    return {
        "timeout": seconds(HEALTH_TIMEOUT_S),
        "interval": seconds(HEALTH_INTERVAL_S),
        "no_traffic_interval": seconds(HEALTH_INTERVAL_S),
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "tcp_health_check": {},
    }


def outliers() -> dict[str, Any]:
    """Return when one of several servers rests for a while."""
    return {
        "consecutive_gateway_failure": EJECT_AFTER,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "base_ejection_time": seconds(EJECT_S),
        "max_ejection_percent": 50,
    }


def _upstream_tls(app: AppConfig, upstreams: tuple[Upstream, ...], settings: EnvoySettings) -> dict[str, Any]:
    """The app is verified too: chain and name, always; there is no way to switch it off."""
    tls = app.upstream_tls or UpstreamTls()
    roots = {"inline_string": tls.ca_pem} if tls.ca_pem else {"filename": str(settings.system_roots)}
    names = [tls.name] if tls.name else sorted({upstream.host for upstream in upstreams})
    validation = {
        "trusted_ca": roots,
        "match_typed_subject_alt_names": [_san(name) for name in names],
    }
    sni = {"sni": tls.name} if tls.name else {"auto_host_sni": not upstreams[0].is_address}
    context = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2" if app.http2 else "http/1.1"],
        "validation_context": validation,
    }
    config = typed("UpstreamTls", common_tls_context=context, **sni)
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def _san(name: str) -> dict[str, Any]:
    kind = "IP_ADDRESS" if Upstream("https", name, 443).is_address else "DNS"
    return {"san_type": kind, "matcher": {"exact": name}}

"""Envoy's typed configurations by a short name, so that a misspelt one fails here and not in Envoy."""

from typing import Any

from limen.enforcement.envoy.settings import EnvoySettings

CERTIFICATE = "certificate"
"""The name of the pair that the gateway shows."""

MACHINES = "machines"
"""The name of what may have signed the certificates that machines show."""

_EXTENSIONS = "envoy.extensions."

TYPES = {
    "Buffer": _EXTENSIONS + "filters.http.buffer.v3.Buffer",
    "BufferPerRoute": _EXTENSIONS + "filters.http.buffer.v3.BufferPerRoute",
    "Cluster": "envoy.config.cluster.v3.Cluster",
    "ConnectionLimit": _EXTENSIONS
    + "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
    "ConnectionManager": _EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
    "Cors": _EXTENSIONS + "filters.http.cors.v3.Cors",
    "CorsPolicy": _EXTENSIONS + "filters.http.cors.v3.CorsPolicy",
    "DownstreamTls": _EXTENSIONS + "transport_sockets.tls.v3.DownstreamTlsContext",
    "EarlyHeaderMutation": _EXTENSIONS + "http.early_header_mutation.header_mutation.v3.HeaderMutation",
    "ExtAuthz": _EXTENSIONS + "filters.http.ext_authz.v3.ExtAuthz",
    "Endpoints": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "ExtAuthzPerRoute": _EXTENSIONS + "filters.http.ext_authz.v3.ExtAuthzPerRoute",
    "ExtProc": _EXTENSIONS + "filters.http.ext_proc.v3.ExternalProcessor",
    "ExtProcPerRoute": _EXTENSIONS + "filters.http.ext_proc.v3.ExtProcPerRoute",
    "FixedHeap": _EXTENSIONS + "resource_monitors.fixed_heap.v3.FixedHeapConfig",
    "HeaderMutation": _EXTENSIONS + "filters.http.header_mutation.v3.HeaderMutation",
    "HeaderMutationPerRoute": _EXTENSIONS + "filters.http.header_mutation.v3.HeaderMutationPerRoute",
    "HttpProtocolOptions": _EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions",
    "Listener": "envoy.config.listener.v3.Listener",
    "PreviousHosts": _EXTENSIONS + "retry.host.previous_hosts.v3.PreviousHostsPredicate",
    "ProxyProtocol": _EXTENSIONS + "filters.listener.proxy_protocol.v3.ProxyProtocol",
    "Rbac": _EXTENSIONS + "filters.network.rbac.v3.RBAC",
    "RouteConfiguration": "envoy.config.route.v3.RouteConfiguration",
    "Router": _EXTENSIONS + "filters.http.router.v3.Router",
    "Secret": _EXTENSIONS + "transport_sockets.tls.v3.Secret",
    "SpiffeValidator": _EXTENSIONS + "transport_sockets.tls.v3.SPIFFECertValidatorConfig",
    "StdoutLog": _EXTENSIONS + "access_loggers.stream.v3.StdoutAccessLog",
    "TlsInspector": _EXTENSIONS + "filters.listener.tls_inspector.v3.TlsInspector",
    "UpstreamTls": _EXTENSIONS + "transport_sockets.tls.v3.UpstreamTlsContext",
    "XffDetection": _EXTENSIONS + "http.original_ip_detection.xff.v3.XffConfig",
    "CelFilter": _EXTENSIONS + "access_loggers.filters.cel.v3.ExpressionFilter",
}


def typed(kind: str, **fields: Any) -> dict[str, Any]:
    """Return a typed configuration of one of `TYPES`."""
    return {"@type": f"type.googleapis.com/{TYPES[kind]}", **fields}


def seconds(value: float) -> str:
    """Return a duration as protobuf's JSON writes it."""
    return f"{value:.3f}s"


def watched(settings: EnvoySettings, name: str) -> dict[str, Any]:
    """Return a source that Envoy reads, and reads again when the file is replaced."""
    return {"path_config_source": {"path": str(settings.file(name))}, "resource_api_version": "V3"}

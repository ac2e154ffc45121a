"""The listeners. They name no app (law E1), so no change of apps ends a connection.

Filter chains: `apps` is the filter chain of all app hosts, `auth` that of the sign-in host. A second listener
has the same two for machines that show certificates, where the bundle wants one: browsers never go there,
so nobody else is asked for a certificate, and nothing of it touches people's connections.
"""

from typing import Any

from limen.core.catalogue import Catalogue, EdgeConfig
from limen.enforcement.envoy.access_log import render_access_log
from limen.enforcement.envoy.filters import render_filters
from limen.enforcement.envoy.headers import HTTP_VERSION, overwrite, strip_mutations
from limen.enforcement.envoy.replies import render_local_replies
from limen.enforcement.envoy.routes import APPS_ROUTES, AUTH_ROUTES, render_auth_routes
from limen.enforcement.envoy.settings import (
    CONNECTION_BUFFER_BYTES,
    CONNECTION_IDLE_S,
    DELAYED_CLOSE_S,
    HTTP2_CONNECTION_WINDOW_BYTES,
    HTTP2_STREAM_WINDOW_BYTES,
    HTTP2_STREAMS_MAX,
    REQUEST_HEADERS_COUNT,
    REQUEST_HEADERS_KIB,
    REQUEST_HEADERS_TIMEOUT_S,
    REQUEST_SILENCE_S,
    TLS_HANDSHAKE_TIMEOUT_S,
    EnvoySettings,
)
from limen.enforcement.envoy.typed import CERTIFICATE, MACHINES, seconds, typed, watched

LISTENER = "limen"
MACHINE_LISTENER = "limen-machines"
TLS12_CIPHERS = [
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
]  # fmt: skip
"""Forward secret and authenticated only. Source: RFC 9325 section 4.2."""


def render_listeners(catalogue: Catalogue, settings: EnvoySettings) -> list[dict[str, Any]]:
    """Return all listeners (LDS), that of people first."""
    port = catalogue.sources.machines.port
    if not catalogue.sources.machines.spiffe or port is None:
        return [render_listener(catalogue, settings)]
    return [render_listener(catalogue, settings), render_listener(catalogue, settings, machines_port=port)]


def render_listener(
    catalogue: Catalogue, settings: EnvoySettings, *, machines_port: int | None = None
) -> dict[str, Any]:
    """Return one listener: that of everybody, or on a port of its own that of machines with certificates."""
    edge, machines = catalogue.edge, machines_port is not None
    routes = {key: value for key, value in render_auth_routes(catalogue).items() if key != "@type"}
    auth = _manager(settings, edge, {"route_config": routes}, apps=False, machines=machines)
    source = {"route_config_name": APPS_ROUTES, "config_source": watched(settings, "rds")}
    apps = _manager(settings, edge, {"rds": source}, apps=True, machines=machines)
    address = {"address": settings.host, "port_value": machines_port or settings.port}
    return typed(
        "Listener",
        name=MACHINE_LISTENER if machines else LISTENER,
        address={"socket_address": address},
        enable_reuse_port=False,  # or an orphan would share the port with its successor
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER_BYTES,
        listener_filters=_listener_filters(edge),
        listener_filters_timeout=seconds(TLS_HANDSHAKE_TIMEOUT_S),
        filter_chains=[
            {
                **_chain("auth", settings, edge, auth, machines=machines),
                "filter_chain_match": {"server_names": [catalogue.auth_host]},
            }
        ],
        default_filter_chain=_chain("apps", settings, edge, apps, machines=machines),
    )


def _listener_filters(edge: EdgeConfig) -> list[dict[str, Any]]:
    proxy = {"name": "envoy.filters.listener.proxy_protocol", "typed_config": typed("ProxyProtocol")}
    inspector = {"name": "envoy.filters.listener.tls_inspector", "typed_config": typed("TlsInspector")}
    return [proxy, inspector] if edge.proxy_protocol else [inspector]


def _chain(
    name: str, settings: EnvoySettings, edge: EdgeConfig, manager: dict[str, Any], *, machines: bool
) -> dict[str, Any]:
    context: dict[str, Any] = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "cipher_suites": TLS12_CIPHERS},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [{"name": CERTIFICATE, "sds_config": watched(settings, "sds")}],
    }
    asked: dict[str, Any] = {}
    if machines:
        source = {"name": MACHINES, "sds_config": watched(settings, "sds_machines")}
        context["validation_context_sds_secret_config"] = source
        # A resumed session would be of a certificate that was verified by roots of another day.
        asked = {
            "require_client_certificate": True,
            "disable_stateless_session_resumption": True,
            "disable_stateful_session_resumption": True,
        }
    secure = typed("DownstreamTls", common_tls_context=context, **asked)
    guard = [_proxies_only(edge)] if edge.proxy_protocol and edge.trusted_proxies else []
    return {
        "name": name,
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": secure},
        "transport_socket_connect_timeout": seconds(TLS_HANDSHAKE_TIMEOUT_S),
        "filters": [
            *guard,
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
        ],
    }


def _proxies_only(edge: EdgeConfig) -> dict[str, Any]:
    """Who may speak the PROXY protocol here: it lets its speaker choose the client's address."""
    principals = [{"direct_remote_ip": _cidr(text)} for text in edge.trusted_proxies]
    policy = {"permissions": [{"any": True}], "principals": principals}
    config = typed("Rbac", stat_prefix="proxies", rules={"action": "ALLOW", "policies": {"proxies": policy}})
    return {"name": "envoy.filters.network.rbac", "typed_config": config}


def _cidr(text: str) -> dict[str, Any]:
    address, _, length = text.partition("/")
    return {"address_prefix": address, "prefix_len": int(length or (128 if ":" in address else 32))}


def _manager(
    settings: EnvoySettings, edge: EdgeConfig, routes: dict[str, Any], *, apps: bool, machines: bool
) -> dict[str, Any]:
    name = APPS_ROUTES if apps else AUTH_ROUTES
    forwarded = bool(edge.trusted_proxies) and not edge.proxy_protocol
    early = [*strip_mutations(keep_forwarded_for=forwarded), overwrite(HTTP_VERSION, "%PROTOCOL%")]
    strip = typed("EarlyHeaderMutation", mutations=early)
    return typed(
        "ConnectionManager",
        stat_prefix=f"machines_{name}" if machines else name,
        **routes,
        **_client_address(edge, forwarded=forwarded),
        **_strictness(apps=apps),
        **_limits(settings, apps=apps),
        early_header_mutation_extensions=[
            {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": strip}
        ],
        http_filters=render_filters(settings, apps=apps, machines=machines),
        # Every host says by a route what CONNECT gets there. Refused as an upgrade that no one takes, it
        # would end the client's connection with all that is on it.
        upgrade_configs=[{"upgrade_type": "CONNECT", "enabled": apps}],
        local_reply_config=render_local_replies(),
        access_log=render_access_log(),
        access_log_options={"access_log_flush_interval": seconds(settings.live_bytes_s)},
    )


def _client_address(edge: EdgeConfig, *, forwarded: bool) -> dict[str, Any]:
    if not forwarded:
        return {"use_remote_address": True}
    cidrs = {"cidrs": [_cidr(text) for text in edge.trusted_proxies]}
    config = typed("XffDetection", xff_trusted_cidrs=cidrs)
    extension = {"name": "envoy.http.original_ip_detection.xff", "typed_config": config}
    return {"use_remote_address": False, "original_ip_detection_extensions": [extension]}


def _strictness(*, apps: bool) -> dict[str, Any]:
    """One reading of a request for everybody: Envoy, the check and the app."""
    escaped = "KEEP_UNCHANGED" if apps else "REJECT_REQUEST"  # per app: routes and the check refuse
    return {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": escaped,
        "forward_client_cert_details": "SANITIZE",
        "scheme_header_transformation": {"scheme_to_overwrite": "https"},
        "server_header_transformation": "PASS_THROUGH",
        "http_protocol_options": {"allow_chunked_length": False},
        "stream_error_on_invalid_http_message": False,
    }


def _limits(settings: EnvoySettings, *, apps: bool) -> dict[str, Any]:
    return {
        "common_http_protocol_options": {
            "idle_timeout": seconds(CONNECTION_IDLE_S),
            "max_stream_duration": seconds(settings.stream_max_s),
            "max_headers_count": REQUEST_HEADERS_COUNT,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            # Browsers open WebSockets over HTTP/2 by it, and `limen connect` its tunnels.
            "allow_connect": apps,
            "max_concurrent_streams": HTTP2_STREAMS_MAX,
            "initial_stream_window_size": HTTP2_STREAM_WINDOW_BYTES,
            "initial_connection_window_size": HTTP2_CONNECTION_WINDOW_BYTES,
            "override_stream_error_on_invalid_http_message": True,
        },
        "max_request_headers_kb": REQUEST_HEADERS_KIB,
        "request_headers_timeout": seconds(REQUEST_HEADERS_TIMEOUT_S),
        "stream_idle_timeout": seconds(REQUEST_SILENCE_S),
        "delayed_close_timeout": seconds(DELAYED_CLOSE_S),
        "drain_timeout": seconds(settings.drain_s),
    }

"""The clusters of the bootstrap: the check, the leash, and control. No bundle changes them.

Check and leash take their endpoints from a watched file (EDS): when another process begins to decide,
what is held by the old one stays with it, and what is new goes to the new one.
"""

from pathlib import Path
from typing import Any

from limen.enforcement.envoy.clusters import HTTP2_CALLS_MAX, cluster, endpoint, outliers, tcp_health_check
from limen.enforcement.envoy.settings import (
    CHECK_CLUSTER,
    CONTROL_CLUSTER,
    LEASH_CLUSTER,
    ControlUpstream,
    EnvoySettings,
)
from limen.enforcement.envoy.typed import seconds, typed, watched

CALLS_MAX = 20_000  # at once; beyond it the answer is 503
LEASH_PING_S = 1.0  # between two pings of an idle or busy connection to the leash
LEASH_PONG_S = 2.0  # without an answer for so long, the leash counts as gone and its streams end (law R4)
CONTROL_IDENTITY = "control_identity"
CONTROL_ROOTS = "control_roots"


def fixed_clusters(settings: EnvoySettings) -> list[dict[str, Any]]:
    """Return the clusters of the bootstrap."""
    return [_check(settings), _leash(settings), _control(settings)]


def endpoints_of(name: str, socket: Path) -> dict[str, Any]:
    """Return where a decider is. A file that Envoy watches holds the endpoints of one cluster only."""
    servers = [endpoint({"pipe": {"path": str(socket)}})]
    return typed("Endpoints", cluster_name=name, endpoints=[{"lb_endpoints": servers}])


def control_identity(cert_pem: str, key_pem: str) -> dict[str, Any]:
    """Return what the gateway shows to control elsewhere (SDS)."""
    pair = {"certificate_chain": {"inline_string": cert_pem}, "private_key": {"inline_string": key_pem}}
    return typed("Secret", name=CONTROL_IDENTITY, tls_certificate=pair)


def control_roots(roots_pem: str) -> dict[str, Any]:
    """Return by what the gateway knows control elsewhere (SDS)."""
    return typed(
        "Secret", name=CONTROL_ROOTS, validation_context={"trusted_ca": {"inline_string": roots_pem}}
    )


def _check(settings: EnvoySettings) -> dict[str, Any]:
    return cluster(CHECK_CLUSTER, [], **_from_file(settings, "eds_check"), **_breakers(connections=4096))


def _leash(settings: EnvoySettings) -> dict[str, Any]:
    alive = {"interval": seconds(LEASH_PING_S), "timeout": seconds(LEASH_PONG_S)}
    options = {"max_concurrent_streams": HTTP2_CALLS_MAX, "connection_keepalive": alive}
    return cluster(
        LEASH_CLUSTER,
        [],
        protocol={"http2_protocol_options": options},
        **_from_file(settings, "eds_leash"),
        **_breakers(requests=HTTP2_CALLS_MAX),
    )


def _from_file(settings: EnvoySettings, file: str) -> dict[str, Any]:
    return {"type": "EDS", "eds_cluster_config": {"eds_config": watched(settings, file)}}


def _control(settings: EnvoySettings) -> dict[str, Any]:
    if settings.control is None:
        pipe = {"pipe": {"path": str(settings.control_socket)}}
        return cluster(CONTROL_CLUSTER, [endpoint(pipe)], **_breakers(connections=4096))
    remote = settings.control
    endpoints = [
        endpoint({"socket_address": {"address": host, "port_value": port}}, host)
        for host, port in remote.addresses
    ]
    checks: dict[str, Any] = {}
    if len(endpoints) > 1:
        checks = {"health_checks": [tcp_health_check()], "outlier_detection": outliers()}
    return cluster(
        CONTROL_CLUSTER,
        endpoints,
        type="STRICT_DNS",
        dns_lookup_family="V4_PREFERRED",
        lb_policy="ROUND_ROBIN",
        transport_socket=_mutual_tls(remote, settings),
        **checks,
        **_breakers(connections=4096),
    )


def _mutual_tls(remote: ControlUpstream, settings: EnvoySettings) -> dict[str, Any]:
    identity = {"name": CONTROL_IDENTITY, "sds_config": watched(settings, "sds_control")}
    roots = {"name": CONTROL_ROOTS, "sds_config": watched(settings, "sds_control_roots")}
    named = {"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": remote.name}}]}
    context = {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "alpn_protocols": ["http/1.1"],
        "tls_certificate_sds_secret_configs": [identity],
        "combined_validation_context": {
            "default_validation_context": named,
            "validation_context_sds_secret_config": roots,
        },
    }
    config = typed("UpstreamTls", common_tls_context=context, sni=remote.name)
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def _breakers(*, connections: int = 1024, requests: int = CALLS_MAX) -> dict[str, Any]:
    limits = {"max_connections": connections, "max_pending_requests": requests, "max_requests": requests}
    return {"circuit_breakers": {"thresholds": [{**limits, "max_retries": 64}]}}

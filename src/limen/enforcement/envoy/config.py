"""Bootstrap, certificate, and the static whole that is validated: the parts that apps do not touch."""

from collections.abc import Iterable
from typing import Any

from limen.core.identity_config import SpiffeConfig
from limen.enforcement.envoy.fixed_clusters import fixed_clusters
from limen.enforcement.envoy.headers import RE2_PROGRAM_MAX
from limen.enforcement.envoy.settings import EnvoySettings
from limen.enforcement.envoy.typed import CERTIFICATE, MACHINES, typed, watched

RUNTIME = {"re2.max_program_size.error_level": RE2_PROGRAM_MAX}


def render_bootstrap(settings: EnvoySettings) -> dict[str, Any]:
    """Return the bootstrap: fixed clusters, where the watched files are, and the limits of the process."""
    return {
        "node": {"id": "limen-gateway", "cluster": "limen"},
        "admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}}},
        "static_resources": {"clusters": [_without_type(c) for c in fixed_clusters(settings)]},
        "dynamic_resources": {
            "lds_config": watched(settings, "lds"),
            "cds_config": watched(settings, "cds"),
        },
        "overload_manager": _overload(settings),
        "layered_runtime": {"layers": [{"name": "limen", "static_layer": RUNTIME}]},
    }


def render_validation(settings: EnvoySettings, listeners: Any, routes: Any, clusters: Any) -> dict[str, Any]:
    """Return one static configuration of all parts, which `envoy --mode validate` reads whole.

    (Validation does not look into files that Envoy would watch.)
    """
    bootstrap = render_bootstrap(settings)
    del bootstrap["dynamic_resources"]
    bare = {key: value for key, value in routes.items() if key != "@type"}
    static = {
        "listeners": [_without_type(_inlined(listener, bare)) for listener in listeners],
        "clusters": [_without_type(cluster) for cluster in (*fixed_clusters(settings), *clusters)],
    }
    return {**bootstrap, "static_resources": static}


def render_secret(cert_pem: str, key_pem: str) -> dict[str, Any]:
    """Return the certificate that both filter chains show (SDS)."""
    pair = {"certificate_chain": {"inline_string": cert_pem}, "private_key": {"inline_string": key_pem}}
    return typed("Secret", name=CERTIFICATE, tls_certificate=pair)


def render_trust(domains: Iterable[SpiffeConfig]) -> dict[str, Any]:
    """Return what may have signed the certificates of machines (SDS): each trust domain its own, no other.

    With all authorities in one pool, that of one domain could sign for another.
    """
    trusted = [
        {"name": domain.trust_domain, "trust_bundle": {"inline_string": domain.bundle_pem}}
        for domain in sorted(domains, key=lambda domain: domain.trust_domain)
    ]
    validator = typed("SpiffeValidator", trust_domains=trusted)
    config = {"name": "envoy.tls.cert_validator.spiffe", "typed_config": validator}
    return typed("Secret", name=MACHINES, validation_context={"custom_validator_config": config})


def _inlined(listener: dict[str, Any], routes: dict[str, Any]) -> dict[str, Any]:
    chain = listener["default_filter_chain"]
    manager = chain["filters"][-1]
    config = {key: value for key, value in manager["typed_config"].items() if key != "rds"}
    filters = [
        *chain["filters"][:-1],
        {**manager, "typed_config": {**config, "route_config": routes}},
    ]
    return {**listener, "default_filter_chain": {**chain, "filters": filters}}


def _without_type(value: dict[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key != "@type"}


def _overload(settings: EnvoySettings) -> dict[str, Any]:
    heap = typed("FixedHeap", max_heap_size_bytes=settings.heap_max_bytes)
    connections = typed("ConnectionLimit", max_active_downstream_connections=settings.connections_max)
    names = ("shrink_heap", 0.95), ("stop_accepting_requests", 0.98)
    monitor = "envoy.resource_monitors.fixed_heap"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": monitor, "typed_config": heap},
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": connections,
            },
        ],
        "actions": [
            {
                "name": f"envoy.overload_actions.{name}",
                "triggers": [{"name": monitor, "threshold": {"value": value}}],
            }
            for name, value in names
        ],
    }

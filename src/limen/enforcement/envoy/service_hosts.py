"""Hosts of TCP services: one CONNECT opens one connection to the service, held by the leash."""

from typing import Any

from limen.core.catalogue import ServiceConfig
from limen.enforcement.envoy.clusters import service_cluster_name
from limen.enforcement.envoy.filters import by_leash, by_nobody
from limen.enforcement.envoy.headers import HTTP_VERSION
from limen.enforcement.envoy.typed import seconds

CONNECT_MATCH: dict[str, Any] = {"connect_matcher": {}}
NOT_A_WEB_APP = 426
"""Status by which `replies` knows a request that belongs in `limen connect`; the client gets 404."""

ENDED_PATH = "/.limen/ended"
"""Below it the leash tells why a stream of the asking session was ended."""


def service_host(service: ServiceConfig) -> dict[str, Any]:
    """Return the virtual host of a service."""
    other_version = {"name": HTTP_VERSION, "string_match": {"exact": "HTTP/2"}, "invert_match": True}
    routes = [
        # Over HTTP/1.1 Envoy loses what is on its way when one side has said all (measured).
        refused_connect(505, headers=[other_version]) | {"name": service.name},
        # An upgrade is not CONNECT, even where both are asked for in one way (CONNECT-UDP, RFC 9298).
        {
            "match": {"prefix": "/", "headers": [{"name": "upgrade", "present_match": True}]},
            "direct_response": {"status": NOT_A_WEB_APP},
            "typed_per_filter_config": by_nobody(),
        },
        _tunnel(service),
        {
            "match": {"path_separated_prefix": ENDED_PATH},
            # What the leash lets pass is not there: it answers these itself.
            "direct_response": {"status": 404},
            "typed_per_filter_config": by_leash(),
        },
        {
            "match": {"prefix": "/"},
            "name": service.name,
            "direct_response": {"status": NOT_A_WEB_APP},
            "typed_per_filter_config": by_nobody(),
        },
    ]
    return {"name": f"service_{service.name}", "domains": [service.host], "routes": routes}


def refused_connect(status: int = 403, **match: Any) -> dict[str, Any]:
    """Return the route of CONNECT where it opens nothing."""
    return {
        "match": {**CONNECT_MATCH, **match},
        "direct_response": {"status": status},
        "typed_per_filter_config": by_nobody(),
    }


def _tunnel(service: ServiceConfig) -> dict[str, Any]:
    action = {
        "cluster": service_cluster_name(service),
        "timeout": "0s",
        "idle_timeout": seconds(service.streams.idle_s),
        "max_stream_duration": {"max_stream_duration": "0s"},
        "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
    }
    return {
        "match": CONNECT_MATCH,
        "name": service.name,
        "route": action,
        "typed_per_filter_config": by_leash(),
    }

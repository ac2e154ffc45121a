"""The HTTP filters of the apps' filter chain, and who decides on a route: the check, the leash, or nobody.

The check is on unless a route turns it off, and one function both does so and turns the leash on. (The leash
is off elsewhere, or Envoy would ask it about answers of its own to requests that it never saw.) Law E4.
"""

from typing import Any

from limen.enforcement.envoy.headers import WARNING, note_mutations, seen_by_check, seen_by_leash, set_for_app
from limen.enforcement.envoy.settings import CHECK_CLUSTER, LEASH_CLUSTER, EnvoySettings
from limen.enforcement.envoy.typed import seconds, typed

NOTE_FILTER = "limen.note"
CORS_FILTER = "envoy.filters.http.cors"
CHECK_FILTER = "limen.check"
LEASH_FILTER = "limen.leash"
BUFFER_FILTER = "limen.buffer"

CONTROL_BODY_MAX_BYTES = 256 * 1024  # forms and passkey answers; nothing of Limen's own is larger
HELD_BODY_MIN_BYTES = 256 * 1024
"""Smallest limit of a body of unknown length. What arrives while the check is asked waits in the same
buffer; if that is more than half of the limit, Envoy 1.40 never reads on (measured at 100 kB)."""


def render_filters(settings: EnvoySettings, *, apps: bool, machines: bool = False) -> list[dict[str, Any]]:
    """Return the filters of a chain, in order. That of the sign-in host decides nothing.

    On the port for machines all of them see the certificate of the connection.
    """
    note = typed("HeaderMutation", mutations=note_mutations(machines=machines))
    buffer = typed("Buffer", max_request_bytes=CONTROL_BODY_MAX_BYTES)
    first: list[dict[str, Any]] = [{"name": NOTE_FILTER, "typed_config": note}]
    last: list[dict[str, Any]] = [
        {"name": BUFFER_FILTER, "typed_config": buffer, "disabled": True},
        {"name": "envoy.filters.http.router", "typed_config": typed("Router", suppress_envoy_headers=True)},
    ]
    deciding: list[dict[str, Any]] = [
        {"name": CORS_FILTER, "typed_config": typed("Cors")},
        {"name": CHECK_FILTER, "typed_config": _check(settings, machines)},
        {"name": LEASH_FILTER, "typed_config": _leash(settings, machines), "disabled": True},
    ]
    return first + (deciding if apps else []) + last


def by_leash() -> dict[str, Any]:
    """What a route says whose requests the leash decides, and then holds."""
    return by_nobody() | {LEASH_FILTER: typed("ExtProcPerRoute", overrides={})}


def by_nobody() -> dict[str, Any]:
    """What a route says that leads to no app and no service: Limen's own paths, and answers of Envoy's."""
    return {CHECK_FILTER: typed("ExtAuthzPerRoute", disabled=True)}


def buffered(limit_bytes: int) -> dict[str, Any]:
    """What a route says that holds a body back until it has ended or is too large."""
    limit = max(limit_bytes, HELD_BODY_MIN_BYTES)
    return {BUFFER_FILTER: typed("BufferPerRoute", buffer={"max_request_bytes": limit})}


def _check(settings: EnvoySettings, machines: bool) -> dict[str, Any]:
    server = {
        "uri": "http://check.limen.internal",
        "cluster": CHECK_CLUSTER,
        "timeout": seconds(settings.check_timeout_s),
    }
    answer = {
        "allowed_upstream_headers": set_for_app(),
        "allowed_client_headers_on_success": {"patterns": [{"exact": "set-cookie"}, {"exact": WARNING}]},
    }
    return typed(
        "ExtAuthz",
        transport_api_version="V3",
        http_service={"server_uri": server, "authorization_response": answer},
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        validate_mutations=True,
        allowed_headers=seen_by_check(machines=machines),
        stat_prefix="limen",
    )


def _leash(settings: EnvoySettings, machines: bool) -> dict[str, Any]:
    """One gRPC stream for the life of each live stream. No byte of a body crosses it.

    Trailers of answers do: without them the gRPC stream would end with the headers, and with it the hold.
    """
    modes = {"request_header_mode": "SEND", "response_header_mode": "SEND", "response_trailer_mode": "SEND"}
    silent = {"request_body_mode": "NONE", "response_body_mode": "NONE", "request_trailer_mode": "SKIP"}
    return typed(
        "ExtProc",
        grpc_service={"envoy_grpc": {"cluster_name": LEASH_CLUSTER}},
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        message_timeout=seconds(settings.leash_timeout_s),
        processing_mode=modes | silent,
        allow_mode_override=False,
        route_cache_action="RETAIN",  # what was decided on is where it goes
        # It sets headers of the app's request; where that goes and how it is asked stay the client's.
        mutation_rules={"disallow_system": True, "disallow_is_error": True},
        forward_rules={"allowed_headers": seen_by_leash(machines=machines)},
        stat_prefix="limen",
    )

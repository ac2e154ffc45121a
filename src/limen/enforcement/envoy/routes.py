"""Routes: one virtual host per app (RDS), and the fixed ones of the sign-in host.

Order within a virtual host is a rule: Limen's own paths, then what no app accepts, then the app.
"""

from typing import Any

from limen.core.catalogue import AppConfig, Catalogue
from limen.enforcement.envoy.clusters import cluster_name, parse_upstreams
from limen.enforcement.envoy.headers import DECISION_ID, FIRST_COOKIE, PEER, RAW_TOKEN, regex
from limen.enforcement.envoy.settings import CONTROL_CLUSTER, EnvoySettings
from limen.enforcement.envoy.typed import seconds, typed

APPS_ROUTES = "apps"
AUTH_ROUTES = "auth"

NOTE_FILTER = "limen.note"
CORS_FILTER = "envoy.filters.http.cors"
CHECK_FILTER = "limen.check"
BUFFER_FILTER = "limen.buffer"

OWN_PATH = "/.limen"
ENCODED_SLASH = r"(?i).*%(2f|5c).*"
CONTROL_TIMEOUT_S = 30.0
HELD_BODY_MIN_BYTES = 256 * 1024
"""Smallest limit of a body of unknown length. What arrives while the check is asked waits in the same
buffer; if that is more than half of the limit, Envoy 1.40 never reads on (measured at 100 kB)."""

CONTROL_BODY_MAX_BYTES = 256 * 1024  # forms and passkey answers; nothing of Limen's own is larger
INT64_MAX = (1 << 63) - 1
CORS_MAX_AGE_S = 600
CORS_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
CORS_HEADERS = (
    "accept, accept-language, authorization, cache-control, content-language, content-type, if-match, "
    "if-modified-since, if-none-match, if-unmodified-since, range, x-csrf-token, x-csrftoken, "
    "x-limen-token, x-requested-with, x-xsrf-token"
)
TRACE = {"name": ":method", "string_match": {"exact": "TRACE"}}
"""An app that echoes a request would show the visitor its assertion, or an injected password."""
SAFE_METHODS = "GET|HEAD|OPTIONS"
NOT_FOR_APPS = (PEER, RAW_TOKEN, FIRST_COOKIE, "x-envoy-external-address", "x-envoy-internal")

Route = dict[str, Any]


def render_routes(catalogue: Catalogue, settings: EnvoySettings) -> dict[str, Any]:
    """Return the route configuration of the apps' filter chain."""
    apps = sorted(catalogue.apps.values(), key=lambda app: app.name)
    hosts = [_app_host(app) for app in apps]
    misdirected = _host("auth", [catalogue.auth_host], [_answer({"prefix": "/"}, 421, unchecked=True)])
    unknown = _host("unknown", ["*"], [_answer({"prefix": "/"}, 404, unchecked=True)])
    return _routes(APPS_ROUTES, [*hosts, misdirected, unknown])


def render_auth_routes(catalogue: Catalogue) -> dict[str, Any]:
    """Return the route configuration of the sign-in host's own filter chain."""
    prefix = {"prefix": "/"}
    own = [
        _answer({**prefix, "headers": [_longer_than(CONTROL_BODY_MAX_BYTES)]}, 413),
        {"match": prefix, **_to_control(), "typed_per_filter_config": _buffered(CONTROL_BODY_MAX_BYTES)},
    ]
    other = _host("other", ["*"], [_answer(prefix, 421)])
    return _routes(AUTH_ROUTES, [_host("auth", [catalogue.auth_host], own), other])


def _routes(name: str, hosts: list[dict[str, Any]]) -> dict[str, Any]:
    return typed(
        "RouteConfiguration",
        name=name,
        virtual_hosts=hosts,
        ignore_port_in_host_matching=True,
        # What an app says about decisions is not the gateway's word.
        response_headers_to_remove=[DECISION_ID],
        most_specific_header_mutations_wins=True,
    )


def _host(name: str, domains: list[str], routes: list[Route], **fields: Any) -> dict[str, Any]:
    return {"name": name, "domains": domains, "routes": routes, **fields}


def _app_host(app: AppConfig) -> dict[str, Any]:
    own = {"path_separated_prefix": OWN_PATH}
    rest = {"prefix": "/"}
    routes = [
        _answer({**rest, "headers": [TRACE]}, 405, unchecked=True),
        _answer(regex(r"(?i)/\.limen(/.*)?%(2f|5c).*"), 400, unchecked=True),
        _answer({**own, "headers": [_longer_than(CONTROL_BODY_MAX_BYTES)]}, 413, unchecked=True),
        {
            "match": own,
            **_to_control(),
            "typed_per_filter_config": _unchecked() | _buffered(CONTROL_BODY_MAX_BYTES),
        },
    ]
    if not app.allow_encoded_slash:
        routes.append(_answer(regex(ENCODED_SLASH), 400))
    routes += [
        _answer({**rest, "headers": [_longer_than(app.max_body_bytes)]}, 413),
        _to_app(app, {**rest, "headers": [{"name": "content-length", "present_match": True}]}),
        # A body of unknown length is held back until it has ended or is too large.
        _to_app(app, rest) | {"typed_per_filter_config": _buffered(app.max_body_bytes)},
    ]
    return _host(f"app_{app.name}", [app.host], routes, typed_per_filter_config=_app_filters(app))


def _app_filters(app: AppConfig) -> dict[str, Any]:
    """What holds for all of an app's routes, its identity headers taken off before any filter."""
    filters: dict[str, Any] = {}
    names = sorted({name.lower() for name in app.identity.headers.values()})
    if names:
        mutations = {"request_mutations": [{"remove": name} for name in names]}
        filters[NOTE_FILTER] = typed("HeaderMutationPerRoute", mutations=mutations)
    if app.cors is not None:
        filters[CORS_FILTER] = typed(
            "CorsPolicy",
            allow_origin_string_match=[{"exact": origin} for origin in app.cors.origins],
            allow_methods=CORS_METHODS,
            allow_headers=CORS_HEADERS,
            max_age=str(CORS_MAX_AGE_S),
            allow_credentials=True,
        )
    return filters


def _to_app(app: AppConfig, match: dict[str, Any]) -> Route:
    upstreams = parse_upstreams(app)
    action: dict[str, Any] = {
        "cluster": cluster_name(app),
        # The app may speak for as long as it likes (within max_stream_duration), not be silent.
        "timeout": "0s",
        "idle_timeout": seconds(app.timeout_s),
        "retry_policy": _retries(len(upstreams), app.timeout_s),
    }
    if not app.preserve_host:
        one = len(upstreams) == 1
        action |= {"host_rewrite_literal": upstreams[0].authority} if one else {"auto_host_rewrite": True}
    return {"match": match, "route": action, "request_headers_to_remove": list(NOT_FOR_APPS)}


def _retries(upstreams: int, silence_s: float) -> dict[str, Any]:
    """Only what is safe to ask twice is asked twice (RFC 9110 section 9.2.1)."""
    safe = {"name": ":method", "string_match": regex(SAFE_METHODS)}
    policy: dict[str, Any] = {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 1,
        "retriable_request_headers": [safe],
        "per_try_idle_timeout": seconds(silence_s),
    }
    if upstreams > 1:
        predicate = {"name": "envoy.retry_host_predicates.previous_hosts"}
        policy |= {
            "retry_on": "connect-failure,refused-stream,reset,gateway-error",
            "num_retries": 2,
            "retry_host_predicate": [{**predicate, "typed_config": typed("PreviousHosts")}],
            "host_selection_retry_max_attempts": 10,
        }
    return policy


def _to_control() -> Route:
    action = {"cluster": CONTROL_CLUSTER, "timeout": seconds(CONTROL_TIMEOUT_S)}
    return {"route": action}


def _answer(match: dict[str, Any], status: int, *, unchecked: bool = False) -> Route:
    """A route that answers by itself. On app hosts the check is asked, and records, all the same."""
    route: Route = {"match": match, "direct_response": {"status": status}}
    return route | ({"typed_per_filter_config": _unchecked()} if unchecked else {})


def _unchecked() -> dict[str, Any]:
    return {CHECK_FILTER: typed("ExtAuthzPerRoute", disabled=True)}


def _buffered(limit_bytes: int) -> dict[str, Any]:
    return {
        BUFFER_FILTER: typed(
            "BufferPerRoute", buffer={"max_request_bytes": max(limit_bytes, HELD_BODY_MIN_BYTES)}
        )
    }


def _longer_than(limit_bytes: int) -> dict[str, Any]:
    return {"name": "content-length", "range_match": {"start": limit_bytes + 1, "end": INT64_MAX}}

"""Routes: one virtual host per app and per service (RDS), and the fixed ones of the sign-in host.

Order within an app's host is a rule: what no app accepts, Limen's own paths, limits, live streams, the rest.
"""

from typing import Any

from limen.core.catalogue import AppConfig, Catalogue
from limen.enforcement.envoy import streams
from limen.enforcement.envoy.clusters import cluster_name, parse_upstreams
from limen.enforcement.envoy.filters import (
    CONTROL_BODY_MAX_BYTES,
    CORS_FILTER,
    NOTE_FILTER,
    buffered,
    by_leash,
    by_nobody,
)
from limen.enforcement.envoy.headers import (
    CERTIFICATE_NOTES,
    DECISION_ID,
    FIRST_COOKIE,
    HTTP_VERSION,
    PEER,
    RAW_TOKEN,
    WARNING,
    regex,
)  # fmt: skip
from limen.enforcement.envoy.service_hosts import refused_connect, service_host
from limen.enforcement.envoy.settings import CONTROL_CLUSTER, EnvoySettings
from limen.enforcement.envoy.typed import seconds, typed

APPS_ROUTES = "apps"
AUTH_ROUTES = "auth"

OWN_PATH = "/.limen"
API = {"prefix": "/api/"}
API_BODY_MAX_BYTES = (
    16 * 1024 * 1024
)  # as control's own bound; not held back, as control reads the token first
SCIM = {"prefix": "/scim/"}
SCIM_BODY_MAX_BYTES = 4 * 1024 * 1024  # as control's own bound
API_SILENCE_S = 120.0  # a plan tells how far it is
ENCODED_SLASH = r"(?i).*%(2f|5c).*"
CONTROL_TIMEOUT_S = 30.0
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
NOT_FOR_APPS = (
    PEER, RAW_TOKEN, FIRST_COOKIE, HTTP_VERSION, "x-envoy-external-address", "x-envoy-internal",
    *CERTIFICATE_NOTES,
)  # fmt: skip
REST = {"prefix": "/"}
KNOWN_LENGTH = {"name": "content-length", "present_match": True}

Route = dict[str, Any]


def render_routes(catalogue: Catalogue, settings: EnvoySettings) -> dict[str, Any]:
    """Return the route configuration of the apps' filter chain."""
    apps = sorted(catalogue.apps.values(), key=lambda app: app.name)
    services = sorted(catalogue.services.values(), key=lambda service: service.name)
    hosts = [_app_host(app) for app in apps] + [service_host(service) for service in services]
    misdirected = _host("auth", [catalogue.auth_host], [refused_connect(), _answer(REST, 421)])
    unknown = _host("unknown", ["*"], [refused_connect(), _answer(REST, 404)])
    return _routes(APPS_ROUTES, [*hosts, misdirected, unknown])


def render_auth_routes(catalogue: Catalogue) -> dict[str, Any]:
    """Return the route configuration of the sign-in host's own filter chain."""
    own: list[Route] = [
        {"match": {**API, "headers": [_longer_than(API_BODY_MAX_BYTES)]}, **_direct(413)},
        {"match": API, **_to_admin()},
        {"match": {**SCIM, "headers": [_longer_than(SCIM_BODY_MAX_BYTES)]}, **_direct(413)},
        {"match": SCIM, **_to_admin()},
        {"match": {**REST, "headers": [_longer_than(CONTROL_BODY_MAX_BYTES)]}, **_direct(413)},
        {"match": REST, **_to_control(), "typed_per_filter_config": buffered(CONTROL_BODY_MAX_BYTES)},
    ]
    other = _host("other", ["*"], [{"match": REST, **_direct(421)}])
    return _routes(AUTH_ROUTES, [_host("auth", [catalogue.auth_host], own), other])


def _routes(name: str, hosts: list[dict[str, Any]]) -> dict[str, Any]:
    return typed(
        "RouteConfiguration",
        name=name,
        virtual_hosts=hosts,
        ignore_port_in_host_matching=True,
        # What an app says about decisions is not the gateway's word. (The filters set theirs after this.)
        response_headers_to_remove=[DECISION_ID, WARNING],
        most_specific_header_mutations_wins=True,
    )


def _host(name: str, domains: list[str], routes: list[Route], **fields: Any) -> dict[str, Any]:
    return {"name": name, "domains": domains, "routes": routes, **fields}


def _app_host(app: AppConfig) -> dict[str, Any]:
    own = {"path_separated_prefix": OWN_PATH}
    to_control = by_nobody() | buffered(CONTROL_BODY_MAX_BYTES)
    routes: list[Route] = [
        refused_connect(),
        _answer({**REST, "headers": [TRACE]}, 405),
        _answer(regex(r"(?i)/\.limen(/.*)?%(2f|5c).*"), 400),
        _answer({**own, "headers": [_longer_than(CONTROL_BODY_MAX_BYTES)]}, 413),
        {"match": own, **_to_control(), "typed_per_filter_config": to_control, "name": app.name},
    ]
    if not app.allow_encoded_slash:
        routes.append(_checked(regex(ENCODED_SLASH), 400))
    routes.append(_checked({**REST, "headers": [_longer_than(app.max_body_bytes)]}, 413))
    routes += _leashed_routes(app)
    routes += [
        _to_app(app, {**REST, "headers": [KNOWN_LENGTH]}),
        # A body of unknown length is held back until it has ended or is too large.
        _to_app(app, REST) | _per_filter(buffered(app.max_body_bytes)),
    ]
    return _host(f"app_{app.name}", [app.host], routes, typed_per_filter_config=_app_filters(app))


def _leashed_routes(app: AppConfig) -> list[Route]:
    """Live streams. The body of a request that only *asks* for one is limited as everywhere."""
    routes = [_upgrade(app, value) for value in streams.upgrades(app)]
    routes.append(_answer(streams.upgrade_match(), 403) | {"name": app.name})
    routes += [_to_stream(app, match) for match in streams.streaming_matches(app)]
    asked_for = [streams.event_match()]
    grpc = streams.grpc_match()
    if app.http2:
        routes.append(_to_stream(app, grpc))  # messages in both directions: nothing to wait for
    else:
        asked_for.append(grpc)
    for match in asked_for:
        known = {**match, "headers": [*match["headers"], KNOWN_LENGTH]}
        routes.append(_to_stream(app, known))
        routes.append(_to_stream(app, match) | _per_filter(by_leash() | buffered(app.max_body_bytes)))
    return routes


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


def _upgrade(app: AppConfig, value: str) -> Route:
    route = _to_stream(app, streams.upgrade_match(value))
    route["route"]["upgrade_configs"] = [{"upgrade_type": value}]
    return route


def _to_stream(app: AppConfig, match: dict[str, Any]) -> Route:
    """A route whose requests the leash decides: no clock ends them but that of silence."""
    route = _to_app(app, match)
    action = route["route"]
    action["idle_timeout"] = seconds(app.streams.idle_s)
    action["max_stream_duration"] = {"max_stream_duration": "0s"}
    del action["retry_policy"]["per_try_idle_timeout"]
    return route | _per_filter(by_leash())


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
        policy |= {"retry_on": "connect-failure,refused-stream,reset,gateway-error", "num_retries": 2}
        policy |= _elsewhere()
    return policy


def _elsewhere() -> dict[str, Any]:
    """The second attempt goes to another server."""
    predicate = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": typed("PreviousHosts")}
    return {"retry_host_predicate": [predicate], "host_selection_retry_max_attempts": 10}


def _to_control() -> Route:
    """What a control node never saw is asked of another one, whatever its method."""
    again = {"retry_on": "connect-failure,reset-before-request", "num_retries": 2, **_elsewhere()}
    action = {"cluster": CONTROL_CLUSTER, "timeout": seconds(CONTROL_TIMEOUT_S), "retry_policy": again}
    return {"route": action}


def _to_admin() -> Route:
    """The admin API, and SCIM: answers may be long, and come in parts."""
    route = _to_control()
    route["route"] |= {"timeout": "0s", "idle_timeout": seconds(API_SILENCE_S)}
    return route


def _direct(status: int) -> Route:
    return {"direct_response": {"status": status}}


def _answer(match: dict[str, Any], status: int) -> Route:
    """A route that answers by itself, and asks nobody."""
    return {"match": match, **_direct(status)} | _per_filter(by_nobody())


def _checked(match: dict[str, Any], status: int) -> Route:
    """The same, but the check is asked, and records, all the same."""
    return {"match": match, **_direct(status)}


def _per_filter(config: dict[str, Any]) -> Route:
    return {"typed_per_filter_config": config}


def _longer_than(limit_bytes: int) -> dict[str, Any]:
    return {"name": "content-length", "range_match": {"start": limit_bytes + 1, "end": INT64_MAX}}

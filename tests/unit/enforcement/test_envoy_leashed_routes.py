"""Who decides: every rendered route walked, and requests matched as Envoy matches them (laws E1, E2, E4)."""

import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limen.core.catalogue import AppConfig, Catalogue, CorsConfig, RouteConfig, ServiceConfig
from limen.core.resources import RouteTable
from limen.enforcement.envoy.filters import BUFFER_FILTER, CHECK_FILTER, LEASH_FILTER
from limen.enforcement.envoy.listener import render_listener
from limen.enforcement.envoy.replies import LEASH_DETAILS
from limen.enforcement.envoy.routes import render_routes
from limen.enforcement.envoy.settings import EnvoySettings
from limen.enforcement.envoy.streams import path_pattern, upgrades
from limen.enforcement.leash.wire import DENIED

DOMAIN = "corp.example"
SETTINGS = EnvoySettings(folder=Path("/s/envoy"), run=Path("/s/run"), binary=Path("/bin/envoy"))

names = st.sampled_from(("a", "b1", "events", "x-y"))
segments = st.sampled_from(("events", "a b", "é", "v1.2", "*", "x", "exports"))
patterns = st.builds(
    lambda parts, open_: "/" + "/".join([*parts, *(("**",) if open_ else ())]),
    st.lists(segments, max_size=3),
    st.booleans(),
)
route_lists = st.lists(
    st.builds(
        RouteConfig,
        name=names,
        path=patterns,
        methods=st.sampled_from(((), ("GET",), ("GET", "POST"))),
        streaming=st.booleans(),
        public=st.booleans(),
    ),
    max_size=3,
).map(tuple)
upgrade_values = st.sampled_from(("websocket", "WebSocket", "tcp", "h2c", "connect-udp", "CONNECT"))
apps = st.builds(
    AppConfig,
    name=names,
    host=st.just(""),
    upstream=st.just(("http://127.0.0.1:1",)),
    routes=route_lists,
    upgrades=st.lists(
        st.sampled_from(("websocket", "WebSocket", "tcp", "h2c", "connect-udp", "CONNECT"))
    ).map(tuple),
    http2=st.booleans(),
    max_body_bytes=st.integers(1, 1000),
    allow_encoded_slash=st.booleans(),
    cors=st.none() | st.just(CorsConfig(("https://x.example",))),
)


def catalogue_of(made: list[AppConfig], services: list[str]) -> Catalogue:
    named = {app.name: app for app in made}
    return Catalogue(
        domain=DOMAIN,
        apps={name: AppConfig(**{**fields(app), "host": f"{name}.{DOMAIN}"}) for name, app in named.items()},
        services={
            f"s-{name}": ServiceConfig(f"s-{name}", f"s-{name}.{DOMAIN}", "10.0.0.1", 5432)
            for name in services
        },
    )


def service_of(name: str) -> ServiceConfig:
    return ServiceConfig(name, f"{name}.{DOMAIN}", "10.0.0.1", 5432)


def fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


catalogues = st.builds(catalogue_of, st.lists(apps, max_size=3), st.lists(names, max_size=2, unique=True))


class Request(NamedTuple):
    """What Envoy sees when it looks for a route."""

    method: str
    path: str | None
    headers: dict[str, str]


paths = st.sampled_from(("/", "/events", "/events/x", "/.limen/x", "/.limen/ended/x", "/a%2fb", "/x/exports"))
upgrades_asked = st.sampled_from(("websocket", "WEBSOCKET", "tcp", "foo", "h2c, websocket", "connect-udp"))
headers = st.fixed_dictionaries(
    {"x-limen-http": st.sampled_from(("HTTP/1.1", "HTTP/2"))},
    optional={
        "upgrade": upgrades_asked,
        "accept": st.sampled_from(("text/html", "text/event-stream", "a/b, Text/Event-Stream;q=1")),
        "content-type": st.sampled_from(("application/grpc+proto", "application/grpc-web", "text/plain")),
        "content-length": st.sampled_from(("0", "10", "100000")),
        "access-control-request-method": st.just("GET"),
    },
)


def as_sent(request: Request) -> Request:
    """CONNECT has no path, and in HTTP/2 no `Upgrade`; an extended one is a GET by the time it is routed."""
    if request.method != "CONNECT":
        return request
    rest = {name: value for name, value in request.headers.items() if name != "upgrade"}
    return Request("CONNECT", None, rest)


requests = st.builds(
    Request, st.sampled_from(("GET", "POST", "OPTIONS", "TRACE", "CONNECT")), paths, headers
).map(as_sent)


def matches(match: dict[str, Any], request: Request) -> bool:
    """Match as Envoy does: without a path, and for CONNECT-UDP, only `connect_matcher` fits."""
    if "connect_matcher" in match:
        fits = request.method == "CONNECT" or request.headers.get("upgrade") == "connect-udp"
    elif request.path is None:
        fits = False
    elif "path_separated_prefix" in match:
        prefix = match["path_separated_prefix"]
        fits = request.path == prefix or request.path.startswith(prefix + "/")
    elif "safe_regex" in match:
        fits = re.fullmatch(match["safe_regex"]["regex"], request.path) is not None
    else:
        fits = request.path.startswith(match["prefix"])
    return fits and all(header_matches(header, request) for header in match.get("headers", ()))


def header_matches(matcher: dict[str, Any], request: Request) -> bool:
    value = request.method if matcher["name"] == ":method" else request.headers.get(matcher["name"])
    if "present_match" in matcher:
        return (value is not None) is not matcher.get("invert_match", False)
    if value is None:
        return False
    if "range_match" in matcher:
        return matcher["range_match"]["start"] <= int(value) < matcher["range_match"]["end"]
    wanted = matcher["string_match"]
    if wanted.get("ignore_case"):
        value, wanted = value.lower(), {k: v.lower() for k, v in wanted.items() if isinstance(v, str)}
    if "exact" in wanted:
        found = value == wanted["exact"]
    elif "contains" in wanted:
        found = wanted["contains"] in value
    elif "prefix" in wanted:
        found = value.startswith(wanted["prefix"])
    else:
        found = re.fullmatch(wanted["safe_regex"]["regex"], value) is not None
    return found is not matcher.get("invert_match", False)


def deciders(host: dict[str, Any], route: dict[str, Any]) -> set[str]:
    """Return which filters are on: the check unless it is disabled, the leash where a route turns it on."""
    config = {**host.get("typed_per_filter_config", {}), **route.get("typed_per_filter_config", {})}
    check = config.get(CHECK_FILTER, {}).get("disabled") is not True
    leash = LEASH_FILTER in config and "disabled" not in config[LEASH_FILTER]
    return {name for name, on in (("check", check), ("leash", leash)) if on}


def chosen(
    rendered: dict[str, Any], host: str, request: Request
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the virtual host, and its first route that fits."""
    found = next(h for h in rendered["virtual_hosts"] if host in h["domains"] or h["domains"] == ["*"])
    return found, next((route for route in found["routes"] if matches(route["match"], request)), None)


def cluster_of(route: dict[str, Any]) -> str:
    cluster: str = route.get("route", {}).get("cluster", "")
    return cluster


@given(catalogues)
def test_e2_no_route_to_an_app_or_a_service_has_nobody_who_decides(catalogue: Catalogue) -> None:
    for host in render_routes(catalogue, SETTINGS)["virtual_hosts"]:
        assert not {CHECK_FILTER, LEASH_FILTER} & host.get("typed_per_filter_config", {}).keys()
        for route in host["routes"]:
            by, cluster = deciders(host, route), cluster_of(route)
            assert set(route) & {"route", "direct_response"}, "nothing is redirected or left to Envoy"
            if cluster.startswith("app_"):
                assert len(by) == 1
                assert {"x-limen-token", "x-limen-peer", "x-limen-http"} <= set(
                    route["request_headers_to_remove"]
                )
            elif cluster.startswith("service_"):
                assert by == {"leash"}
            elif cluster:
                assert (cluster, by) == ("control", set())
                assert route["match"]["path_separated_prefix"] == "/.limen"


@given(catalogues, names, requests)
def test_e4_each_request_is_decided_once_by_the_leash_if_it_is_a_stream(
    catalogue: Catalogue, name: str, request: Request
) -> None:
    host, route = chosen(render_routes(catalogue, SETTINGS), f"{name}.{DOMAIN}", request)
    app = catalogue.apps.get(name)
    if route is None or app is None or not cluster_of(route).startswith("app_"):
        assert route is None or cluster_of(route) in ("", "control")
        return
    assert request.method not in ("CONNECT", "TRACE")
    upgrade = request.headers.get("upgrade")
    streaming = any(
        one.streaming
        and (not one.methods or request.method in one.methods)
        and re.fullmatch(path_pattern(one), request.path or "")
        for one in app.routes
    )
    stream = "access-control-request-method" not in request.headers and (
        upgrade is not None
        or streaming
        or "text/event-stream" in request.headers.get("accept", "").lower()
        or request.headers.get("content-type", "").startswith("application/grpc")
    )
    assert deciders(host, route) == ({"leash"} if stream else {"check"})
    assert int(request.headers.get("content-length", "0")) <= app.max_body_bytes
    if upgrade is not None:
        assert upgrade.lower() in upgrades(app)
        assert [u["upgrade_type"] for u in route["route"]["upgrade_configs"]] == [upgrade.lower()]
    else:
        assert "upgrade_configs" not in route["route"]


@given(catalogues, names, requests)
def test_a_body_of_unknown_length_is_held_unless_the_bundle_or_an_upgrade_lets_it_run(
    catalogue: Catalogue, name: str, request: Request
) -> None:
    _, route = chosen(render_routes(catalogue, SETTINGS), f"{name}.{DOMAIN}", request)
    app = catalogue.apps.get(name)
    if route is None or app is None or "content-length" in request.headers or "upgrade" in request.headers:
        return
    if cluster_of(route).startswith("app_") and BUFFER_FILTER not in route.get("typed_per_filter_config", {}):
        grpc = request.headers.get("content-type", "").startswith("application/grpc")
        assert (app.http2 and grpc) or any(one.streaming for one in app.routes)


@given(catalogues, names, requests)
def test_services_are_reached_by_connect_over_http_2_and_by_nothing_else(
    catalogue: Catalogue, name: str, request: Request
) -> None:
    host, route = chosen(render_routes(catalogue, SETTINGS), f"s-{name}.{DOMAIN}", request)
    tunnel = request.method == "CONNECT" and request.headers["x-limen-http"] == "HTTP/2"
    known = f"s-{name}" in catalogue.services
    reached = route is not None and cluster_of(route) == f"service_s-{name}"
    assert reached == (tunnel and known)
    if reached:
        assert route is not None
        assert deciders(host, route) == {"leash"}


@given(catalogues)
def test_e1_services_and_streams_touch_no_listener(catalogue: Catalogue) -> None:
    assert render_listener(catalogue, SETTINGS) == render_listener(Catalogue(domain=DOMAIN), SETTINGS)


@given(patterns, st.lists(st.sampled_from(("events", "a b", "é", "v1.2", "v1-2", "x", "")), max_size=4))
def test_a_streaming_pattern_means_on_the_wire_what_the_route_table_says(path: str, parts: list[str]) -> None:
    route = RouteConfig("r", path, streaming=True)
    table = RouteTable(AppConfig("a", "a.x", ("http://b:1",), routes=(route,)))
    asked = "/" + "/".join(parts)
    wire = "/" + "/".join(quote(part) for part in parts)
    assert bool(re.fullmatch(path_pattern(route), wire)) == (
        table.match("GET", asked).resource.type == "Route"
    )


def test_h2c_is_never_an_upgrade() -> None:
    app = AppConfig("a", "a.x", ("http://b:1",), upgrades=("H2C", "h2c", "CONNECT", "websocket", "WebSocket"))
    assert upgrades(app) == ("websocket",)


def test_the_leash_names_its_answers_as_envoy_is_told() -> None:
    assert LEASH_DETAILS == DENIED


def test_the_leash_stands_behind_the_note_and_before_the_app() -> None:
    chain = render_listener(Catalogue(domain=DOMAIN), SETTINGS)["default_filter_chain"]
    order = [one["name"] for one in chain["filters"][-1]["typed_config"]["http_filters"]]
    assert order.index("limen.note") < order.index(CHECK_FILTER) < order.index(LEASH_FILTER)
    assert order.index(LEASH_FILTER) < order.index(BUFFER_FILTER) < order.index("envoy.filters.http.router")
    auth = render_listener(Catalogue(domain=DOMAIN), SETTINGS)["filter_chains"][0]
    manager = auth["filters"][-1]["typed_config"]
    assert not {CHECK_FILTER, LEASH_FILTER} & {one["name"] for one in manager["http_filters"]}
    assert manager["http2_protocol_options"]["allow_connect"] is False


@pytest.mark.parametrize(("field", "value"), [
    ("failure_mode_allow", False), ("allow_mode_override", False), ("route_cache_action", "RETAIN"),
])  # fmt: skip
def test_a_leash_that_is_gone_or_wrong_opens_nothing(field: str, value: object) -> None:
    chain = render_listener(Catalogue(domain=DOMAIN), SETTINGS)["default_filter_chain"]
    leash = next(
        one["typed_config"]
        for one in chain["filters"][-1]["typed_config"]["http_filters"]
        if one["name"] == LEASH_FILTER
    )
    assert leash[field] == value
    assert leash["mutation_rules"]["disallow_system"] is True
    assert leash["processing_mode"]["request_header_mode"] == "SEND"
    assert leash["processing_mode"]["response_trailer_mode"] == "SEND"

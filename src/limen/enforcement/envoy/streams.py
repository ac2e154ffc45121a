"""Which requests of an app are live streams: the leash decides them and holds them until they end.

An upgrade, an answer that the client wants as events, gRPC, and routes that the bundle calls streaming.
The client's headers choose between check and leash, never between a decision and none.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from limen.core.catalogue import AppConfig, RouteConfig
from limen.enforcement.envoy.headers import regex

H2C = "h2c"
"""Never an upgrade: behind it Envoy would see no requests, only bytes."""

Match = dict[str, Any]

NO_PREFLIGHT = {"name": "access-control-request-method", "present_match": True, "invert_match": True}
"""Envoy answers preflights itself, and would ask the leash about an answer to a request it never saw."""

_REST = {"prefix": "/"}
_PATH_LITERALS = "!$&'()*+,=:@-._~"


def upgrades(app: AppConfig) -> tuple[str, ...]:
    """Return the values of `Upgrade` that may be asked of an app."""
    return tuple(sorted({name.lower() for name in app.upgrades} - {H2C, "connect", "connect-udp"}))


def upgrade_match(value: str | None = None) -> Match:
    """Match requests for an upgrade, to `value` or to anything."""
    wanted = {"string_match": {"exact": value, "ignore_case": True}} if value else {"present_match": True}
    return {**_REST, "headers": [{"name": "upgrade", **wanted}, *([NO_PREFLIGHT] if value else [])]}


def event_match() -> Match:
    """Match requests whose answer the client wants as server-sent events."""
    wanted = {"contains": "text/event-stream", "ignore_case": True}
    return {**_REST, "headers": [{"name": "accept", "string_match": wanted}, NO_PREFLIGHT]}


def grpc_match() -> Match:
    """Match gRPC in all its forms, gRPC-Web included."""
    wanted = {"prefix": "application/grpc", "ignore_case": True}
    return {**_REST, "headers": [{"name": "content-type", "string_match": wanted}, NO_PREFLIGHT]}


def streaming_matches(app: AppConfig) -> Iterator[Match]:
    """Match the routes that the bundle calls streaming."""
    for route in app.routes:
        if route.streaming:
            yield {**regex(path_pattern(route)), "headers": [NO_PREFLIGHT, *_methods(route)]}


def path_pattern(route: RouteConfig) -> str:
    """Return the RE2 pattern of a route's path on the wire. It means what `RouteTable` says it does."""
    pattern = ""
    for segment in route.path.split("/")[1:]:
        if segment == "**":
            return f"{pattern}(?:/.*)?" if pattern else "/.*"
        pattern += "/[^/]*" if segment == "*" else "/" + re.escape(quote(segment, safe=_PATH_LITERALS))
    return pattern


def _methods(route: RouteConfig) -> list[dict[str, Any]]:
    if not route.methods:
        return []
    wanted = regex("|".join(re.escape(method) for method in sorted(route.methods)))
    return [{"name": ":method", "string_match": wanted}]

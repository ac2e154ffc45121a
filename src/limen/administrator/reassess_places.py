"""What the bundle in force says of a live stream: which resource and action it is, and its limits.

The catalogue may have changed since the stream was opened: the app or service may be gone, a route may
have become another one, limits may be tighter. Whether the *spelling* of a path is ambiguous is judged
where requests are read, at the opening.
"""

import re
from urllib.parse import unquote, urlsplit

import msgspec

from limen.administrator.streams import LiveStream
from limen.core.catalogue import CONNECT_APP, AppConfig, Catalogue, ServiceConfig
from limen.core.decision import Code
from limen.core.ids import EntityRef
from limen.core.resources import ADMIN_STALENESS_MAX_S, RouteTable
from limen.core.rollout import ENFORCED, Rollout

NOT_UPGRADES = frozenset({"connect", "sse", "grpc", "http"})
"""Protocols of streams that no `Upgrade` header asked for."""

_SLASH = re.compile("%2f", re.IGNORECASE)


class Standing(msgspec.Struct, frozen=True):
    """What a stream is under the bundle in force."""

    resource: EntityRef
    action: str
    public: bool
    staleness_max_s: float
    max_s: float
    rollout: Rollout = ENFORCED


class StreamPlaces:
    """The hosts of one catalogue, as live streams see them."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._services = {service.host: service for service in catalogue.services.values()}
        self._apps = {app.host: (app, RouteTable(app)) for app in catalogue.apps.values()}
        self._hosts = {app.name: app.host for app in catalogue.apps.values()}

    def find(self, stream: LiveStream) -> Standing | Code:
        """Return what a stream is now, or why there can be no such stream any more."""
        host = stream.question.host
        service = self._services.get(host)
        if service is not None and stream.app == CONNECT_APP:
            return _of_service(service)
        app, table = self._apps.get(host, (None, None))
        if app is None or table is None or app.name != stream.app:
            return Code.NO_RESOURCE
        if stream.protocol not in NOT_UPGRADES and stream.protocol not in app.upgrades:
            return Code.STREAM_REFUSED
        if stream.page and not self._may_call(app, stream.page):
            return Code.CROSS_APP
        return _of_app(app, table, stream)

    def _may_call(self, app: AppConfig, page: str) -> bool:
        """Say whether a page that was let in may still call an app. Its port was judged at the opening."""
        parts = urlsplit(page)
        trusted = {self._hosts.get(name) for name in app.trusts}
        listed = app.cors is not None and page in app.cors.origins
        return listed or (parts.scheme == "https" and parts.hostname in trusted)


def _of_service(service: ServiceConfig) -> Standing:
    limits, bound_s = service.streams, service.staleness_max_s
    return Standing(service.ref, "connect", False, bound_s, limits.max_s, service.rollout)


def _of_app(app: AppConfig, table: RouteTable, stream: LiveStream) -> Standing:
    match = table.match(stream.question.method, read_path(stream.question.path))
    staleness_max_s = app.staleness_max_s
    if match.action == "admin":
        staleness_max_s = min(staleness_max_s, ADMIN_STALENESS_MAX_S)
    rollout = app.rollout_of(match.resource)
    return Standing(match.resource, match.action, match.public, staleness_max_s, app.streams.max_s, rollout)


def read_path(path: str) -> str:
    """Return a path of the wire as routes are matched with it: decoded once, its `%2F` kept."""
    return unquote(_SLASH.sub("%252F", path)) if "%" in path else path

"""Places: for each host of the catalogue, what a request there is for."""

from collections.abc import Mapping

from limen.core.catalogue import CONNECT_APP, AppConfig, Catalogue, ServiceConfig
from limen.core.paths import Ambiguous, PathTable
from limen.core.resources import ADMIN_STALENESS_MAX_S, READ_METHODS, RouteMatch
from limen.enforcement.check.request import (
    HOST,
    BadRequest,
    CheckRequest,
    Misdirected,
    Target,
    parse_authority,
    parse_target,
)

NO_PATH = Target("", "", ("",))


class AppPlace:
    """One app, as seen from the wire.

    Attributes:
        app: its configuration.
        session_app: what a session must be of to be good here.
        upgrades: values of `Upgrade`, in lower case, that it may be asked for.
        auth_host: where one signs in for it.
        origins: origins that may call it from a page of theirs (CORS).
        trusted_hosts: hosts of the apps that may post here.
        staged: something of it is not enforced for somebody; else nothing asks for its rollout.
        timezone: in which days begin.
    """

    def __init__(self, app: AppConfig, catalogue: Catalogue) -> None:
        self.app = app
        self.name = self.session_app = app.name
        self.owner, self.streams = app.owner, app.streams
        self.upgrades = frozenset(app.upgrades)
        self.auth_host, self.timezone = catalogue.auth_host, catalogue.timezone
        self.rollout_of = app.rollout_of
        rollouts = (app.rollout, *(route.rollout for route in app.routes if route.rollout is not None))
        self.staged = not all(rollout.enforced for rollout in rollouts)
        self.origins = frozenset(app.cors.origins) if app.cors else frozenset()
        self.trusted_hosts = tuple(catalogue.apps[name].host for name in app.trusts if name in catalogue.apps)
        self._table = PathTable(app)

    def read(self, request: CheckRequest) -> tuple[Target, RouteMatch]:
        """Return path and query of a request, and what it is for.

        Raises:
            BadRequest: the path could be read in two ways.
        """
        target = parse_target(request.target, encoded_slash=self.app.allow_encoded_slash)
        return target, self.match(request.method, target)

    def match(self, method: str, target: Target) -> RouteMatch:
        """Return what the request is for.

        Raises:
            BadRequest: the app could read the path as another part of itself than Limen does: by
                escapes, or by upper and lower case.
        """
        try:
            return self._table.match(method, target.readings)
        except Ambiguous as error:
            raise _ambiguous(str(error)) from None

    def staleness_max_s(self, match: RouteMatch) -> float:
        """Return how old the facts may be (law F3)."""
        if match.action == "admin":
            return min(self.app.staleness_max_s, ADMIN_STALENESS_MAX_S)
        return self.app.staleness_max_s

    def is_own_or_trusted(self, origin: str, port: str) -> bool:
        """Say whether a page of `origin` may send unsafe requests here. `port` is that of the request."""
        return (
            origin == f"https://{self.app.host}{port}"
            or origin in self.origins
            or any(origin == f"https://{host}{port}" for host in self.trusted_hosts)
        )


class ServicePlace:
    """One TCP service, as seen from the wire: it is reached by CONNECT, and by nothing else.

    Attributes: as those of an app. No page is of a service, so no origin is its own.
    """

    session_app = CONNECT_APP
    upgrades: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def __init__(self, service: ServiceConfig, catalogue: Catalogue) -> None:
        self.service = service
        self.name, self.owner, self.streams = service.name, service.owner, service.streams
        self.auth_host, self.timezone = catalogue.auth_host, catalogue.timezone
        self.rollout_of = service.rollout_of
        self.staged = not service.rollout.enforced
        self._match = RouteMatch(service.ref, "connect")

    def read(self, request: CheckRequest) -> tuple[Target, RouteMatch]:
        """Return what a request is for. CONNECT has no path (RFC 9113 §8.5).

        Raises:
            BadRequest: it is not CONNECT.
            Misdirected: another port than that of services.
        """
        if request.method != "CONNECT" or request.target:
            raise BadRequest(
                "This is a service, and not an app for a browser.",
                remedy=f"Open it with `limen connect {self.name}`.",
            )
        if parse_authority(request.headers.get(HOST, b"")).port:
            raise Misdirected("Services are reached at port 443.", remedy="Name port 443 in CONNECT.")
        return NO_PATH, self._match

    def staleness_max_s(self, match: RouteMatch) -> float:
        """Return how old the facts may be (law F3)."""
        return self.service.staleness_max_s

    def is_own_or_trusted(self, origin: str, port: str) -> bool:
        """Say whether a page of `origin` may reach this: none may."""
        return False


Place = AppPlace | ServicePlace


def read_places(catalogue: Catalogue) -> Mapping[str, Place]:
    """Return the places of a catalogue by host."""
    services = {service.host: ServicePlace(service, catalogue) for service in catalogue.services.values()}
    return services | {app.host: AppPlace(app, catalogue) for app in catalogue.apps.values()}


def is_unsafe(method: str) -> bool:
    """Say whether a method may change something."""
    return method not in READ_METHODS


def _ambiguous(why: str) -> BadRequest:
    return BadRequest(
        f"The path differs from a part of this app that has rules of its own only by {why}.",
        remedy="Use the address that the app itself links to.",
    )

"""Resources: the entities that a catalogue stands for, and the route that a request falls on."""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.core.catalogue import ADMIN_APP, AppConfig, Catalogue, RouteConfig, ServiceConfig
from limen.core.client_config import ClientConfig
from limen.core.entities import Entity
from limen.core.ids import EntityRef
from limen.core.roles import OWNER_PARTS

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

ACTIONS_ON: Mapping[str, tuple[str, ...]] = {
    "App": ("read", "write", "admin"),
    "Route": ("read", "write", "admin"),
    "Service": ("connect",),
    "Client": ("sign_in",),
}
"""What may be asked of each kind of resource, as the Cedar schema says."""

ADMIN_STALENESS_MAX_S = 30.0
"""How old facts may be for `admin`, whatever the resource says (architecture §3, law F3)."""

ADMIN_ROUTES = (
    "people",
    "groups",
    "grants",
    "policy",
    "sessions",
    "streams",
    "gateways",
    "decisions",
    "rollout",
    "secrets",
    "system",
    "workloads",
    "clients",
    "sources",
    "identity",
    "roles",
    "recovery",
    "break-glass",
)
"""Parts of Limen's own administration: `Route::"limen/people"` and so on.

`roles` is asked about besides where a call touches somebody who has a role of Limen, or gives one.
"""


def catalogue_entities(catalogue: Catalogue) -> Mapping[EntityRef, Entity]:
    """Return every resource, segment and label of the catalogue as entities, Limen's own included."""
    found: dict[EntityRef, Entity] = {}

    def add(
        ref: EntityRef,
        parents: tuple[EntityRef, ...] = (),
        owner: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        attrs: dict[str, Any] = {"owner": {"__entity": {"type": "User", "id": owner}}} if owner else {}
        attrs |= more or {}
        found[ref] = Entity(ref, attrs, parents)
        for parent in parents:
            if parent.type == "Label":
                found.setdefault(parent, Entity(parent))

    for name, above in catalogue.segments.items():
        add(EntityRef("Segment", name), (EntityRef("Segment", above),) if above else ())
    for app in catalogue.apps.values():
        add(app.ref, _above(app), app.owner)
        for route in app.routes:
            marks = tuple(EntityRef("Label", label) for label in route.labels)
            add(EntityRef("Route", f"{app.name}/{route.name}"), (app.ref, *marks))
    for service in catalogue.services.values():
        kind = {"protocol": service.protocol, "port": service.port}
        add(service.ref, _above(service), service.owner, kind)
    for client in catalogue.clients.values():
        add(client.ref, _above(client), client.owner)
    add(EntityRef("App", ADMIN_APP))
    for part in ADMIN_ROUTES:
        add(EntityRef("Route", f"{ADMIN_APP}/{part}"), (EntityRef("App", ADMIN_APP),))
    for name, owner in owners(catalogue).items():
        for part in OWNER_PARTS:
            add(EntityRef("Route", f"{ADMIN_APP}/{part}/{name}"), (EntityRef("App", ADMIN_APP),), owner)
    return found


def owners(catalogue: Catalogue) -> Mapping[str, str]:
    """Return who owns each app, service and client that somebody owns, by its name."""
    found: dict[str, str] = {}
    for held in (catalogue.apps, catalogue.services, catalogue.clients):
        for name, resource in held.items():
            if resource.owner:
                found.setdefault(name, resource.owner)
    return found


def owner_part(part: str, resource: str) -> EntityRef:
    """Return the part of the administration that is about one resource; a route's is that of its app."""
    return EntityRef("Route", f"{ADMIN_APP}/{part}/{resource.partition('/')[0]}")


def plain_resources(
    catalogue: Catalogue,
) -> tuple[tuple[str, Mapping[str, ServiceConfig | ClientConfig]], ...]:
    """Return the resources without routes, by their sections of `limen.yaml`."""
    return ("services", catalogue.services), ("clients", catalogue.clients)


def _above(resource: AppConfig | ServiceConfig | ClientConfig) -> tuple[EntityRef, ...]:
    labels = tuple(EntityRef("Label", label) for label in resource.labels)
    return ((EntityRef("Segment", resource.segment),) if resource.segment else ()) + labels


class RouteMatch(msgspec.Struct, frozen=True):
    """What a request is for."""

    resource: EntityRef
    action: str
    public: bool = False


class RouteTable:
    """Routes of one app, most specific first: more literal segments, then longer, then methods."""

    def __init__(self, app: AppConfig) -> None:
        self._app = app
        self._routes = tuple(
            (_segments(route.path), route) for route in sorted(app.routes, key=specificity, reverse=True)
        )
        self._read = RouteMatch(app.ref, "read")
        self._write = RouteMatch(app.ref, "write")

    def match(self, method: str, path: str) -> RouteMatch:
        """Return resource and action for a normalised path without query."""
        if self._routes:
            parts = _segments(path)
            for pattern, route in self._routes:
                if (not route.methods or method in route.methods) and _fits(pattern, parts):
                    action = route.action or ("read" if method in READ_METHODS else "write")
                    ref = EntityRef("Route", f"{self._app.name}/{route.name}")
                    return RouteMatch(ref, action, route.public)
        return self._read if method in READ_METHODS else self._write


def specificity(route: RouteConfig) -> tuple[int, int, int]:
    """Return the order of a route among those that match: literal segments, length, methods named."""
    parts = _segments(route.path)
    literal = sum(part not in ("*", "**") for part in parts)
    closed = 0 if parts and parts[-1] == "**" else 1
    return (literal, len(parts) + closed, 1 if route.methods else 0)


def _segments(path: str) -> tuple[str, ...]:
    return tuple(path.split("/")[1:])


def _fits(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    for index, wanted in enumerate(pattern):
        if wanted == "**":
            return True
        if index >= len(parts) or (wanted not in ("*", parts[index])):
            return False
    return len(pattern) == len(parts)

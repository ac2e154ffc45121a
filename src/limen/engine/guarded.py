"""What the guardrails of a bundle bind, and whether another bundle would bind it otherwise.

Where a guardrail needs a second approver, so does whatever would take something from under it: another text
of it, another name, a label that it reaches a resource by, a public route, a mode that does not enforce,
another door to the same upstream.

Laws:
    U1 same: entitlements, tests, and what no guardrail of the first bundle binds may differ in silence.
    U2 whole: removing, adding or changing a `forbid`, in whatever folder, is told.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.core.catalogue import Catalogue, ServiceConfig
from limen.core.entities import close_entity
from limen.core.ids import EntityRef
from limen.core.resources import catalogue_entities
from limen.engine.bundle_values import Bundle, Policy
from limen.engine.index import scope_anchor
from limen.engine.reads import policy_reads

SETTING = "policy.guardrails"
RESOURCES = ("App", "Route", "Service", "Client")


def guarded_changes(before: Bundle, after: Bundle) -> tuple[str, ...]:
    """Return what guardrails would bind otherwise under `after`, in words, sorted; empty when nothing."""
    old, new = _guardrails(before), _guardrails(after)
    found = {f"guardrail {name}" for name in old.keys() | new.keys() if _text(old, name) != _text(new, name)}
    if before.catalogue.guardrails_approved != after.catalogue.guardrails_approved:
        found.add(SETTING)
    if old:
        sight = _Sight(old.values())
        bound, binds = sight.bound(before.catalogue), sight.bound(after.catalogue)
        found |= {name for name, value in bound.items() if name in binds and binds[name] != value}
    return tuple(sorted(found))


def _guardrails(bundle: Bundle) -> Mapping[str, Policy]:
    return {policy.id: policy for policy in bundle.policies if policy.effect == "forbid"}


def _text(guardrails: Mapping[str, Policy], name: str) -> bytes | None:
    """Return a guardrail in a form in which its place in the files and its comments do not matter."""
    found = guardrails.get(name)
    return None if found is None else msgspec.json.encode(found.est, order="deterministic")


class _Sight:
    """By what guardrails can tell resources apart."""

    def __init__(self, guardrails: Any) -> None:
        self._named: set[EntityRef] = set()
        self._attributes = False
        self._kinds = False
        for policy in guardrails:
            self._named |= policy_reads(policy.est).named
            anchor = scope_anchor(policy.est["resource"])
            if anchor.type:
                self._named.add(EntityRef(anchor.type, anchor.id))
            self._kinds |= bool(anchor.is_type)
            self._attributes |= b'{"Var":"resource"}' in msgspec.json.encode(policy.est["conditions"])

    def bound(self, catalogue: Catalogue) -> Mapping[str, Any]:
        """Return by name what decides whether guardrails reach a resource, and whether they are enforced.

        What only one of two catalogues has is new or gone, and no guardrail was taken from it.
        """
        entities = catalogue_entities(catalogue)

        def reach(ref: EntityRef) -> Any:
            seen = close_entity(ref, entities.get).ancestors & self._named
            return seen, entities[ref].attrs if self._attributes else None

        found: dict[str, Any] = {"timezone": catalogue.timezone, "edge": catalogue.edge}
        for app in catalogue.apps.values():
            name, whole = f"app {app.name}", reach(app.ref)
            parts = [(one, reach(EntityRef("Route", f"{app.name}/{one.name}"))) for one in app.routes]
            found[f"{name}: labels, segment, owner"] = whole
            # A route is bound by its path, and by every other that may be matched before it.
            reached = self._kinds or self._attributes or any(part != whole for _, part in parts)
            routes = [(one.path, one.methods, one.action, part) for one, part in parts]
            found[f"{name}: routes"] = routes if reached else []
            # A public path is decided by no policy; another route may be what stands in its way.
            public = any(route.public for route in app.routes)
            found[f"{name}: what is public"] = app.routes if public else ()
            own = [(one.path, one.rollout) for one in app.routes if one.rollout is not None]
            found[f"{name}: mode"] = (app.rollout, own)
        for service in catalogue.services.values():
            found[f"service {service.name}: labels, segment, owner"] = reach(service.ref)
            found[f"service {service.name}: mode"] = service.rollout
        for client in catalogue.clients.values():
            found[f"client {client.name}: labels, segment, owner"] = reach(client.ref)
        # Another name for what is behind a guarded one is a way round it: the weakest way in counts.
        ways: dict[str, list[Any]] = {}
        for app in catalogue.apps.values():
            for upstream in app.upstream:
                ways.setdefault(upstream.partition("://")[2], []).append(reach(app.ref)[0])
        for service in catalogue.services.values():
            ways.setdefault(_authority(service), []).append(reach(service.ref)[0])
        return found | {f"upstream {place}": frozenset.intersection(*seen) for place, seen in ways.items()}


def _authority(service: ServiceConfig) -> str:
    """Return where a service is, as upstreams of apps are written."""
    host = f"[{service.address}]" if ":" in service.address else service.address
    return f"{host}:{service.port}"

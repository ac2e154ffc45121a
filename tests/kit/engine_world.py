"""A small organisation for engine tests: builders of policies, subjects, resources, facts, requests.

`people`, `apps` and so on are fixed; what varies are the arguments. Nothing here imports the engine's
own decision code, so that oracles built on it stay independent.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import cedarpy

from limen.core.catalogue import Catalogue
from limen.core.decision import AccessRequest, DeviceFacts, Facts, SessionFacts
from limen.core.entities import Closure, Entity, close_entity
from limen.core.ids import BundleId, DecisionId, EntityRef
from limen.engine.bundle import Bundle, Policy
from limen.engine.policies import Policies, compile_policies
from limen.engine.schema import cedar_schema

NOON = 1_800_014_400.0  # Friday 15 January 2027, 12:00 UTC

_serial = itertools.count()


def ref(text: str) -> EntityRef:
    """`User::ada` as a reference."""
    kind, _, name = text.partition("::")
    return EntityRef(kind, name)


GROUPS: Mapping[str, tuple[str, ...]] = {
    "staff": (),
    "hr": ("staff",),
    "engineers": ("staff",),
    "contractors": (),
    "sre": ("engineers",),
}

RESOURCES: Mapping[str, tuple[str, ...]] = {
    "Segment::prod": (),
    "Segment::prod-data": ("Segment::prod",),
    "Label::phi": (),
    "App::wiki": (),
    "App::payroll": ("Label::phi", "Segment::prod-data"),
    "App::limen": (),
    "Service::ledger-db": ("Label::phi", "Segment::prod-data"),
    "Service::bastion": (),
    "Route::payroll/exports": ("App::payroll",),
    "Route::wiki/edit": ("App::wiki", "Label::phi"),
}

KINDS = {
    "Service::ledger-db": {"protocol": "postgres", "port": 5432},
    "Service::bastion": {"protocol": "ssh", "port": 22},
}
OWNERS = {"App::payroll": "ada", "App::wiki": "nobody-known"}


def entity_table(**extra: Entity) -> dict[EntityRef, Entity]:
    """Every group and resource of the organisation."""
    table = {
        EntityRef("Group", name): Entity(
            EntityRef("Group", name), {}, tuple(EntityRef("Group", above) for above in parents)
        )
        for name, parents in GROUPS.items()
    }
    for name, parents in RESOURCES.items():
        attrs = {"owner": {"__entity": {"type": "User", "id": OWNERS[name]}}} if name in OWNERS else {}
        attrs |= KINDS.get(name, {})
        table[ref(name)] = Entity(ref(name), attrs, tuple(ref(parent) for parent in parents))
    return table | {entity.ref: entity for entity in extra.values()}


TABLE = entity_table()


def person(
    name: str = "ada",
    groups: tuple[str, ...] = ("hr",),
    *,
    kind: str = "employee",
    attributes: Mapping[str, Any] | None = None,
    **closure: Any,
) -> Closure:
    """A person of the directory."""
    root = EntityRef("User", name)
    attrs = {
        "status": "active",
        "kind": kind,
        "quarantined": False,
        "attributes": dict(attributes or {}),
    }
    entity = Entity(root, attrs, tuple(EntityRef("Group", group) for group in groups))
    return close_entity(root, {**TABLE, root: entity}.get, **closure)


def workload(name: str = "backup", groups: tuple[str, ...] = (), owner: str = "ada") -> Closure:
    """A machine, owned by a person whom the closure holds."""
    root = EntityRef("Workload", name)
    attrs = {"status": "active", "quarantined": False, "owner": {"__entity": {"type": "User", "id": owner}}}
    entity = Entity(root, attrs, tuple(EntityRef("Group", group) for group in groups))
    owned = {e.ref: e for e in person(owner).entities}
    return close_entity(root, {**TABLE, **owned, root: entity}.get)


def device(
    name: str = "laptop",
    *,
    compliant: bool = True,
    trust: int = 2,
    posture: Mapping[str, Any] | None = None,
    **closure: Any,
) -> DeviceFacts:
    """A device that is ours."""
    root = EntityRef("Device", name)
    attrs = {
        "platform": "linux",
        "trust": trust,
        "compliant": compliant,
        "quarantined": False,
        "posture": dict(posture or {}),
    }
    return DeviceFacts(close_entity(root, {root: Entity(root, attrs)}.get, **closure))


def resource(name: str = "App::wiki") -> Closure:
    """An app, route or service of the catalogue."""
    return close_entity(ref(name), {**TABLE, **{e.ref: e for e in person("ada").entities}}.get)


def session(at: float = NOON, **changes: Any) -> SessionFacts:
    """A session with a second factor, signed in a minute before `at`."""
    values = {
        "id": "ses_1",
        "aal": 2,
        "phishing_resistant": False,
        "methods": ("password", "totp"),
        "started_at": at - 60,
        "auth_at": at - 60,
        "expires_at": at + 43_200,
    }
    return SessionFacts(**{**values, **changes})


def facts(subject: Closure | None = None, target: str = "App::wiki", **changes: Any) -> Facts:
    """Facts about a subject who is at work."""
    values = {"session": session(), **changes}
    return Facts(subject=person() if subject is None else subject, resource=resource(target), **values)


def request(about: Facts, action: str = "read", at: float = NOON, **changes: Any) -> AccessRequest:
    """A request that these facts are about."""
    subject = about.subject.root if about.subject is not None else None
    values = {"subject": subject, "resource": about.resource.root, **changes}
    return AccessRequest(id=DecisionId(f"{next(_serial):032x}"), at=at, action=action, **values)


def bundle(cedar: str, *, timezone: str = "UTC", attributes: Mapping[str, str] | None = None) -> Bundle:
    """A bundle of these policies; each has an `@id`."""
    catalogue = Catalogue(domain="corp.example", timezone=timezone, attributes=attributes or {})
    document = json.loads(cedarpy.policies_to_json_str(cedar))["staticPolicies"]
    policies = tuple(_policy(est) for est in document.values())
    number = BundleId(f"{next(_serial):064x}")
    return Bundle(number, catalogue, policies, (), {}, cedar_schema(catalogue))


def _policy(est: dict[str, Any]) -> Policy:
    name = est["annotations"]["id"]
    return Policy(
        id=name,
        effect=est["effect"],
        layer="guardrail" if est["effect"] == "forbid" else "entitlement",
        reason=est["annotations"].get("reason") or f"The policy {name} says so.",
        file="policies/all.cedar",
        line=1,
        column=1,
        cedar="",
        est=est,
    )


def policies(cedar: str, **settings: Any) -> Policies:
    """Compiled policies from Cedar text."""
    return compile_policies(bundle(cedar, **settings))

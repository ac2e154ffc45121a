"""What the laws D1 to D3 demand, the slow way: each policy alone, all of the context, no slices.

Shares no code with the engine: contexts and entities are built here again.
"""

import json
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import Any
from zoneinfo import ZoneInfo

import cedarpy

from limen.core.catalogue import Catalogue
from limen.core.decision import AccessRequest, Facts
from limen.engine.schema import cedar_schema

_SCHEMA = cedar_schema(Catalogue(domain="corp.example"))


def expected(
    request: AccessRequest, facts: Facts, texts: list[str], zone: str = "UTC"
) -> tuple[str, list[str], list[str]]:
    """Return verdict, determining policies and erring policies, for a request that nothing else refuses."""
    if (request.action == "connect") != (request.resource.type == "Service"):
        return "deny", [], []  # the schema has no such action for it
    permits, forbids, errors = _granted(request, facts), [], []
    for number, text in enumerate(texts):
        name = f"p{number}"
        result = cedarpy.is_authorized(_request(request, facts, zone), text, _entities(facts), _SCHEMA)
        assert result.decision is not cedarpy.Decision.NoDecision, result.diagnostics.errors
        effect = "permit" if " permit(" in text else "forbid"
        satisfied = bool(result.diagnostics.reasons)
        if result.diagnostics.errors:
            errors.append(name)
            satisfied = effect == "forbid"  # D3
        if satisfied:
            (permits if effect == "permit" else forbids).append(name)
    if forbids:
        return "deny", sorted(forbids), errors
    return ("allow", sorted(permits), errors) if permits else ("deny", [], errors)


def _granted(request: AccessRequest, facts: Facts) -> list[str]:
    return [
        f"grant:{grant.id}"
        for grant in facts.grants
        if request.at < grant.expires_at
        and {request.action, "access"} & set(grant.actions)
        and facts.subject is not None
        and grant.principal in facts.subject.ancestors
        and grant.resource in facts.resource.ancestors
    ]


def _request(request: AccessRequest, facts: Facts, zone: str) -> dict[str, Any]:
    at_ms = round(request.at * 1000)
    now = datetime.fromtimestamp(at_ms // 1000, UTC)
    local = now.astimezone(ZoneInfo(zone))
    address = ip_address(facts.network.ip)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    network: dict[str, Any] = {"ip": _extn("ip", str(address)), "anonymizer": facts.network.anonymizer}
    if facts.network.country is not None:
        network["country"] = facts.network.country
    context: dict[str, Any] = {
        "now": _extn("datetime", now.strftime("%Y-%m-%dT%H:%M:%S") + f".{at_ms % 1000:03d}Z"),
        "hour": local.hour,
        "weekday": local.isoweekday(),
        "network": network,
        "risk": facts.risk,
        "signals": list(facts.signals),
    }
    if facts.session is not None:
        context["session"] = {
            "aal": facts.session.aal,
            "phishing_resistant": facts.session.phishing_resistant,
            "methods": list(facts.session.methods),
            "age": _extn("duration", f"{at_ms - round(facts.session.started_at * 1000)}ms"),
            "auth_age": _extn("duration", f"{at_ms - round(facts.session.auth_at * 1000)}ms"),
        }
    if facts.device is not None:
        context["device"] = {"__entity": _uid(facts.device.closure.root)}
    assert facts.subject is not None
    return {
        "principal": _uid(facts.subject.root),
        "action": {"type": "Action", "id": request.action},
        "resource": _uid(facts.resource.root),
        "context": context,
    }


def _entities(facts: Facts) -> list[dict[str, Any]]:
    assert facts.subject is not None
    closures = [facts.subject, facts.resource, *([facts.device.closure] if facts.device else [])]
    found: dict[Any, dict[str, Any]] = {}
    for closure in closures:
        for one in closure.entities:
            if one.ref.type != "User" or one.attrs:  # an owner whom nobody knows
                row = {
                    "uid": _uid(one.ref),
                    "attrs": dict(one.attrs),
                    "parents": [_uid(p) for p in one.parents],
                }
                found.setdefault(one.ref, row)
    return json.loads(json.dumps(list(found.values())))


def _uid(ref: Any) -> dict[str, str]:
    return {"type": ref.type, "id": ref.id}


def _extn(fn: str, arg: str) -> dict[str, Any]:
    return {"__extn": {"fn": fn, "arg": arg}}

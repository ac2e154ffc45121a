"""Rows as OCSF 1.8.0 events.

Decisions about requests are **HTTP Activity** (4002) with the profile `security_control`: Web Resource
Access (6004) has the form of an enforcement point, but is deprecated since OCSF 1.1, and has no place for
bytes. The verdict is `action_id` and `disposition_id`, the policies are `authorizations`. Decisions about
services are **Network Activity** (4001), opened or refused; those of the admin API are **API Activity**
(6003). Events have their classes in the table `kinds`.

Laws:
    X6 valid. Every row, whatever its fields hold, becomes an event that the schema of its class takes.
"""

from collections.abc import Mapping
from typing import Any

from limen.journal.export.ocsf_classes import API_METHODS, HTTP_METHODS, OTHER, Activity, OcsfClass
from limen.journal.export.ocsf_events import render_event
from limen.journal.export.ocsf_values import actor, base, duration, resource, source, traffic, user
from limen.journal.export.rows import Row

INFORMATIONAL, LOW, MEDIUM = 1, 2, 3
OPEN, REFUSE = Activity(1, "Open"), Activity(5, "Refuse")
ALLOWED, DENIED, OBSERVED = (1, "Allowed"), (2, "Denied"), (3, "Observed")
BLOCKED, LOGGED, ACCESS_REVOKED = (2, "Blocked"), (17, "Logged"), (24, "Access Revoked")
ADMIN_POINT, REASSESS_POINT = "admin-api", "reassess"
FAILED_STATUS = 400
HARD_CODES = frozenset({"QUARANTINED", "SUBJECT_SUSPENDED", "SUBJECT_ENDED", "ENGINE_FAILED", "CROSS_APP"})

_UNMAPPED = (
    *("node", "point", "action", "resource", "mode", "would_be", "bundle", "remedies", "errors", "memo"),
    *("took_us", "age_s", "inputs", "flags", "details"),
)


def render_ocsf(row: Row) -> dict[str, Any]:
    """Return a row as an OCSF event (law X6)."""
    match row.fields.get("type"):
        case "decision":
            return _decision(row)
        case "outcome":
            return _outcome(row)
    return render_event(row)


def _decision(row: Row) -> dict[str, Any]:
    fields = row.fields
    kind, name = resource(_text(fields, "resource"))
    allowed = fields.get("verdict") == "allow"
    method = _text(fields, "method")
    if fields.get("point") == ADMIN_POINT:
        ocsf, activity = OcsfClass.API_ACTIVITY, API_METHODS.get(method, OTHER)
        more = _of_api(fields, name)
    elif kind == "Service":
        ocsf, activity = OcsfClass.NETWORK_ACTIVITY, OPEN if allowed else REFUSE
        more = _of_service(fields, name)
    else:
        ocsf, activity = OcsfClass.HTTP_ACTIVITY, HTTP_METHODS.get(method, OTHER)
        more = _of_http(fields, name)
    status = fields.get("status")
    failed = not allowed or (isinstance(status, int) and status >= FAILED_STATUS)
    severity = INFORMATIONAL if allowed else MEDIUM if fields.get("code") in HARD_CODES else LOW
    event = base(row, ocsf, activity, severity=severity, failed=failed, correlation=_text(fields, "id"))
    event |= _judgement(fields, allowed) | more
    unmapped = {key: fields[key] for key in _UNMAPPED if fields.get(key) not in (None, "", [])}
    return event | {"unmapped": unmapped}


def _judgement(fields: Mapping[str, Any], allowed: bool) -> dict[str, Any]:
    """Return the members of the profile `security_control`, and the code."""
    observed = allowed and fields.get("would_be") == "deny"
    action = OBSERVED if observed else ALLOWED if allowed else DENIED
    disposition = LOGGED if observed else ALLOWED if allowed else BLOCKED
    if not allowed and fields.get("point") == REASSESS_POINT:
        disposition = ACCESS_REVOKED
    policies = [str(policy) for policy in fields.get("policies") or ()]
    found: dict[str, Any] = {
        "action_id": action[0],
        "action": action[1],
        "disposition_id": disposition[0],
        "disposition": disposition[1],
        "status_code": _text(fields, "code"),
    }
    if policies:
        decision = "Allowed" if allowed and not observed else "Denied"
        found["policy"] = {"uid": policies[0]}
        found["authorizations"] = [{"decision": decision, "policy": {"uid": policy}} for policy in policies]
    return found


def _of_http(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        "app_name": name.partition("/")[0] or "unknown",
        "actor": _actor(fields),
        "dst_endpoint": {"hostname": _text(fields, "host") or name or "unknown"},
        "http_request": _request(fields),
        **source(_text(fields, "ip")),
        **_answer(fields),
    }


def _of_service(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = {
        "app_name": name or "unknown",
        "actor": _actor(fields),
        "dst_endpoint": {"hostname": _text(fields, "host") or name or "unknown", "svc_name": name},
        **source(_text(fields, "ip")),
        **_answer(fields),
    }
    found.pop("http_response", None)
    found.pop("http_status", None)
    return found


def _of_api(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = {
        "actor": _actor(fields),
        "api": {
            "operation": f"{_text(fields, 'action')} {name}".strip() or "unknown",
            "service": {"name": "Limen admin API"},
            "request": {"uid": _text(fields, "id")},
        },
        "http_request": _request(fields),
        "resources": [{"name": name, "type": resource(_text(fields, "resource"))[0]}],
        **source(_text(fields, "ip"), "control's own machine"),
        **_answer(fields),
    }
    for only_http in ("http_status", "traffic"):
        found.pop(only_http, None)
    return found


def _outcome(row: Row) -> dict[str, Any]:
    """Return the outcome of a decision that was told before: its id is `correlation_uid`."""
    fields = row.fields
    status = fields.get("status")
    failed = isinstance(status, int) and status >= FAILED_STATUS
    correlation = _text(fields, "id")
    event = base(
        row, OcsfClass.HTTP_ACTIVITY, OTHER, severity=INFORMATIONAL, failed=failed, correlation=correlation
    )
    event["activity_name"] = "Outcome"
    event["http_request"] = {"uid": correlation}
    event |= _answer(fields)
    unmapped = {key: fields[key] for key in ("flags", "details") if fields.get(key)}
    return event | ({"unmapped": unmapped} if unmapped else {})


def _actor(fields: Mapping[str, Any]) -> dict[str, Any]:
    subject = _text(fields, "subject")
    if not subject:
        return {"user": user("")}
    return actor(subject, _text(fields, "session"))


def _request(fields: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"uid": _text(fields, "id")}
    method, path, host = _text(fields, "method"), _text(fields, "path"), _text(fields, "host")
    if method in HTTP_METHODS:
        found["http_method"] = method
    if path:
        found["url"] = {"path": path} | ({"hostname": host} if host else {})
    return found


def _answer(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Envoy saw in the end."""
    found = {**traffic(fields), **duration(fields)}
    status = fields.get("status")
    if isinstance(status, int):
        found |= {"http_response": {"code": status}, "http_status": status}
    return found


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""

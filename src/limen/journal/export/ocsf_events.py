"""Events as OCSF: who did what to whom, by the class that the table `kinds` names."""

from collections.abc import Callable, Mapping
from typing import Any

from limen.journal.export.kinds import Shape, Target, shape_of
from limen.journal.export.ocsf_classes import FACTORS, OTHER, OcsfClass
from limen.journal.export.ocsf_values import actor, base, duration, source, traffic, user
from limen.journal.export.rows import Row

MULTI_FACTOR_AAL = 2  # NIST SP 800-63B


def render_event(row: Row) -> dict[str, Any]:
    """Return an event's row as an OCSF event."""
    fields = row.fields
    kind = str(fields.get("kind", ""))
    data = fields.get("data")
    inner: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    shape = _settled(shape_of(kind), inner)
    event = base(row, shape.ocsf, shape.activity, severity=shape.severity, failed=shape.failed)
    if shape.activity == OTHER:
        event["activity_name"] = kind or "Other"
        event["type_name"] = f"{shape.ocsf.caption}: {kind or 'Other'}"
    event |= _BUILDERS[shape.ocsf](fields, inner, shape)
    if "src_endpoint" not in event and shape.ocsf is not OcsfClass.DETECTION_FINDING:
        event |= source(str(fields.get("ip", "")))
    if fields.get("reason"):
        event["message"] = str(fields["reason"])
    unmapped = {"kind": kind, **({"data": dict(inner)} if inner else {})}
    if fields.get("target"):
        unmapped["target"] = str(fields["target"])
    return event | {"unmapped": unmapped}


def _settled(shape: Shape, data: Mapping[str, Any]) -> Shape:
    """Return the shape by what the data says: a grant to a group is the group's."""
    if shape.ocsf is not OcsfClass.USER_ACCESS:
        return shape
    match _grantee(data)[0]:
        case "user" | "workload":
            return shape
        case "group":
            return shape._replace(ocsf=OcsfClass.GROUP_MANAGEMENT)
    return shape._replace(ocsf=OcsfClass.ENTITY_MANAGEMENT, activity=OTHER, entity="grant")


def _authentication(fields: Mapping[str, Any], data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    if shape.target is Target.PERSON:
        person, session = str(fields.get("target", "")), str(data.get("session", ""))
    else:
        person = str(data.get("person") or fields.get("actor", ""))
        session = str(fields.get("target", ""))
    found: dict[str, Any] = {"user": user(person), "service": {"name": "Limen"}, "is_remote": True}
    found |= _acting(fields)
    if session:
        found["session"] = {"uid": session}
    methods = [str(method) for method in _list(data.get("methods"))]
    if methods:
        found["auth_factors"] = [_factor(method) for method in methods]
    if isinstance(data.get("aal"), int):
        found["is_mfa"] = data["aal"] >= MULTI_FACTOR_AAL
    if data.get("why"):
        found["status_detail"] = str(data["why"])
    if isinstance(data.get("attempts"), int):
        found["count"] = data["attempts"]
    return found


def _account(fields: Mapping[str, Any], data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    found: dict[str, Any] = {"user": user(str(fields.get("target", "")))} | _acting(fields)
    kind = data.get("kind")
    methods = [kind] if isinstance(kind, str) else _list(data.get("methods"))
    if methods:
        found["auth_factors"] = [_factor(str(method)) for method in methods]
    return found


def _group(fields: Mapping[str, Any], data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    word, name = _grantee(data)
    group = name if word == "group" else str(fields.get("target", ""))
    found: dict[str, Any] = {"group": {"name": group or "unknown"}} | _acting(fields) | _privileges(data)
    if data.get("person"):
        found["user"] = user(str(data["person"]))
    if data.get("resource") or data.get("on"):
        found["resource"] = {"name": str(data.get("resource") or data["on"])}
    return found


def _access(fields: Mapping[str, Any], data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    word, name = _grantee(data)
    found: dict[str, Any] = {"user": user(f'Workload::"{name}"' if word == "workload" else name)}
    found |= {"privileges": ["access"]} | _privileges(data) | _acting(fields)
    if data.get("resource") or data.get("on"):
        found["resources"] = [{"name": str(data.get("resource") or data["on"])}]
    return found


def _entity(fields: Mapping[str, Any], data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    target, kind = str(fields.get("target", "")), str(fields.get("kind", ""))
    what = shape.entity or kind.partition(".")[0] or "unknown"
    entity: dict[str, Any] = {"name": target or what, "type": what, "type_id": 99}
    if what == "policy" and target:
        entity |= {"type": "Policy", "type_id": 5, "policy": {"uid": target}}
    return {"entity": entity} | _acting(fields)


def _stream(fields: Mapping[str, Any], data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    resource = str(data.get("resource", "")) or "unknown"
    cause = str(data.get("cause", ""))
    cut = cause in ("denied", "session_ended", "stale", "operator")
    found: dict[str, Any] = {
        "dst_endpoint": {"svc_name": resource, "name": resource},
        "actor": actor(str(fields.get("actor", "")), str(data.get("session", ""))),
        "connection_info": {"uid": str(fields.get("target", "")), "direction_id": 1},
        "action_id": 2 if cut else 1,
        "disposition_id": 24 if cut else 1,
        **traffic(data),
        **duration(data),
    }
    if data.get("protocol"):
        found["app_protocol_name"] = str(data["protocol"])
    if cause:
        found["status_detail"] = cause
    return found


def _finding(fields: Mapping[str, Any], data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    kind = str(fields.get("kind", ""))
    found: dict[str, Any] = {
        "finding_info": {
            "uid": str(fields.get("id", "")) or "unknown",
            "title": f"Limen's journal: {kind or 'alarm'}",
            "types": ["Log integrity"],
            "data_sources": ["limen.journal"],
        },
        "is_alert": True,
    }
    if fields.get("target"):
        found["resources"] = [{"name": str(fields["target"]), "type": "journal segment"}]
    return found


_BUILDERS: Mapping[OcsfClass, Callable[[Mapping[str, Any], Mapping[str, Any], Shape], dict[str, Any]]] = {
    OcsfClass.AUTHENTICATION: _authentication,
    OcsfClass.ACCOUNT_CHANGE: _account,
    OcsfClass.GROUP_MANAGEMENT: _group,
    OcsfClass.USER_ACCESS: _access,
    OcsfClass.ENTITY_MANAGEMENT: _entity,
    OcsfClass.NETWORK_ACTIVITY: _stream,
    OcsfClass.DETECTION_FINDING: _finding,
}


def _acting(fields: Mapping[str, Any]) -> dict[str, Any]:
    name = str(fields.get("actor", ""))
    return {"actor": actor(name)} if name else {}


def _factor(method: str) -> dict[str, Any]:
    number, name = FACTORS.get(method, (99, method))
    found: dict[str, Any] = {"factor_type_id": number, "factor_type": name}
    if method == "totp":
        found["is_totp"] = True
    kind, colon, provider = method.partition(":")
    if colon and kind in ("oidc", "saml"):
        found["provider"] = provider
    return found


def _grantee(data: Mapping[str, Any]) -> tuple[str, str]:
    """Return the word and the name of whom a grant is for; empty when it does not say."""
    text = str(data.get("principal") or data.get("to") or "")
    if '::"' in text:
        kind, _, rest = text.partition('::"')
        return kind.lower(), rest.removesuffix('"')
    word, colon, name = text.partition(":")
    return (word, name) if colon else ("", "")


def _privileges(data: Mapping[str, Any]) -> dict[str, Any]:
    actions = [str(action) for action in _list(data.get("actions"))]
    return {"privileges": actions} if actions else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

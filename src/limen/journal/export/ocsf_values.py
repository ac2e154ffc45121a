"""The objects that OCSF events are made of: what the schema of 1.8.0 takes, or nothing at all."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from limen import __version__
from limen.journal.export.ocsf_classes import OCSF_VERSION, Activity, OcsfClass
from limen.journal.export.rows import Row

CATEGORIES: Mapping[int, str] = {
    2: "Findings",
    3: "Identity & Access Management",
    4: "Network Activity",
    6: "Application Activity",
}
SEVERITIES = ("Unknown", "Informational", "Low", "Medium", "High", "Critical")
SUCCESS, FAILURE = 1, 2

_REF = re.compile(r'([A-Za-z]+)::"(.*)"', re.DOTALL)
_USER, _SYSTEM, _SERVICE = (1, "User"), (3, "System"), (4, "Service")
_OF_LIMEN = frozenset({"limen", "limen up", "journal", "control"})


def milliseconds(at: float) -> int:
    """Return OCSF's `timestamp_t`."""
    return round(at * 1000)


def base(
    row: Row,
    ocsf: OcsfClass,
    activity: Activity,
    *,
    severity: int,
    failed: bool,
    correlation: str = "",
) -> dict[str, Any]:
    """Return what every event has. `metadata.uid` is what duplicates are told by."""
    category = ocsf.uid // 1000
    metadata: dict[str, Any] = {
        "version": OCSF_VERSION,
        "product": {"name": "Limen", "vendor_name": "Limen", "version": __version__},
        "uid": row.uid,
        "sequence": row.position,
        "log_name": row.node,
        "log_provider": "limen.journal",
        "event_code": str(row.fields.get("kind") or row.fields.get("type", "")),
    }
    if row.fields.get("id"):
        metadata["original_event_uid"] = row.fields["id"]
    if ocsf.profiles:
        metadata["profiles"] = list(ocsf.profiles)
    if correlation:
        metadata["correlation_uid"] = correlation
    return {
        "time": milliseconds(row.at),
        "category_uid": category,
        "category_name": CATEGORIES[category],
        "class_uid": ocsf.uid,
        "class_name": ocsf.caption,
        "activity_id": activity.id,
        "activity_name": activity.name,
        "type_uid": ocsf.uid * 100 + activity.id,
        "type_name": f"{ocsf.caption}: {activity.name}",
        "severity_id": severity,
        "severity": SEVERITIES[severity],
        "status_id": FAILURE if failed else SUCCESS,
        "status": "Failure" if failed else "Success",
        "metadata": metadata,
    }


def user(name: str) -> dict[str, Any]:
    """Return a person, a workload, or a part of Limen; of nobody known, a user named `unknown`."""
    found = _REF.fullmatch(name)
    plain = found[2] if found else name
    if not plain:
        return {"name": "unknown", "type_id": 0, "type": "Unknown"}
    kind = _USER
    if found is not None and found[1] == "Workload":
        kind = _SERVICE
    elif found is None and plain in _OF_LIMEN:
        kind = _SYSTEM
    elif plain.startswith("host-operator"):
        kind = _SERVICE
    return {"name": plain, "uid": name, "type_id": kind[0], "type": kind[1]}


def actor(name: str, session: str = "") -> dict[str, Any]:
    """Return who acted."""
    found: dict[str, Any] = {"user": user(name)}
    if session:
        found["session"] = {"uid": session}
    return found


def source(ip: str, otherwise: str = "") -> dict[str, Any]:
    """Return `src_endpoint` as a member, or nothing for what is no address and has no other name."""
    if is_address(ip):
        return {"src_endpoint": {"ip": ip}}
    return {"src_endpoint": {"name": otherwise}} if otherwise else {}


def is_address(text: str) -> bool:
    """Whether text is an address that OCSF's `ip_t` takes: at most 40 characters, no zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text and len(text) <= 40


def resource(reference: str) -> tuple[str, str]:
    """Return type and id of a resource's reference."""
    found = _REF.fullmatch(reference)
    return (found[1], found[2]) if found else ("", reference)


def traffic(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the member `traffic`, where bytes are known."""
    bytes_in, bytes_out = _whole(fields.get("bytes_in")), _whole(fields.get("bytes_out"))
    if bytes_in is None and bytes_out is None:
        return {}
    counted = {"bytes_in": bytes_in or 0, "bytes_out": bytes_out or 0}
    return {"traffic": {**counted, "bytes": counted["bytes_in"] + counted["bytes_out"]}}


def duration(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the member `duration`, in milliseconds, where it is known."""
    found = _whole(fields.get("duration_ms"))
    return {} if found is None else {"duration": found}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

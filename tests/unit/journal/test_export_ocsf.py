"""Each kind of record becomes an event that the OCSF 1.8.0 schema takes, checked offline."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from limen.core.record import DecisionRecord, EventRecord, OutcomeRecord, Record
from limen.journal.export.event_data import DATA_FIELDS
from limen.journal.export.kinds import FAMILIES, KINDS, UNKNOWN, shape_of
from limen.journal.export.ocsf import render_ocsf
from limen.journal.export.ocsf_classes import OCSF_VERSION, OcsfClass
from limen.journal.export.pseudonyms import Pseudonyms, check_key
from limen.journal.export.rows import Joiner, Row, Wanted
from limen.journal.follow import Stored

SOURCE = Path(__file__).resolve().parents[3] / "src" / "limen"
SCHEMA_NAMES = {
    OcsfClass.ACCOUNT_CHANGE: "account_change",
    OcsfClass.AUTHENTICATION: "authentication",
    OcsfClass.ENTITY_MANAGEMENT: "entity_management",
    OcsfClass.USER_ACCESS: "user_access",
    OcsfClass.GROUP_MANAGEMENT: "group_management",
    OcsfClass.DETECTION_FINDING: "detection_finding",
    OcsfClass.NETWORK_ACTIVITY: "network_activity",
    OcsfClass.HTTP_ACTIVITY: "http_activity",
    OcsfClass.API_ACTIVITY: "api_activity",
}
PSEUDONYMS = Pseudonyms(check_key(b"k" * 32, "the test's key"))


@cache
def schemas() -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(OCSF_VERSION))


@cache
def validator(ocsf: OcsfClass) -> Draft202012Validator:
    schema = schemas().get_class_schema(SCHEMA_NAMES[ocsf], list(ocsf.profiles))
    schema.pop("$schema", None)
    return Draft202012Validator(schema)


def check(event: dict[str, Any]) -> None:
    """Fail unless the schema of its class takes an event."""
    ocsf = next(one for one in OcsfClass if one.uid == event["class_uid"])
    errors = [f"{list(error.path)}: {error.message[:200]}" for error in validator(ocsf).iter_errors(event)]
    assert not errors, (errors, event)


def rows(*records: Record) -> list[Row]:
    batch = [Stored("gateway-a", "00000001-0a0b0c0d", place, one) for place, one in enumerate(records)]
    return Joiner(Wanted()).rows(batch)


def decision(**fields: Any) -> DecisionRecord:
    usual: dict[str, Any] = {
        "id": "0" * 32, "at": 1_800_000_000.25, "node": "gateway-a", "point": "gateway", "verdict": "allow",
        "code": "PERMITTED", "bundle": "b" * 64, "inputs": "i" * 32, "action": "read",
        "resource": 'Route::"payroll/exports"', "subject": 'User::"ada"', "session": "ses_1", "method": "GET",
        "host": "payroll.corp.example", "path": "/exports/1", "ip": "203.0.113.9", "policies": ("staff",),
    }  # fmt: skip
    return DecisionRecord(**(usual | fields))


def event(kind: str, **fields: Any) -> EventRecord:
    usual: dict[str, Any] = {
        "id": "evt_1", "at": 1_800_000_000.0, "node": "control", "actor": "root", "target": "ada",
        "reason": "asked for", "ip": "2001:db8::1",
        "data": {
            "aal": 2, "methods": ["passkey", "totp", "oidc:corp", "recovery"], "session": "ses_1",
            "why": "password", "person": "ada", "cause": "denied", "bytes_in": 3, "bytes_out": 4,
            "duration_ms": 5, "protocol": "ssh",
            "resource": 'Service::"db"', "attempts": 4, "kind": "passkey",
        },
    }  # fmt: skip
    return EventRecord(kind=kind, **(usual | fields))


def render(*records: Record) -> list[dict[str, Any]]:
    return [render_ocsf(row) for row in rows(*records)]


def noted_kinds() -> set[str]:
    """Return every kind of event that the code writes down as one."""
    found: set[str] = set()
    for file in SOURCE.rglob("*.py"):
        text = file.read_text("utf-8")
        if "EventRecord" in text or ".note(" in text:
            found |= set(
                re.findall(r"""(?:note\(\s*|_tell\(\s*|kind=|KIND = )f?"([a-z_]+\.[a-z_{}]+)""", text)
            )
    return {kind for kind in found if "{" not in kind}


def test_a_decision_joins_its_outcome() -> None:
    (found,) = render(decision(), OutcomeRecord("0" * 32, 1_800_000_001.0, 200, 12, 100, 2_000))
    check(found)
    assert (found["class_uid"], found["activity_id"]) == (4002, 3)
    assert (found["action_id"], found["disposition_id"], found["status_id"]) == (1, 1, 1)
    assert found["traffic"] == {"bytes_in": 100, "bytes_out": 2_000, "bytes": 2_100}
    assert (found["http_response"]["code"], found["duration"]) == (200, 12)
    assert found["authorizations"] == [{"decision": "Allowed", "policy": {"uid": "staff"}}]
    assert found["metadata"]["uid"] == "gateway-a/00000001-0a0b0c0d/0"


def test_an_outcome_that_comes_late_is_told_by_itself() -> None:
    (found,) = render(OutcomeRecord("0" * 32, 1_800_000_001.0, 503, 12, flags="UF"))
    check(found)
    assert found["metadata"]["correlation_uid"] == "0" * 32
    assert found["status_id"] == 2


@pytest.mark.parametrize(
    ("fields", "class_uid", "activity", "action"),
    [
        ({"verdict": "deny", "code": "FORBIDDEN"}, 4002, 3, 2),
        ({"verdict": "deny", "code": "QUARANTINED", "subject": None, "session": None}, 4002, 3, 2),
        ({"would_be": "deny", "mode": "observe"}, 4002, 3, 3),
        ({"method": "PROPFIND", "path": ""}, 4002, 99, 1),
        ({"resource": 'Service::"db"', "method": "CONNECT", "path": ""}, 4001, 1, 1),
        ({"resource": 'Service::"db"', "verdict": "deny", "code": "NO_PERMIT"}, 4001, 5, 2),
        ({"point": "reassess", "verdict": "deny", "code": "FORBIDDEN"}, 4002, 3, 2),
        ({"point": "admin-api", "resource": 'Route::"limen/people"', "method": "POST", "ip": ""}, 6003, 1, 1),
        ({"point": "admin-api", "resource": 'Route::"limen/people"', "ip": "no address"}, 6003, 2, 1),
    ],
)
def test_decisions_have_the_class_of_what_was_asked(
    fields: dict[str, Any], class_uid: int, activity: int, action: int
) -> None:
    (found,) = render(decision(**fields))
    check(found)
    assert (found["class_uid"], found["activity_id"], found["action_id"]) == (class_uid, activity, action)


@pytest.mark.parametrize(
    "kind", sorted({*KINDS, *(f"{family}.new" for family in FAMILIES), "new.kind", "", "x"})
)
def test_every_kind_of_event_is_valid(kind: str) -> None:
    for record in (event(kind), event(kind, actor="", target="", reason="", ip="", data={})):
        (row,) = rows(record)
        found = render_ocsf(row)
        check(found)
        check(render_ocsf(Row(row.node, row.boot, row.position, PSEUDONYMS.apply(row.fields))))
        assert found["class_uid"] == shape_of(kind).ocsf.uid or "grant" in kind


def test_every_kind_that_the_code_writes_has_a_shape_of_its_own() -> None:
    kinds = noted_kinds()
    assert {"sign_in.failed", "journal.loss", "stream.ended", "gateway.joined"} <= kinds
    assert [kind for kind in sorted(kinds) if shape_of(kind) is UNKNOWN] == []


@pytest.mark.parametrize(
    ("data", "class_uid"),
    [
        ({"after": {"to": "user:ada", "on": "wiki", "actions": ["read"], "reason": "free text"}}, 3005),
        ({"before": {"to": "group:staff", "on": "wiki", "actions": ["read"]}, "after": None}, 3006),
        ({"principal": 'User::"ada"', "resource": 'App::"wiki"'}, 3005),
        ({"principal": 'Workload::"ci"', "resource": 'App::"wiki"'}, 3005),
        ({"seq": 7}, 3004),
    ],
)
def test_a_grant_belongs_to_whom_it_is_for(data: dict[str, Any], class_uid: int) -> None:
    (found,) = render(event("grant.added", target="gra_1", data=data))
    check(found)
    assert found["class_uid"] == class_uid
    assert "free text" not in str(found)


def test_a_stream_that_ended_tells_bytes_and_cause() -> None:
    (found,) = render(event("stream.ended", actor="ada", target="str_1"))
    check(found)
    assert (found["class_uid"], found["activity_id"]) == (4001, 2)
    assert (found["traffic"]["bytes"], found["status_detail"], found["action_id"]) == (7, "denied", 2)


def test_damage_is_a_critical_finding() -> None:
    (found,) = render(
        event("journal.loss", actor="journal", target="00000001-aa-00000001.seg", data={"bytes": 9})
    )
    check(found)
    assert (found["class_uid"], found["severity_id"], found["is_alert"]) == (2004, 5, True)


_text = st.text(max_size=12)
_ref = st.builds(
    lambda kind, name: f'{kind}::"{name}"', st.sampled_from(("User", "App", "Service", "Route")), _text
)
_at = st.floats(0, 4e9)
_whole = st.integers(0, 2**60)
_decisions = st.builds(
    DecisionRecord, id=_text, at=_at, node=_text, point=st.sampled_from(("admin-api", "reassess")) | _text,
    verdict=st.sampled_from(("allow", "deny")) | _text, code=_text, bundle=_text, inputs=_text, action=_text,
    resource=_ref | _text, subject=st.none() | _ref | _text, session=st.none() | _text,
    method=st.sampled_from(("GET", "CONNECT")) | _text, host=_text, path=_text,
    ip=st.ip_addresses().map(str) | _text, policies=st.lists(_text, max_size=3).map(tuple),
    would_be=st.none() | st.sampled_from(("allow", "deny")) | _text, took_us=_whole, age_s=_at,
)  # fmt: skip
_outcomes = st.builds(
    OutcomeRecord, id=_text, at=_at, status=_whole, duration_ms=_whole, bytes_in=_whole, bytes_out=_whole,
    flags=_text, details=_text,
)  # fmt: skip
_scalar = (
    st.none() | st.booleans() | st.integers() | st.floats() | _text | st.lists(_text | _whole, max_size=3)
)
_data = st.dictionaries(st.sampled_from(sorted(DATA_FIELDS)) | _text, _scalar, max_size=8)
_events = st.builds(
    EventRecord, id=_text, at=_at, node=_text, kind=st.sampled_from(sorted(KINDS)) | _text,
    actor=_text | _ref, target=_text | _ref, reason=_text, ip=st.ip_addresses().map(str) | _text,
    data=_data | st.builds(lambda grant: {"after": grant}, _data),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_decisions | _outcomes | _events, max_size=3))
def test_x6_valid(records: list[Record]) -> None:
    for row in rows(*records):
        check(render_ocsf(row))
        check(render_ocsf(Row(row.node, row.boot, row.position, PSEUDONYMS.apply(row.fields))))

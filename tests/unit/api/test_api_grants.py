"""Grants and the help desk's verbs over the admin API: in force at once, recorded, and taken back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from limen.core.record import EventRecord
from limen.engine.starter import starter_files
from limen.journal.reader import JournalReader
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

RESOURCES = """
apps:
  payroll:
    upstream: http://127.0.0.1:9001
    routes: [{name: exports, path: /exports/**}]
services:
  ledger-db: {address: "127.0.0.1:5432", protocol: postgres, allow: [group:dba]}
"""
WHY = "incident 7"


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    folder = tmp_path / "bundle"
    files = starter_files("corp.example")
    for name, text in {**files, "limen.yaml": files["limen.yaml"] + RESOURCES}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    made = Control(
        StateDir.create(tmp_path / "state"),
        ControlOptions(state=tmp_path / "state", bundle=folder, public_port=8443, metrics=None),
    )
    yield made
    made.close()


@pytest.fixture
def api(control: Control) -> TestClient:
    client = TestClient(control.admin, client=("uid:0", 1))
    for name, groups in (("ada", ["dba"]), ("bob", [])):
        assert client.post("/v1/people", json={"id": name, "groups": groups}).status_code == 201
    return client


def give(api: TestClient, to: str, on: str, **more: Any) -> dict[str, Any]:
    answer = api.post("/v1/grants", json={"to": to, "on": on, "for_s": 3600, "reason": WHY, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def verdict(api: TestClient, subject: str, action: str, resource: str) -> tuple[str, str]:
    question = {"subject": subject, "action": action, "resource": resource}
    answer = api.post("/v1/policy/explain", json=question).json()
    return answer["verdict"], answer["code"]


def events(control: Control, prefix: str) -> list[EventRecord]:
    found = JournalReader(control._state.journal).events()
    return [event for event in found if event.kind.startswith(prefix)]


def test_allow_on_a_service_lets_its_group_connect_and_nobody_else(api: TestClient) -> None:
    assert verdict(api, "ada", "connect", "ledger-db") == ("allow", "PERMITTED")
    assert verdict(api, "bob", "connect", "ledger-db") == ("deny", "NO_PERMIT")
    answer = api.post("/v1/policy/who-can", json={"action": "connect", "resource": "ledger-db"}).json()
    assert [group["members"] for group in answer["classes"]] == [["ada"]]
    assert answer["classes"][0]["conditions"] == ["second-factor"]


def test_a_grant_opens_one_resource_at_once_and_its_end_closes_it(api: TestClient) -> None:
    given = give(api, "user:bob", "ledger-db")
    assert (given["to"], given["on"], given["actions"], given["live"]) == (
        "user:bob",
        "ledger-db",
        ["connect"],
        True,
    )
    assert given["expires_at"] - given["created_at"] == 3600
    assert verdict(api, "bob", "connect", "ledger-db") == ("allow", "PERMITTED")
    assert verdict(api, "bob", "read", "payroll") == ("deny", "NO_PERMIT")
    gone = api.delete(f"/v1/grants/{given['id']}", params={"reason": "over"})
    assert gone.status_code == 204
    assert verdict(api, "bob", "connect", "ledger-db") == ("deny", "NO_PERMIT")
    assert api.delete(f"/v1/grants/{given['id']}", params={"reason": "over"}).status_code == 404


def test_a_grant_permits_the_actions_that_it_lists_and_no_others(api: TestClient) -> None:
    assert give(api, "group:dba", "payroll/exports", actions=["read"])["actions"] == ["read"]
    assert verdict(api, "ada", "read", "payroll/exports")[0] == "allow"
    assert verdict(api, "ada", "write", "payroll/exports")[0] == "deny"
    assert verdict(api, "ada", "read", "payroll")[0] == "deny", "a part is not the whole"
    assert give(api, "user:ada", "payroll")["actions"] == ["read", "write"]
    assert verdict(api, "ada", "write", "payroll/exports")[0] == "allow"


def test_guardrails_bound_a_grant(api: TestClient) -> None:
    give(api, "user:bob", "ledger-db")
    question = {"subject": "bob", "action": "connect", "resource": "ledger-db", "aal": 1}
    answer = api.post("/v1/policy/explain", json=question).json()
    assert (answer["verdict"], answer["policies"]) == ("deny", ["mfa-everywhere"])


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"to": "user:nobody"}, 404, "nobody"),
        ({"to": "group:nobody"}, 404, "nobody"),
        ({"to": "ada"}, 422, "names nobody"),
        ({"to": "workload:host-operator"}, 422, "names nobody"),
        ({"on": "ledger"}, 404, "ledger"),
        ({"on": "payroll/none"}, 404, "payroll/none"),
        ({"actions": ["read"]}, 422, "no action 'read'"),
        ({"actions": []}, 422, "needs an action"),
        ({"for_s": 0}, 422, "for_s"),
        ({"for_s": 7_776_001}, 422, "for_s"),
        ({"for_s": None}, 422, "one of the two"),
        ({"expires_at": 2e9}, 422, "one of the two"),
        ({"for_s": None, "expires_at": 1.0}, 422, "is past"),
        ({"for_s": None, "expires_at": 9e9}, 422, "too far"),
        ({"reason": "  "}, 422, "reason"),
        ({"resson": "x"}, 422, "resson"),
    ],
)
def test_a_grant_that_cannot_be_is_refused_by_name(
    api: TestClient, change: dict[str, Any], status: int, says: str
) -> None:
    body = {"to": "user:bob", "on": "ledger-db", "for_s": 60, "reason": WHY, **change}
    answer = api.post("/v1/grants", json=body)
    assert (answer.status_code, answer.json()["remedy"] != "") == (status, True), answer.text
    assert says in answer.json()["detail"]
    assert api.get("/v1/grants").json() == []


def test_somebody_who_has_ended_gets_no_grant(api: TestClient) -> None:
    api.patch("/v1/people/bob", json={"status": "ended"})
    body = {"to": "user:bob", "on": "ledger-db", "for_s": 60, "reason": WHY}
    assert api.post("/v1/grants", json=body).status_code == 403


def test_a_grant_and_its_end_need_a_reason(api: TestClient) -> None:
    assert api.post("/v1/grants", json={"to": "user:bob", "on": "payroll", "for_s": 1}).status_code == 422
    given = give(api, "user:bob", "payroll")
    assert api.delete(f"/v1/grants/{given['id']}").status_code == 422
    assert verdict(api, "bob", "read", "payroll")[0] == "allow"


def test_grants_are_found_by_person_through_groups_and_by_resource(api: TestClient) -> None:
    own, group = give(api, "user:ada", "payroll/exports"), give(api, "group:dba", "payroll", for_s=1800)
    other = give(api, "user:bob", "ledger-db", for_s=900)

    def ids(**query: Any) -> list[str]:
        return [row["id"] for row in api.get("/v1/grants", params=query).json()]

    assert ids() == [other["id"], group["id"], own["id"]]
    assert ids(user="ada") == [group["id"], own["id"]]
    assert ids(resource="payroll") == [group["id"], own["id"]]
    assert ids(resource="payroll/exports", user="ada") == [group["id"], own["id"]]
    assert ids(resource="ledger-db") == [other["id"]]
    api.delete(f"/v1/grants/{other['id']}", params={"reason": WHY})
    assert ids(resource="ledger-db") == []
    [ended] = api.get("/v1/grants", params={"resource": "ledger-db", "all": True}).json()
    assert (ended["id"], ended["live"]) == (other["id"], False)
    assert api.get("/v1/grants", params={"user": "nobody"}).status_code == 404
    assert api.get("/v1/grants", params={"resource": "nothing"}).status_code == 404
    shown = api.get("/v1/people/ada").json()["grants"]
    assert [row["id"] for row in shown] == [group["id"], own["id"]]


def test_grants_are_events_with_what_was_before_and_after(api: TestClient, control: Control) -> None:
    given = give(api, "user:bob", "ledger-db")
    api.delete(f"/v1/grants/{given['id']}", params={"reason": "over"})
    added, revoked = (
        event for event in events(control, "grant.") if event.kind in ("grant.added", "grant.revoked")
    )
    assert (added.target, added.reason, added.data["before"]) == (given["id"], WHY, None)
    assert added.data["after"]["on"] == "ledger-db"
    assert (revoked.reason, revoked.data["after"]) == ("over", None)
    assert revoked.data["before"]["to"] == "user:bob"
    assert revoked.actor.startswith("host-operator:uid=")


def test_a_quarantined_person_is_denied_everything_and_released_again(
    api: TestClient, control: Control
) -> None:
    assert verdict(api, "ada", "connect", "ledger-db") == ("allow", "PERMITTED")
    assert api.patch("/v1/people/ada", json={"quarantined": True}).status_code == 422, "no reason"
    held = api.patch("/v1/people/ada", json={"quarantined": True, "reason": WHY}).json()
    assert (held["quarantined"], held["status"]) == (True, "active")
    assert verdict(api, "ada", "connect", "ledger-db") == ("deny", "QUARANTINED")
    api.patch("/v1/people/ada", json={"status": "suspended", "reason": WHY})
    assert verdict(api, "ada", "connect", "ledger-db") == ("deny", "SUBJECT_SUSPENDED")
    free = {"quarantined": False, "status": "active", "reason": "cleared"}
    assert api.patch("/v1/people/ada", json=free).status_code == 200
    assert verdict(api, "ada", "connect", "ledger-db") == ("allow", "PERMITTED")
    noted = [event for event in events(control, "person.") if event.kind != "person.changed"]
    assert [event.kind for event in noted] == ["person.quarantined", "person.suspended", "person.released"]
    assert noted[-1].data["before"] == {"status": "suspended", "quarantined": True}
    assert noted[-1].data["after"] == {"status": "active", "quarantined": False}
    assert noted[-1].reason == "cleared"


def test_a_field_that_is_null_is_refused_by_name(api: TestClient) -> None:
    for field in ("name", "status", "quarantined"):
        answer = api.patch("/v1/people/ada", json={field: None, "reason": WHY})
        assert (answer.status_code, answer.json()["detail"]) == (422, f"{field}: it cannot be null.")

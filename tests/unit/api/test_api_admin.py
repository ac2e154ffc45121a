"""The admin API on a real store, journal and engine: every call is decided, recorded, and says what to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from limen.api.admin import describe
from limen.core.record import EventRecord
from limen.engine.starter import starter_files
from limen.journal.reader import JournalReader
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

UNDECIDED = {"/healthz", "/readyz", "/metrics"}
WIKI = "\napps:\n  wiki:\n    upstream: http://127.0.0.1:9001\n    owner: ada\n    allow: [group:staff]\n"

OPS = """
@id("ops") @reason("Staff run the wiki.")
permit(principal in Group::"staff", action == Action::"admin", resource == App::"wiki");
"""


def bundle_files() -> dict[str, str]:
    files = starter_files("corp.example")
    return {**files, "limen.yaml": files["limen.yaml"] + WIKI}


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    folder = tmp_path / "bundle"
    for name, text in bundle_files().items():
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
    return TestClient(control.admin, client=("uid:0", 1))


def add(api: TestClient, name: str, *groups: str) -> dict[str, Any]:
    answer = api.post("/v1/people", json={"id": name, "groups": list(groups)})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_every_operation_but_health_names_its_decision() -> None:
    for path, operations in describe()["paths"].items():
        for method, operation in operations.items():
            assert ("x-limen-decision" in operation) is (path not in UNDECIDED), f"{method} {path}"


def test_another_user_of_the_host_is_refused(control: Control) -> None:
    stranger = TestClient(control.admin, client=("uid:4242", 1))
    answer = stranger.get("/v1/people")
    assert answer.status_code == 403
    assert "4242" in answer.json()["detail"]


def test_a_caller_that_is_not_on_the_socket_is_refused(control: Control) -> None:
    answer = TestClient(control.admin, client=("10.0.0.1", 1)).get("/v1/people")
    assert answer.status_code == 403


def test_groups_that_the_first_bundle_names_are_made(api: TestClient) -> None:
    roles = {"limen-admins", "limen-operators", "limen-helpdesk", "limen-auditors", "limen-break-glass"}
    assert {row["id"] for row in api.get("/v1/groups").json()} == {"staff", *roles}


def test_a_person_is_added_changed_listed_and_linked(api: TestClient) -> None:
    person = add(api, "ada", "staff")
    assert person["enrolment_link"].startswith("https://auth.corp.example:8443/enrol/")
    changed = api.patch("/v1/people/ada", json={"name": "Ada", "expires_at": 2_000_000_000.0})
    assert changed.json()["name"] == "Ada"
    assert [row["id"] for row in api.get("/v1/people", params={"group": "staff"}).json()] == ["ada"]
    assert api.get("/v1/people/ada").json()["expires_at"] == 2_000_000_000.0


def test_members_of_a_nested_group_are_members(api: TestClient) -> None:
    add(api, "ada")
    api.post("/v1/groups", json={"id": "engineers"})
    assert api.put("/v1/groups/engineers/parents/staff", json={}).status_code == 204
    assert api.put("/v1/groups/engineers/members/ada", json={}).status_code == 204
    assert [row["id"] for row in api.get("/v1/people", params={"group": "staff"}).json()] == ["ada"]


def test_an_unknown_person_is_a_problem_with_a_code_and_a_remedy(api: TestClient) -> None:
    answer = api.get("/v1/people/nobody")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (404, "NOT_FOUND")
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["remedy"]


def test_a_malformed_body_names_the_field(api: TestClient) -> None:
    answer = api.post("/v1/people", json={"id": "ada", "kind": "visitor"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("kind:")


def test_every_call_leaves_a_decision_that_derives_again(api: TestClient) -> None:
    add(api, "ada")
    rows = api.get("/v1/decisions", params={"resource": "limen/people"}).json()
    made = [row for row in rows if row["path"] == "/v1/people" and row["action"] == "admin"]
    assert [row["verdict"] for row in made] == ["allow"]
    shown = api.get(f"/v1/decisions/{made[0]['id']}").json()
    assert shown["agrees"] is True
    assert shown["record"]["policies"] == ["limen-host-operator"]


def test_an_import_with_a_wrong_line_imports_nothing(api: TestClient) -> None:
    text = "username,groups,kind\nada,staff,employee\nbob,staff,visitor\n"
    report = api.post("/v1/people/import", json={"csv": text}).json()
    assert report["errors"][0]["line"] == 3
    assert api.get("/v1/people").json() == []


def test_explain_says_why_and_what_cures(api: TestClient) -> None:
    add(api, "ada", "staff")
    question = {"subject": "ada", "action": "read", "resource": "wiki", "aal": 1}
    answer = api.post("/v1/policy/explain", json=question).json()
    assert answer["verdict"] == "deny"
    assert answer["reasons"] == ["Sign in with a second factor."]
    assert [remedy["id"] for remedy in answer["remedies"]] == ["second-factor"]
    assert api.post("/v1/policy/explain", json={**question, "aal": 2}).json()["verdict"] == "allow"


def test_who_can_lists_classes_with_their_conditions(api: TestClient) -> None:
    for name in ("ada", "bob"):
        add(api, name, "staff")
    add(api, "eve")
    answer = api.post("/v1/policy/who-can", json={"action": "read", "resource": "wiki"}).json()
    assert (answer["people"], answer["count"]) == (3, 2)
    assert sorted(answer["classes"][0]["members"]) == ["ada", "bob"]


def test_a_bundle_that_is_wrong_is_refused_with_every_finding(api: TestClient) -> None:
    files = bundle_files()
    files["limen.yaml"] += "  other:\n    upstrem: http://127.0.0.1:1\n"
    answer = api.post("/v1/policy/apply", json={"files": files})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "BUNDLE_INVALID")
    assert any("upstrem" in finding["message"] and finding["line"] for finding in problem["findings"])


def test_a_bundle_under_which_nobody_administers_is_refused(api: TestClient) -> None:
    files = bundle_files()
    text = files["policies/entitlements/limen.cedar"]
    files["policies/entitlements/limen.cedar"] = text.split("// Whoever runs Limen's processes")[0]
    files["tests/limen.yaml"] = "[]\n"
    answer = api.post("/v1/policy/apply", json={"files": files})
    assert answer.json()["code"] == "LOCKED_OUT", answer.text
    assert api.get("/v1/people").status_code == 200


def test_a_bundle_is_applied_once_and_rolled_back(api: TestClient) -> None:
    before = api.get("/v1/policy").json()
    files = {**before["files"], "policies/more.cedar": OPS}
    applied = api.post("/v1/policy/apply", json={"files": files, "reason": "ops"}).json()
    assert applied["changed"]
    assert not api.post("/v1/policy/apply", json={"files": files}).json()["changed"]
    back = api.post("/v1/policy/rollback", json={"serial": 1}).json()
    assert back["bundle"] == before["bundle"]
    assert [row["serial"] for row in api.get("/v1/policy/history").json()] == [3, 2, 1]


def test_a_secret_goes_in_and_never_comes_out(api: TestClient, tmp_path: Path) -> None:
    value = "correct-horse-battery"
    assert api.put("/v1/secrets/payroll-basic", json={"value": value}).status_code == 204
    assert api.get("/v1/secrets").json()[0]["name"] == "payroll-basic"
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            assert value.encode() not in path.read_bytes(), path
    assert api.delete("/v1/secrets/payroll-basic").status_code == 204


def test_the_first_administrators_link_is_for_an_empty_system(api: TestClient) -> None:
    assert "/enrol/" in api.post("/v1/system/first-admin-link", json={}).json()["link"]
    add(api, "ada")
    assert api.post("/v1/system/first-admin-link", json={}).status_code == 409


def test_ending_a_session_that_is_not_there_is_said(api: TestClient) -> None:
    assert api.delete("/v1/sessions/ses_none").status_code == 404


def events(control: Control) -> list[tuple[str, str]]:
    return [(event.kind, event.target) for event in JournalReader(control._state.journal).events()]


def test_what_an_administrator_does_is_an_event_with_its_target(api: TestClient, control: Control) -> None:
    add(api, "ada", "staff")
    api.post("/v1/people/ada/enrolment-link", json={"reset": True})
    api.put("/v1/secrets/payroll-basic", json={"value": "x"})
    found = events(control)
    assert ("person.changed", "ada") in found
    assert found.count(("enrolment.link_made", "ada")) == 2
    assert ("secret.set", "payroll-basic") in found


def test_an_attribute_that_the_bundle_does_not_declare_is_refused(api: TestClient) -> None:
    add(api, "ada")
    for attributes in ({"shoe_size": 42}, {"department": 7}):
        answer = api.patch("/v1/people/ada", json={"attributes": attributes})
        assert answer.status_code == 422, answer.text
    assert api.patch("/v1/people/ada", json={"attributes": {"department": "ops"}}).status_code == 200


def test_a_full_disk_does_not_stop_administration(api: TestClient, control: Control) -> None:
    add(api, "ada")
    control._journal._intake.fill()
    assert control._journal.full
    assert api.patch("/v1/people/ada", json={"status": "suspended"}).status_code == 200


def test_a_field_that_nobody_knows_is_refused_and_never_left_out_in_silence(api: TestClient) -> None:
    api.post("/v1/people", json={"id": "ada"})
    for change in ({"quarantine": True}, {"state": "suspended"}, {"kind": "contractor", "expires": 1}):
        answer = api.patch("/v1/people/ada", json=change)
        assert answer.status_code == 422, "whoever sent it believes that it was done"
        assert list(change)[-1] in answer.json()["detail"]


def test_the_decision_about_a_call_does_not_hold_the_name_of_whom_it_is_about(api: TestClient) -> None:
    """It is about who calls, so nobody could erase that name; what was read or changed has it, sealed."""
    add(api, "ada.b", "staff")
    for method, path in (("GET", "/v1/people/ada.b"), ("PUT", "/v1/groups/staff/members/ada%2Eb")):
        api.request(method, path, json={} if method == "PUT" else None)
    paths = [row["path"] for row in api.get("/v1/decisions").json()]
    assert {"/v1/people/{person}", "/v1/groups/staff/members/{person}"} <= set(paths)
    assert not [path for path in paths if "ada" in path]


def test_another_key_of_a_node_is_trusted_by_name_and_with_a_reason(
    api: TestClient, control: Control
) -> None:
    assert api.post("/v1/audit/nodes/edge/trust", json={"reason": "set up anew"}).status_code == 404
    control._journal.append(EventRecord("evt_1", 1.0, "control", "test", "test"))
    control._journal.tend()
    control._care._countersigner.tick()
    assert api.post("/v1/audit/nodes/control/trust", json={"reason": ""}).status_code == 422
    told = api.post("/v1/audit/nodes/control/trust", json={"reason": "set up anew"})
    assert (told.status_code, told.json()["node"]) == (200, "control")
    (event,) = api.get("/v1/events", params={"kind": "journal.key_forgotten"}).json()
    assert (event["target"], event["reason"], event["data"]["before"]) == (
        "control",
        "set up anew",
        told.json()["key"],
    )

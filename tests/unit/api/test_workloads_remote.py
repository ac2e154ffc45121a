"""Workloads, and the admin API from elsewhere: by a workload's token, decided and recorded like any call."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import TestClient as Http

from limen.core.ids import EntityRef
from limen.engine.starter import starter_files
from limen.journal.reader import JournalReader
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

CI = """
@id("ci-plans") @reason("The pipeline plans policies.")
permit(principal in Group::"pipelines", action == Action::"read", resource in App::"limen");
"""
AUTH = "https://auth.corp.example:8443"
PEER = {"x-limen-peer": "203.0.113.9"}


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    root = tmp_path_factory.mktemp("workloads")
    files = starter_files("corp.example")
    for name, text in {**files, "policies/entitlements/ci.cedar": CI}.items():
        (root / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "bundle" / name).write_text(text)
    options = ControlOptions(state=root / "s", bundle=root / "bundle", public_port=8443, metrics=None)
    made = Control(StateDir.create(root / "s"), options)
    client = TestClient(made.admin, client=("uid:0", 1))
    assert client.post("/v1/people", json={"id": "ada"}).status_code == 201
    yield made
    made.close()


@pytest.fixture
def api(control: Control) -> TestClient:
    return TestClient(control.admin, client=("uid:0", 1))


@pytest.fixture
def elsewhere(control: Control) -> Http:
    return Http(control.console, base_url=AUTH, headers=PEER, follow_redirects=False)


def make(api: TestClient, name: str, *groups: str, expires_s: float = 3600.0) -> str:
    body = {"id": name, "owner": "ada", "description": "for a test"}
    assert api.post("/v1/workloads", json=body).status_code == 201
    for group in groups:
        assert api.put(f"/v1/workloads/{name}/groups/{group}", json={}).status_code == 200
    answer = api.post(f"/v1/workloads/{name}/tokens", json={"name": "ci", "expires_s": expires_s})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def events(control: Control, kind: str, target: str) -> list[Any]:
    found = JournalReader(control._state.journal).events()
    return [event for event in found if event.kind == kind and event.target == target]


def test_a_workload_calls_from_elsewhere_decided_and_recorded_as_itself(
    control: Control, api: TestClient, elsewhere: Http
) -> None:
    token = make(api, "planner", "pipelines")
    answer = elsewhere.get("/api/v1/policy", headers=bearer(token))
    assert answer.status_code == 200, answer.text
    rows = api.get("/v1/decisions", params={"resource": "limen/policy"}).json()
    mine = [row for row in rows if row["subject"] == 'Workload::"planner"']
    assert [(row["verdict"], row["ip"], row["path"]) for row in mine] == [
        ("allow", "203.0.113.9", "/api/v1/policy")
    ]
    assert api.get(f"/v1/decisions/{mine[0]['id']}").json()["agrees"] is True
    (stored,) = api.get("/v1/workloads/planner/tokens").json()
    assert stored["used_at"] is not None
    assert "token_hash" not in stored and token not in str(stored)


def test_what_no_policy_permits_is_refused_with_the_remedy(api: TestClient, elsewhere: Http) -> None:
    token = make(api, "reader", "pipelines")
    answer = elsewhere.post("/api/v1/policy/apply", headers=bearer(token), json={"files": {}})
    assert answer.status_code == 403
    assert "limen policy show" in answer.json()["remedy"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "suspended"}, "SUBJECT_SUSPENDED"),
        ({"quarantined": True}, "QUARANTINED"),
    ],
)
def test_a_stopped_workload_is_refused_at_its_next_call_and_released_again(
    api: TestClient, elsewhere: Http, change: dict[str, Any], code: str
) -> None:
    name = f"stop-{code.lower().replace('_', '-')}"
    token = make(api, name, "pipelines")
    assert elsewhere.get("/api/v1/policy", headers=bearer(token)).status_code == 200
    assert api.patch(f"/v1/workloads/{name}", json={**change, "reason": "why"}).status_code == 200
    refused = elsewhere.get("/api/v1/policy", headers=bearer(token))
    assert refused.status_code == 403
    assert code in refused.json()["detail"]
    assert f"limen workload release {name}" in refused.json()["remedy"]
    body = {"status": "active", "quarantined": False, "reason": "looked into"}
    assert api.patch(f"/v1/workloads/{name}", json=body).status_code == 200
    assert elsewhere.get("/api/v1/policy", headers=bearer(token)).status_code == 200


def test_a_removed_workload_has_no_token_and_its_name_is_not_issued_again(
    control: Control, api: TestClient, elsewhere: Http
) -> None:
    token = make(api, "old", "pipelines")
    api.patch("/v1/workloads/old", json={"status": "ended", "reason": "not needed"})
    assert elsewhere.get("/api/v1/policy", headers=bearer(token)).json()["code"] == "TOKEN_REVOKED"
    assert api.post("/v1/workloads", json={"id": "old", "owner": "ada"}).status_code == 409
    assert "old" not in {row["id"] for row in api.get("/v1/workloads").json()}
    assert "old" in {row["id"] for row in api.get("/v1/workloads", params={"ended": True}).json()}
    (event,) = events(control, "workload.removed", "old")
    assert (event.actor, event.reason) == ("host-operator:uid=0", "not needed")
    assert event.data["before"]["status"] == "active"


def test_a_group_that_goes_takes_its_workloads_rights_with_it(
    control: Control, api: TestClient, elsewhere: Http
) -> None:
    api.post("/v1/groups", json={"id": "shortlived"})
    make(api, "member", "shortlived")
    subject = EntityRef("Workload", "member")
    closure = control._authority.workload(subject)
    assert closure is not None and EntityRef("Group", "shortlived") in closure.ancestors
    assert api.delete("/v1/groups/shortlived").status_code == 204
    closure = control._authority.workload(subject)
    assert closure is not None and EntityRef("Group", "shortlived") not in closure.ancestors


@pytest.mark.parametrize("name", ["", "Ada", "host-operator", "a b", "x" * 65, "../x"])
def test_a_name_that_workloads_do_not_have_is_refused(api: TestClient, name: str) -> None:
    assert api.post("/v1/workloads", json={"id": name, "owner": "ada"}).status_code in (409, 422)


def test_an_owner_is_an_active_person(api: TestClient) -> None:
    assert api.post("/v1/workloads", json={"id": "x1", "owner": "nobody"}).status_code == 404


@pytest.mark.parametrize("path", ["healthz", "readyz", "metrics", "openapi.json", "v1", ""])
def test_what_no_decision_guards_is_not_here(api: TestClient, elsewhere: Http, path: str) -> None:
    name = f"curious-{path.replace('.', '-') or 'x'}"
    answer = elsewhere.get(f"/api/{path}", headers=bearer(make(api, name, "pipelines")))
    assert answer.status_code == 404
    assert answer.json()["code"] == "NOT_FOUND"

"""What is recorded of administrators: each change with before, after and why; each read of others' data."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from limen.engine.starter import starter_files
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

OPERATOR = "host-operator:uid=0"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    tmp_path = tmp_path_factory.mktemp("audit")
    folder = tmp_path / "bundle"
    for name, text in starter_files("corp.example").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    options = ControlOptions(state=tmp_path / "state", bundle=folder, public_port=8443, metrics=None)
    control = Control(StateDir.create(tmp_path / "state"), options)
    yield TestClient(control.admin, client=("uid:0", 1))
    control.close()


def events(api: TestClient, **where: Any) -> list[dict[str, Any]]:
    return list(api.get("/v1/events", params={"limit": 10_000, **where}).json())


def add(api: TestClient, name: str) -> None:
    assert api.post("/v1/people", json={"id": name, "groups": []}).status_code == 201


def test_a_changed_person_is_told_by_the_fields_that_differ(api: TestClient) -> None:
    add(api, "ada")
    (made,) = events(api, kind="person.changed", target="ada")
    assert made["data"]["before"] is None
    assert made["data"]["after"]["status"] == "active"
    body = {"name": "Ada L.", "status": "suspended", "reason": "on leave"}
    assert api.patch("/v1/people/ada", json=body).status_code == 200
    changed = events(api, kind="person.changed", target="ada")[-1]
    assert changed["data"]["before"] == {"name": "", "status": "active"} | changed["data"]["before"]
    assert changed["data"]["after"] == {"name": "Ada L.", "status": "suspended"}
    assert (changed["actor"], changed["reason"]) == (OPERATOR, "on leave")
    assert changed["id"].startswith("chg_")


def test_a_membership_is_told_by_what_came_and_went(api: TestClient) -> None:
    add(api, "bob")
    assert api.post("/v1/groups", json={"id": "dba", "reason": "new team"}).status_code == 201
    assert api.put("/v1/groups/dba/members/bob", json={"reason": "joins"}).status_code == 204
    joined = events(api, kind="person.changed", target="bob")[-1]
    assert joined["data"]["groups"] == {"added": ["dba"], "removed": []}
    assert joined["reason"] == "joins"
    assert api.delete("/v1/groups/dba/members/bob", params={"reason": "left"}).status_code == 204
    left = events(api, kind="person.changed", target="bob")[-1]
    assert left["data"]["groups"] == {"added": [], "removed": ["dba"]}
    assert api.delete("/v1/groups/dba", params={"reason": "over"}).status_code == 204
    (gone,) = events(api, kind="group.removed")
    assert gone["data"]["after"] is None
    assert gone["reason"] == "over"


def test_a_bundle_is_told_by_ids_and_the_names_of_files_and_policies(api: TestClient) -> None:
    shown = api.get("/v1/policy").json()
    files = dict(shown["files"])
    rule = (
        '@id("told")\n@reason("For the test.")\n'
        'permit (principal, action == Action::"read", resource == App::"limen")\n'
        'when { principal in Group::"admins" };\n'
    )
    name = next(name for name in files if name.endswith(".cedar"))
    changed = {**files, name: files[name] + "\n" + rule}
    applied = api.post("/v1/policy/apply", json={"files": changed, "reason": "a rule more"})
    assert applied.status_code == 200, applied.text
    event = events(api, kind="bundle.changed")[-1]
    assert event["reason"] == "a rule more"
    assert event["data"]["files"] == {"added": [], "removed": [], "changed": [name]}
    assert event["data"]["policies"] == {"added": ["told"], "removed": []}
    assert event["data"]["before"] != event["data"]["after"] == applied.json()["bundle"]
    assert "principal" not in str(event["data"]), "no contents"


def test_who_looked_at_somebody_is_found_by_that_person(api: TestClient) -> None:
    add(api, "eve")
    assert api.get("/v1/people/eve").status_code == 200
    assert api.get("/v1/sessions", params={"person": "eve"}).status_code == 200
    assert api.get("/v1/decisions", params={"subject": 'User::"eve"'}).status_code == 200
    looked = events(api, kind="data.read", target="eve")
    paths = [row["data"]["path"] for row in looked]
    assert paths[:3] == ["/v1/people/eve", "/v1/sessions", "/v1/decisions"]
    assert {row["actor"] for row in looked} == {OPERATOR}
    assert looked[1]["data"]["filter"] == {"person": "eve"}
    decision = looked[0]["data"]["decision"]
    record = api.get(f"/v1/decisions/{decision}").json()["record"]
    assert (record["path"], record["point"]) == ("/v1/people/{person}", "admin-api")
    assert events(api, kind="data.read", target="eve")[-1]["data"]["path"] == "/v1/events"


def test_a_search_names_its_filter_and_reads_of_nobody_are_no_event(api: TestClient) -> None:
    before = len(events(api, kind="data.read"))
    assert api.get("/v1/people", params={"status": "active"}).status_code == 200
    assert api.get("/v1/status").status_code == 200
    rows = events(api, kind="data.read")
    found = [row["data"] for row in rows[before:] if row["data"]["path"] == "/v1/people"]
    assert [one["filter"] for one in found] == [{"status": "active"}]
    assert not [row for row in rows if row["data"]["path"] == "/v1/status"]

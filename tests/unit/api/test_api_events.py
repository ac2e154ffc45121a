"""Events over the admin API: the newest that fit, in order, with who was behind them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from limen.engine.starter import starter_files
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TestClient]:
    folder = tmp_path / "bundle"
    for name, text in starter_files("corp.example").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    state = tmp_path / "state"
    options = ControlOptions(state=state, bundle=folder, public_port=8443, metrics=None)
    control = Control(StateDir.create(state), options)
    yield TestClient(control.admin, client=("uid:0", 1))
    control.close()


def test_events_are_found_by_kind_actor_and_target_the_newest_last(api: TestClient) -> None:
    for name in ("ada", "bob"):
        assert api.post("/v1/people", json={"id": name, "groups": []}).status_code == 201
    body = {"quarantined": True, "reason": "a lost laptop"}
    assert api.patch("/v1/people/bob", json=body).status_code == 200

    everything = api.get("/v1/events").json()
    assert [row["at"] for row in everything] == sorted(row["at"] for row in everything)
    (quarantine,) = api.get("/v1/events", params={"kind": "person.quarantined"}).json()
    assert quarantine == everything[-1] or quarantine in everything
    assert (quarantine["target"], quarantine["actor"]) == ("bob", "host-operator:uid=0")
    assert quarantine["reason"] == "a lost laptop"
    assert quarantine["data"]["after"]["quarantined"] is True
    about_ada = api.get("/v1/events", params={"target": "ada"}).json()
    assert about_ada and {row["target"] for row in about_ada} == {"ada"}
    assert api.get("/v1/events", params={"actor": "nobody"}).json() == []
    newest = api.get("/v1/events", params={"kind": "person", "limit": 1}).json()
    assert [row["target"] for row in newest] == ["bob"]
    assert api.get("/v1/events", params={"since_s": 0}).json() == []

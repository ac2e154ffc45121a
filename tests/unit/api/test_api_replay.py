"""Replay and shadow over the admin API, on a real control: its own decisions are the traffic."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from limen.engine.starter import starter_files
from limen.journal.reader import JournalReader
from limen.services.control import Control, ControlOptions
from limen.services.shadow import ShadowHost
from limen.services.state import StateDir

NO_LIST = """
@id("no-list") @reason("Nobody lists people.")
forbid(principal, action == Action::"read", resource == Route::"limen/people");
"""
OPERATOR = 'Workload::"host-operator"'


def candidate() -> dict[str, str]:
    return {**starter_files("corp.example"), "policies/guardrails/no-list.cedar": NO_LIST}


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    folder = tmp_path / "bundle"
    for name, text in starter_files("corp.example").items():
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


def replayed(api: TestClient, **body: Any) -> dict[str, Any]:
    answer = api.post("/v1/replay", json=body)
    assert answer.status_code == 200, answer.text
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert {one["type"] for one in found[:-1]} == {"progress"} and found[-1]["type"] == "report"
    assert found[-2]["part"] == 1.0
    return dict(found[-1])


def test_a_replay_under_the_same_bundle_finds_nothing(api: TestClient) -> None:
    api.get("/v1/people")
    report = replayed(api)
    assert report["decisions"] == report["same"] >= 1
    assert report["mismatched"] == 0 and report["differences"] == []


def test_a_replay_under_another_bundle_says_who_loses_what(api: TestClient) -> None:
    for _ in range(3):
        api.get("/v1/people")
    (lost,) = replayed(api, files=candidate(), since_s=3600)["differences"]
    assert (lost["effect"], lost["times"], lost["who"]) == ("loses", 3, {OPERATOR: 3})
    assert lost["after"]["policies"] == ["no-list"] and lost["after"]["code"] == "FORBIDDEN"
    assert api.get(f"/v1/decisions/{lost['samples'][0]}").json()["record"]["path"] == "/v1/people"


def test_what_is_no_bundle_is_refused_before_anything_is_read(api: TestClient) -> None:
    answer = api.post("/v1/replay", json={"files": {"limen.yaml": "domain: ["}})
    assert (answer.status_code, answer.json()["code"]) == (422, "BUNDLE_INVALID")


def test_the_shadow_is_started_shown_and_stopped(api: TestClient, control: Control) -> None:
    assert api.get("/v1/shadow").status_code == 404
    assert api.post("/v1/shadow", json={"files": starter_files("corp.example")}).status_code == 409
    broken = {**candidate(), "policies/guardrails/no-list.cedar": "forbid("}
    assert api.post("/v1/shadow", json={"files": broken}).status_code == 422
    started = api.post("/v1/shadow", json={"files": candidate(), "reason": "to see"})
    assert started.status_code == 201, started.text
    assert api.post("/v1/shadow", json={"files": candidate()}).json()["code"] == "SHADOW_RUNS"
    status = api.get("/v1/shadow").json()
    assert (status["reason"], status["running"], status["lag_s"]) == ("to see", False, None)
    assert api.get("/v1/shadow/report").json()["decisions"] == 0
    assert api.post("/v1/shadow/stop", json={}).status_code == 204
    assert api.get("/v1/shadow").status_code == 404
    kinds = [event.kind for event in JournalReader(control._state.journal).events(kind="shadow.")]
    assert kinds == ["shadow.started", "shadow.stopped"]


def test_the_shadow_is_promoted_with_all_checks(api: TestClient) -> None:
    bundle = api.post("/v1/shadow", json={"files": candidate()}).json()["bundle"]
    assert api.post("/v1/shadow/promote", json={}).json()["bundle"] == bundle
    assert api.get("/v1/policy").json()["bundle"] == bundle
    assert api.get("/v1/shadow").status_code == 404
    assert api.get("/v1/people").status_code == 403


async def until(holds: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """Wait for a condition, with a bound."""
    ends = time.monotonic() + timeout_s
    while not (found := await asyncio.to_thread(holds)):
        assert time.monotonic() < ends, "it did not come to pass"
        await asyncio.sleep(0.05)
    return found


def test_the_shadow_lives_beside_control_and_survives_its_death(api: TestClient, control: Control) -> None:
    asyncio.run(_live(api, control))


async def _live(api: TestClient, control: Control) -> None:
    def status() -> dict[str, Any]:
        return dict(api.get("/v1/shadow").json())

    def lists() -> int:
        return sum(one["times"] for one in api.get("/v1/shadow/report").json()["differences"])

    host = ShadowHost(control._state, control._store)
    await host.start()
    try:
        await asyncio.to_thread(api.post, "/v1/shadow", json={"files": candidate()})
        await asyncio.to_thread(api.get, "/v1/people")
        await until(lambda: lists() == 1)
        first = await until(lambda: status() if status()["running"] else None)
        os.kill(first["pid"], signal.SIGKILL)
        await asyncio.to_thread(api.get, "/v1/people")
        again = await until(lambda: status() if status()["pid"] != first["pid"] else None)
        await until(lambda: lists() == 2)
        assert again["restarts"] >= 1 and os.getpriority(os.PRIO_PROCESS, again["pid"]) >= 10
        await asyncio.to_thread(api.post, "/v1/shadow/stop", json={})
        await until(lambda: host.child is None)
        assert not list((control._state.root / "shadow").iterdir())
    finally:
        await host.stop()

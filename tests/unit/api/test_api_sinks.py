"""Exports over the admin API: sinks are listed, and an export from files leaves a trace."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from limen.api.client import AdminClient
from limen.cli.main import app
from limen.engine.starter import starter_files
from limen.journal.export.event_data import exported_data
from limen.services.control import Control, ControlOptions
from limen.services.sinks.pump import SinkStatus
from limen.services.state import StateDir

SINK = SinkStatus("siem", "syslog", "siem.corp.example:6514", state="failing", sent=7)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def api(tmp_path: Path, state: Path) -> Iterator[TestClient]:
    folder = tmp_path / "bundle"
    for name, text in starter_files("corp.example").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    options = ControlOptions(state=state, bundle=folder, public_port=8443, metrics=None)
    control = Control(StateDir.create(state), options)
    object.__setattr__(control.admin.state.deps, "sinks", lambda: [msgspec.to_builtins(SINK)])
    yield TestClient(control.admin, client=("uid:0", 1))
    control.close()


@pytest.fixture
def _reached(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command reach this control, without a socket."""

    def reach(self: AdminClient, socket: Path) -> None:
        self._http, self._where, self._remedy = api, str(socket), ""

    monkeypatch.setattr(AdminClient, "__init__", reach)


def limen(*arguments: object) -> Any:
    done = CliRunner().invoke(app, ["audit", *(str(one) for one in arguments)])
    assert done.exception is None, done.exception
    return done


def test_sinks_are_listed(api: TestClient) -> None:
    (sink,) = api.get("/v1/audit/sinks").json()
    assert (sink["name"], sink["sent"], sink["state"]) == ("siem", 7, "failing")


@pytest.mark.usefixtures("_reached")
def test_the_command_lists_them(state: Path) -> None:
    shown = limen("sinks", "--state", state)
    assert "siem.corp.example:6514" not in shown.stdout and "failing" in shown.stdout
    assert json.loads(limen("sinks", "--state", state, "--json").stdout)[0]["sent"] == 7


@pytest.mark.usefixtures("_reached")
def test_an_export_is_in_the_journal_that_it_exports(api: TestClient, state: Path) -> None:
    done = limen("export", "--format", "jsonl", "--state", state, "--subject", "ada", "--reason", "case 12")
    (event,) = api.get("/v1/events", params={"kind": "audit.exported"}).json()
    assert (event["actor"], event["target"], event["reason"]) == ("host-operator:uid=0", "ada", "case 12")
    assert exported_data("audit.exported", event["data"]) == event["data"]
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["audit.exported"]


def test_an_export_beside_a_system_that_does_not_run_says_so(api: TestClient, state: Path) -> None:
    assert "no trace" in limen("export", "--format", "csv", "--state", state).stderr


def test_what_an_export_is_must_be_said_in_known_words(api: TestClient) -> None:
    for body in ({"format": "xml", "classes": []}, {"format": "csv", "classes": ["inputs"]}):
        assert api.post("/v1/audit/exports", json=body).status_code == 422

"""Search, volume, legal holds, export and erasure of people over the admin API of a real control."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from msgspec import structs
from typer.testing import CliRunner

from limen.cli.main import app
from limen.cli.output import print_error, print_json, print_rows, printable
from limen.core.clock import SystemClock
from limen.core.errors import Invalid
from limen.core.ids import new_decision_id
from limen.core.record import DecisionRecord, OutcomeRecord
from limen.engine.starter import starter_files
from limen.journal.keys import Keys
from limen.journal.retention import load_holds
from limen.journal.writer import Journal, JournalOptions
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

WIKI_REF = 'App::"wiki"'
WIKI = """
apps:
  wiki:
    upstream: http://127.0.0.1:9001
    owner: ada
    labels: [internal]
    allow: [group:staff]
"""


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.create(tmp_path / "state")


@pytest.fixture
def api(tmp_path: Path, state: StateDir) -> Iterator[TestClient]:
    folder = tmp_path / "bundle"
    files = starter_files("corp.example")
    for name, text in {**files, "limen.yaml": files["limen.yaml"] + WIKI}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    options = ControlOptions(state=state.root, bundle=folder, public_port=8443, metrics=None)
    control = Control(state, options)
    yield TestClient(control.admin, client=("uid:0", 1))
    control.close()


def post(api: TestClient, path: str, **body: Any) -> Any:
    answer = api.post(path, json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


def used(state: StateDir, person: str, count: int = 1) -> None:
    """Let a gateway have recorded that somebody opened the wiki."""
    clock = SystemClock()
    with Journal.open(state.journal, "gateway-a", clock, options=JournalOptions(reserve_bytes=0)) as journal:
        for _ in range(count):
            now = clock.now()
            made = new_decision_id(now)
            record = DecisionRecord(
                made, now, "gateway", "gateway", "allow", "PERMITTED", "bun", "", "read", WIKI_REF
            )
            about = {
                "subject": f'User::"{person}"',
                "session": "ses_1",
                "path": "/private",
                "ip": "192.0.2.7",
            }
            journal.append(structs.replace(record, **about))
            journal.append(OutcomeRecord(made, now, 200, 5, bytes_in=3, bytes_out=4))


def test_decisions_and_events_are_searched_together(api: TestClient, state: StateDir) -> None:
    post(api, "/v1/people", id="ada", groups=["staff"], reason="hired")
    used(state, "ada")
    rows = api.get("/v1/audit/search", params={"subject": "ada"}).json()
    assert {row["type"] for row in rows} == {"decision", "event"}
    assert [row["status"] for row in rows if row["type"] == "decision"] == [200]
    (found,) = api.get("/v1/audit/search", params={"address": "192.0.2.0/24"}).json()
    assert (found["subject"], found["path"]) == ('User::"ada"', "/private")
    assert (
        api.get("/v1/audit/search", params={"text": "/private", "kind": "events", "event": "sign_in"}).json()
        == []
    )
    refused = api.get("/v1/audit/search", params={"address": "10.0.0.0/99"})
    assert (refused.status_code, "address" in refused.json()["detail"]) == (422, True)


def test_volume_by_person_app_and_label(api: TestClient, state: StateDir) -> None:
    used(state, "ada", 2)
    for by, name in (("person", 'User::"ada"'), ("app", "wiki"), ("label", "internal")):
        assert api.get("/v1/audit/volume", params={"by": by}).json() == [
            {by: name, "requests": 2, "bytes_in": 6, "bytes_out": 8}
        ]


def test_holds_are_told_to_the_nodes_and_named_by_a_refused_erasure(api: TestClient, state: StateDir) -> None:
    post(api, "/v1/people", id="ada")
    assert api.post("/v1/audit/holds", json={"person": "nobody", "reason": "x"}).status_code == 404
    assert api.post("/v1/audit/holds", json={"person": "ada", "reason": " "}).status_code == 422
    hold = post(api, "/v1/audit/holds", person="ada", reason="Case 7")
    assert load_holds(state.journal).on('User::"ada"') == (hold["id"],)
    assert load_holds(state.journal).on('User::"bob"') == ()
    api.patch("/v1/people/ada", json={"status": "ended"})
    refused = api.post("/v1/subject/erase", json={"person": "ada", "reason": "asked"}).json()
    assert refused["code"] == "LEGAL_HOLD"
    assert hold["id"] in refused["detail"]
    assert "Case 7" in refused["detail"]
    assert [row["id"] for row in api.get("/v1/audit/holds").json()] == [hold["id"]]
    post(api, f"/v1/audit/holds/{hold['id']}/end", reason="closed")
    assert api.post(f"/v1/audit/holds/{hold['id']}/end", json={"reason": "again"}).status_code == 409
    assert load_holds(state.journal).holds == ()
    assert api.get("/v1/audit/holds").json() == []
    assert len(api.get("/v1/audit/holds", params={"ended": True}).json()) == 1
    kinds = [row["kind"] for row in api.get("/v1/events", params={"kind": "hold"}).json()]
    assert kinds == ["hold.added", "hold.ended"]
    assert post(api, "/v1/audit/holds", reason="all of it")["subject"] is None
    assert load_holds(state.journal).everything


def test_all_that_is_held_about_a_person_is_exported_without_secrets(
    api: TestClient, state: StateDir
) -> None:
    post(api, "/v1/people", id="ada", email="ada@corp.example", groups=["staff"])
    post(api, "/v1/people", id="adam")
    post(api, "/v1/grants", to="user:ada", on="wiki", for_s=3600, reason="for ada's work")
    used(state, "ada")
    used(state, "adam")
    found = api.get("/v1/subject", params={"person": "ada"}).json()
    assert found["person"]["email"] == "ada@corp.example"
    assert found["memberships"][0]["group"] == "staff"
    assert found["enrolment_links"][0]["purpose"] == "enrol"
    assert "token_hash" not in json.dumps(found)
    records = [row["record"] for row in found["records"]]
    assert [row["path"] for row in records if row["type"] == "decision" and row["point"] == "gateway"] == [
        "/private"
    ]
    assert any(row.get("kind") == "person.changed" for row in records)
    assert not any('User::"adam"' in json.dumps(row.get("subject")) for row in records)


def test_the_erased_are_gone_and_the_log_still_verifies(api: TestClient, state: StateDir) -> None:
    post(api, "/v1/people", id="ada", name="Ada Lovelace", email="lovelace@corp.example", groups=["staff"])
    used(state, "ada")
    body = {"person": "ada", "reason": "asked for it on 2027-01-31"}
    assert api.post("/v1/subject/erase", json=body).json()["code"] == "SUBJECT_ACTIVE"
    api.patch("/v1/people/ada", json={"status": "ended"})
    erased = api.post("/v1/subject/erase", json=body).json()
    assert erased["keys"] == 1
    (name,) = erased["names"]
    assert api.get("/v1/audit/search", params={"subject": "ada", "kind": "decisions"}).json() == []
    shown = api.get("/v1/audit/search", params={"subject": name, "kind": "decisions"}).json()
    assert [(row["subject"], row["path"]) for row in shown] == [(f'User::"{name}"', "erased")]
    (event,) = api.get("/v1/events", params={"kind": "subject"}).json()
    assert event["reason"] == body["reason"]
    assert event["target"] == f"subject:{name}"
    found = api.get("/v1/subject", params={"person": "ada"}).json()
    assert (found["person"]["name"], found["person"]["email"]) == ("", "")
    assert found["memberships"] == found["sessions"] == found["enrolment_links"] == []
    assert "Lovelace" not in json.dumps(found["records"])
    written = {path.name: path.read_bytes() for path in state.journal.rglob("*") if path.is_file()}
    words = (b"Lovelace", b"lovelace@", b"/private", b"192.0.2.7")
    assert [(name, word) for name, held in written.items() for word in words if word in held] == []
    assert Keys.open(state.journal).keys_of('User::"ada"') == ()
    verified = CliRunner().invoke(app, ["audit", "verify", "--state", str(state.root), "--node", "control"])
    assert verified.exit_code == 0, verified.output
    again = api.post("/v1/subject/erase", json=body).json()
    assert again["keys"] <= 1  # of what the first erasure left behind: its own calls


def test_a_segment_is_compacted_from_the_command_line(state: StateDir) -> None:
    tiny = JournalOptions(segment_bytes=2_000, reserve_bytes=0)
    with Journal.open(state.journal, "control", SystemClock(), options=tiny) as journal:
        for number in range(40):
            journal.append(OutcomeRecord(f"{number:032x}", 1_000.0, 200, 5))
    done = CliRunner().invoke(app, ["audit", "compact", "--state", str(state.root)])
    assert done.exit_code == 0, done.output
    assert "segments compacted" in done.output
    assert list((state.journal / "control").glob("*.parquet"))


def test_what_is_shown_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    poison = "\x1b[31m\x07\x9b2J\x7f\u202e<b>"
    shown = r"\u001b[31m\u0007\u009b2J\u007f\u202e<b>"
    assert printable(poison) == shown
    print_rows(
        [{"a": poison, "b": [poison], "c": {"d": poison}}],
        {"A": "a", "B": "b", "C": "c"},
        as_json=False,
        empty="",
    )
    print_json({"a": poison})
    print_error(Invalid(f"address: {poison}", remedy="Line one.\nLine two."))
    told = capsys.readouterr()
    assert told.out.count(shown) == 3
    assert "Line one.\nLine two." in told.err
    assert not any(control in told.out + told.err for control in "\x1b\x07\x9b\x7f")
    assert json.loads(told.out[told.out.index("{\n") :]) == {"a": poison}

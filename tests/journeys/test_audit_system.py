"""The journal of a whole system: it is whole, derives again, foretells, is found, and can be forgotten.

One system for all; the tests of this file go in order.
"""

import csv
import json
import os
import re
import runpy
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from attack_wire import child, eventually
from cli_rig import Done, run
from demo_rig import Demo, running_demo

from limen.core.errors import LimenError, Refused
from limen.engine.replay_report import LOSSES
from limen.services.demo.traveller import HeldStream, Traveller

pytestmark = pytest.mark.envoy

SCRIPT = Path(__file__).parents[2] / "docs" / "how-to" / "check_proof.py"
RECOVERS_S = 60.0
LIVE = "/live/ticks"
ROUND = (
    *(("ada", app, "/") for app in ("wiki", "tool", "payroll")),
    *(("grace", app, "/") for app in ("wiki", "payroll")),
    *(("linus", app, path) for app, path in (("wiki", "/"), ("wiki", "/"), ("wiki", LIVE), ("tool", "/"))),
)
"""What everybody does in one round: who, app, path."""

Loss = tuple[str, str]
"""Who, and on what."""


class Audited:
    """A demo, its people in their browsers, and its command line in this process."""

    def __init__(self, demo: Demo, folder: Path) -> None:
        self.demo, self.folder = demo, folder
        self.people = {name: demo.traveller(name) for name in ("ada", "grace", "linus")}
        self.streams: list[HeldStream] = []
        self._holding = ExitStack()

    def sign_in(self) -> None:
        """Sign everybody in where the rounds go; Grace with the passkey that payroll asks for."""
        for name, traveller in self.people.items():
            traveller.sign_in(self.demo.url("wiki"))
            traveller.follow(self.demo.url("tool"))
            assert traveller.ask(self.demo.url("wiki")).status == 200, name
        self.people["grace"].add_passkey()
        assert self.people["grace"].step_up(self.demo.url("payroll")).status_code == 200

    def round(self) -> list[int]:
        """Go one round; return the statuses."""
        return [self._ask(self.people[who], app, path) for who, app, path in ROUND]

    def _ask(self, traveller: Traveller, app: str, path: str) -> int:
        url = self.demo.url(app, path)
        if path != LIVE:
            return traveller.ask(url, script=True).status
        other = self.demo.traveller()  # whose connections are its own: a held one blocks none of the others
        other._browser.http.cookies = traveller._browser.http.cookies
        try:
            self.streams.append(self._holding.enter_context(other.hold(url)))
        except Refused:
            return 403
        return 200

    def close(self) -> None:
        self._holding.close()

    def limen(self, *arguments: str, code: int = 0) -> Done:
        done = run(*arguments)
        assert done.code == code, done
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.limen(*arguments, "--json", code=code).out)

    def search(self, *arguments: str) -> list[dict[str, Any]]:
        return list(self.json("audit", "search", *arguments))

    def verified(self) -> Mapping[str, Any]:
        return dict(self.json("audit", "verify"))

    def bundle(self, name: str, files: Mapping[str, str]) -> str:
        for path, text in files.items():
            (self.folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name / path).write_text(text)
        return str(self.folder / name)

    def candidate(self) -> str:
        """A bundle under which contractors read no wiki, and the tool needs a passkey."""
        files = dict(self.demo.admin.get("/v1/policy")["files"])
        path = "policies/entitlements/apps.cedar"
        files[path] = re.sub(r'@id\("contractors-read-wiki"\)[^;]*;', "", files[path])
        content = yaml.safe_load(files["limen.yaml"])
        content["apps"]["tool"]["labels"] = ["phi"]
        files["limen.yaml"] = yaml.safe_dump(content)
        tests = yaml.safe_load(files["tests/demo.yaml"])
        kept = [one for one in tests if one["resource"] not in ("wiki", "wiki/live", "tool", "tool/admin")]
        files["tests/demo.yaml"] = yaml.safe_dump(kept)
        return self.bundle("candidate", files)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    with pytest.MonkeyPatch.context() as environment, running_demo() as demo:
        environment.setenv("LIMEN_STATE", str(demo.state_dir))
        audited = Audited(demo, tmp_path_factory.mktemp("audit"))
        audited.sign_in()
        yield audited
        audited.close()


def losses(report: Mapping[str, Any]) -> Counter[Loss]:
    """Return who loses what by a report, how often."""
    found: Counter[Loss] = Counter()
    for one in report["differences"]:
        assert one["effect"] in LOSSES, one
        for subject, times in one["who"].items():
            found[(subject, one["before"]["resource"])] += times
    return found


def denied(before: list[int], after: list[int]) -> Counter[Loss]:
    """Return who got in before and did not after, on what, how often."""
    found: Counter[Loss] = Counter()
    for (who, app, path), old, new in zip(ROUND, before, after, strict=True):
        if old == 200 and new != 200:
            resource = f'Route::"{app}/live"' if path == LIVE else f'App::"{app}"'
            found[(f'User::"{who}"', resource)] += 1
    return found


def whole_round(found: Counter[Loss]) -> Counter[Loss]:
    """Return what was found once it is of a whole round."""
    return found if found.total() >= 4 else Counter()


def test_what_people_did_is_whole_and_derives_again(system: Audited) -> None:
    assert system.round() == [200, 200, 401, 200, 200, 200, 200, 200, 403]
    assert system.streams[0].wait_tick(10)
    report = system.verified()
    assert report["whole"] and report["doubts"] == []
    assert {node["node"] for node in report["nodes"]} == {"control", "gateway-a"}
    again = system.json("replay", "--since", "1h")
    assert again["decisions"] == again["derived"] == again["same"] > len(ROUND)
    assert again["mismatched"] == 0


def test_those_whom_replay_and_shadow_name_are_those_who_are_then_denied(system: Audited) -> None:
    """Predicted = actual, on the real system, and by the same counts."""
    candidate = system.candidate()
    predicted = system.json("replay", "--bundle", candidate, "--since", "1h")
    active = system.bundle("active", system.demo.admin.get("/v1/policy")["files"])
    system.limen("policy", "plan", active)
    plan = json.loads(system.limen("policy", "plan", candidate, "--format", "json", code=3).out)
    assert losses(plan["replay"]) == losses(predicted)
    system.limen("policy", "plan", system.bundle("broken", {"limen.yaml": "domain: ["}), code=2)

    system.limen("shadow", "start", candidate, "--reason", "before it bites")
    before = system.round()
    shadow = eventually(lambda: whole_round(losses(system.json("shadow", "report"))))
    assert shadow == losses(system.json("shadow", "report"))
    system.limen("shadow", "promote", "--reason", "it bites those whom it should")
    assert eventually(lambda: system.people["linus"].ask(system.demo.url("wiki"), script=True).status == 403)
    assert all(stream.ended.wait(10) for stream in system.streams)
    after = system.round()
    assert denied(before, after) == shadow
    assert set(shadow) == set(losses(predicted))
    assert set(shadow) == {
        ('User::"linus"', 'App::"wiki"'),
        ('User::"linus"', 'Route::"wiki/live"'),
        ('User::"ada"', 'App::"tool"'),
    }
    system.limen("shadow", "status", code=1)
    again = system.json("replay", "--since", "1h")
    assert again["mismatched"] == 0 and again["decisions"] == again["same"]


def test_what_was_done_and_by_whom_is_found(system: Audited) -> None:
    rows = system.search("--subject", "linus", "--verdict", "deny", "--resource", "wiki")
    assert {(row["subject"], row["code"]) for row in rows} == {('User::"linus"', "NO_PERMIT")}
    assert len(rows) >= 3
    by_policy = system.search("--policy", "phi", "--subject", "ada")
    assert {row["resource"] for row in by_policy} >= {'App::"tool"'}
    applied = system.search("--event", "bundle.applied")[-1]
    assert (applied["actor"], applied["reason"]) == (
        f"host-operator:uid={os.getuid()}",
        "it bites those whom it should",
    )
    assert applied["data"]["before"] != applied["data"]["after"] == applied["target"]
    assert system.search("--event", "shadow.promoted")[-1]["target"] == applied["target"]
    ended = system.search("--event", "stream.ended", "--subject", "linus")
    assert len(ended) == 2 and max(one["data"]["bytes_out"] for one in ended) > 0
    assert system.search("--event", "sign_in.succeeded", "--subject", "ada", "--address", "127.0.0.0/8")
    people = {row["person"]: row for row in system.json("audit", "volume", "--by", "person")}
    assert people['User::"linus"']["requests"] >= 6 and people['User::"linus"']["bytes_out"] > 0
    assert {"wiki", "tool", "payroll"} <= {
        row["app"] for row in system.json("audit", "volume", "--by", "app")
    }
    friction = system.json("friction", "report")
    costs = {row["name"]: row for row in friction["people"]}
    assert costs["linus"]["denials"] >= 3 and costs["grace"]["cures_tried"] >= 1
    unused = {row["id"] for row in system.json("least-privilege", "--unused-for", "1d")["unused"]}
    assert "admins-tool" in unused and "allow:wiki:group:staff" not in unused


def test_exports_hold_what_the_search_finds(system: Audited) -> None:
    found = {row["id"] for row in system.search("--limit", "10000")}
    for form in ("csv", "ocsf"):
        system.limen(
            "audit", "export", "--format", form, "--out", str(system.folder / form), "--reason", "SIEM"
        )
    rows = list(csv.DictReader((system.folder / "csv").read_text().splitlines()))
    assert found <= {row["id"] for row in rows}
    events = [json.loads(line) for line in (system.folder / "ocsf").read_text().splitlines()]
    assert found <= {event["metadata"]["original_event_uid"] for event in events}
    assert [row["actor"] for row in system.search("--event", "audit.exported")] == [
        f"host-operator:uid={os.getuid()}"
    ] * 2


def test_kills_and_compaction_lose_no_record_and_leave_no_doubt(system: Audited) -> None:
    demo = system.demo
    found = {row["id"] for row in system.search("--limit", "10000")}
    for name in ("brain", "control"):  # whose next life seals what the last one left
        old = child(demo, name)
        os.kill(old, signal.SIGKILL)
        assert eventually(lambda: alive(system), RECOVERS_S)
        assert system.verified()["whole"]
    # Control compacts what is sealed when it starts: which of the two does it does not matter.
    assert eventually(lambda: run("audit", "compact", f"--state={demo.state_dir}").code == 0, RECOVERS_S)
    assert len(list((demo.state_dir / "journal").rglob("*.parquet"))) >= 2
    assert len(list((demo.state_dir / "journal").rglob("*.parquet"))) >= 2
    assert found <= {row["id"] for row in system.search("--limit", "10000")}
    assert {row["id"] for row in demo.decisions(limit=10_000)} <= found | {
        row["id"] for row in system.search("--since", "1m", "--limit", "10000")
    }
    assert system.verified()["whole"]
    again = system.json("replay", "--since", "1h")
    assert again["mismatched"] == 0 and again["decisions"] == again["same"] >= 3 * len(ROUND)


def alive(system: Audited) -> bool:
    """Whether both processes are there again, and do their work."""
    try:
        demo = system.demo
        return system.people["ada"].ask(demo.url("wiki"), script=True).status == 200 and bool(
            demo.admin.get("/v1/status")
        )
    except (LimenError, httpx.HTTPError):
        return False


def test_a_record_is_proven_by_the_script_of_the_manual(
    system: Audited, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = system.search("--subject", "linus", "--verdict", "deny")[0]["id"]
    keys = {row["who"]: row["key"] for row in system.json("audit", "key")}
    proof = system.folder / "proof.json"
    system.limen("audit", "prove", record, "--out", str(proof))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, str(proof), keys["control (countersigns)"]])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    said = capsys.readouterr().out
    assert said.startswith("proven: ") and record in said


def test_of_the_erased_nothing_is_readable_and_the_log_is_whole(system: Audited) -> None:
    demo = system.demo
    system.limen("user", "set", "linus", "--status", "ended", "--reason", "has left")
    erased = system.json("subject", "erase", "linus", "--reason", "asked for it")
    assert erased["keys"] >= 1 and erased["pending"] == []
    assert system.verified()["whole"]
    for form in ("jsonl", "csv", "ocsf"):
        system.limen("audit", "export", "--format", form, "--out", str(system.folder / "after"))
        assert "linus" not in (system.folder / "after").read_text().lower()
    kept = [path for path in (demo.state_dir / "journal").rglob("*") if path.is_file()]
    assert [path for path in kept if b"linus" in path.read_bytes().lower()] == []
    with sqlite3.connect(demo.state_dir / "limen.db") as database:
        told = [row for (row,) in database.execute("SELECT value FROM change") if row and "Linus Tor" in row]
    assert told == []
    assert [row for row in system.search("--subject", "linus") if row["type"] == "decision"] == []
    shown = system.search("--subject", erased["names"][0], "--resource", "wiki")
    assert {row["subject"] for row in shown} == {f'User::"{erased["names"][0]}"'}
    again = system.json("replay", "--since", "1h")
    assert again["mismatched"] == 0

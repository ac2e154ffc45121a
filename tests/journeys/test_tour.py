"""`limen demo`: the tour plays six scenes and leaves; Ctrl-C, at any moment, leaves no process behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from journey_rig import MARK, marked_processes, started, wait_until

pytestmark = pytest.mark.envoy

PROGRAM = [sys.executable, "-m", "limen"]
PARTS = ("limen demo", "control --state", "limen gateway", "envoy/_bin")
READY_KEYS = {
    *("domain", "port", "ca_file", "auth_url", "apps", "services", "people", "scim"),
    *("pid", "state_dir"),
}
END_S = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: sockets live below it."""
    made = Path(tempfile.mkdtemp(prefix="lt-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def mark() -> str:
    """What the environment of all processes of one test bears."""
    return uuid.uuid4().hex


def environment(mark: str) -> dict[str, str]:
    return {**os.environ, MARK: mark}


def demo_command(folder: Path, *more: str) -> list[str]:
    return [*PROGRAM, "demo", "--port", "0", "--state", str(folder / "s"), *more]


def test_the_tour_plays_six_scenes_and_leaves_no_process_behind(folder: Path, mark: str) -> None:
    done = subprocess.run(
        demo_command(folder, "--tour"),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment(mark),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    scenes = re.split(r"^\d\. ", done.stdout, flags=re.MULTILINE)[1:]
    assert len(scenes) == 6
    for scene in scenes:
        assert re.search(r"in \d+\.\d ms", scene), f"no timing: {scene}"
    for scene in scenes[1:4]:
        assert re.search(r"decision [0-9a-f]{32}: .*derived again: agrees", scene), f"no decision: {scene}"
    verdicts = [re.findall(r"decision \w+: (allow|deny)", scene) for scene in scenes]
    assert [sorted(set(found)) for found in verdicts[:4]] == [[], ["allow"], ["deny"], ["allow", "deny"]]
    assert "what would open it: " in scenes[2]
    assert "on to sign-in" in scenes[4]
    assert re.search(r"the gateway ended the open stream in \d+\.\d ms", scenes[5])
    assert re.search(r"decision \w+: deny QUARANTINED, derived again: agrees", scenes[5])
    assert "released, he opens it again" in scenes[5]
    assert "Traceback" not in done.stderr, done.stderr
    assert marked_processes(mark) == {}


def test_ctrl_c_ends_a_demo_and_all_its_processes(folder: Path, mark: str) -> None:
    ready_file, output = folder / "ready.json", folder / "out"
    command = demo_command(folder, "--ready-file", str(ready_file))
    with started(command, output, env=environment(mark)) as demo:
        wait_until("the demo is ready", lambda: ready_file.exists() or demo.poll() is not None, 120)
        ready = json.loads(ready_file.read_text())
        assert set(ready) == READY_KEYS
        assert (ready["domain"], ready["pid"]) == ("limen.localhost", demo.pid)
        assert set(ready["apps"]) == {"wiki", "payroll", "tool"}
        assert set(ready["services"]) == {"ledger"}
        assert {"staff", "hr", "engineers", "contractors"} <= {
            group for person in ready["people"].values() for group in person["groups"]
        }
        assert all(
            set(person) == {"username", "password", "totp_secret", "groups"}
            for person in ready["people"].values()
        )
        assert stat_of(ready_file) == 0o600, "it holds passwords"
        running = marked_processes(mark)
        for part in PARTS:
            assert any(part in line for line in running.values()), f"no {part} among {running}"
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(END_S) == 0, output.read_text()
        assert marked_processes(mark) == {}
    assert "Traceback" not in output.read_text()


def test_ctrl_c_while_a_demo_starts_leaves_no_process_behind(folder: Path, mark: str) -> None:
    output = folder / "out"
    with started(demo_command(folder), output, env=environment(mark)) as demo:
        wait_until(
            "control starts",
            lambda: any("control --state" in line for line in marked_processes(mark).values()),
        )
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(END_S)
        assert marked_processes(mark) == {}
    assert "Traceback" not in output.read_text()


def test_ctrl_c_twice_during_the_tour_leaves_no_process_behind(folder: Path, mark: str) -> None:
    output = folder / "out"
    with started(demo_command(folder, "--tour"), output, env=environment(mark)) as demo:
        wait_until("the tour begins", lambda: "1. Nobody" in output.read_text(), 120)
        os.killpg(demo.pid, signal.SIGINT)
        wait_until(
            "the gateway stops",
            lambda: not any("limen gateway" in line for line in marked_processes(mark).values()),
        )
        os.killpg(demo.pid, signal.SIGINT)  # an impatient person does not hurry it past its children
        assert demo.wait(END_S) == 130
        assert marked_processes(mark) == {}
    assert "Traceback" not in output.read_text()


def stat_of(path: Path) -> int:
    return path.stat().st_mode & 0o777

"""Control and a gateway on two machines (network namespaces): the feed cut each way, and both.

Each cut is silent, as a dead switch is: nobody is told by a reset. The gateway goes on deciding until what
it knows is too old, then denies, and recovers by itself once packets pass again.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from limen.api.client import AdminClient
from limen.services.state import StateDir

PYTHON = sys.executable
KIT = Path(__file__).parents[1] / "kit"
CONTROL_IP, GATEWAY_IP, NOBODY = "10.77.0.1", "10.77.0.2", "02:00:00:00:00:99"
STALENESS_MAX_S = 6.0
WAIT_S = 60.0


def run(*words: str, **options: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


class Wire:
    """Two namespaces and the one wire between them."""

    def __init__(self) -> None:
        mark = f"{os.getpid() % 100_000}"
        self.control, self.gateway = f"lc{mark}", f"lg{mark}"
        self.links = {self.control: f"vc{mark}", self.gateway: f"vg{mark}"}

    def build(self) -> None:
        for name in (self.control, self.gateway):
            run("ip", "netns", "add", name)
        here, there = self.links[self.control], self.links[self.gateway]
        run(
            "ip",
            "-n",
            self.control,
            "link",
            "add",
            here,
            "type",
            "veth",
            "peer",
            there,
            "netns",
            self.gateway,
        )
        for name, address in ((self.control, CONTROL_IP), (self.gateway, GATEWAY_IP)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", self.links[name])
            for link in ("lo", self.links[name]):
                run("ip", "-n", name, "link", "set", link, "up")

    def tear(self) -> None:
        for name in (self.control, self.gateway):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def cut(self, sender: str) -> None:
        """What `sender` sends goes to a machine that is not there."""
        other = GATEWAY_IP if sender == self.control else CONTROL_IP
        run(
            *("ip", "-n", sender, "neigh", "replace", other, "lladdr", NOBODY),
            *("dev", self.links[sender], "nud", "permanent"),
        )

    def unplug(self) -> None:
        run("ip", "-n", self.control, "link", "set", self.links[self.control], "down")

    def mend(self) -> None:
        for name, other in ((self.control, GATEWAY_IP), (self.gateway, CONTROL_IP)):
            run("ip", "-n", name, "link", "set", self.links[name], "up")
            with suppress(AssertionError):
                run("ip", "-n", name, "neigh", "del", other, "dev", self.links[name])


class Lines:
    """What a process prints, one JSON object a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.last: dict[str, Any] = {}
        self._news = threading.Condition()
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"code"'):
                with self._news:
                    self.last = json.loads(line)
                    self._news.notify_all()

    def until(self, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Return the first line from now on that fits."""
        deadline = time.monotonic() + WAIT_S
        with self._news:
            while not (self.last and holds(self.last)):
                assert self._news.wait(deadline - time.monotonic()), f"not {what}: {self.last}"
            return self.last


@contextmanager
def process(*words: str) -> Iterator["subprocess.Popen[str]"]:
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@pytest.fixture
def wire() -> Iterator[Wire]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    wire = Wire()
    try:
        wire.build()
    except AssertionError as error:
        wire.tear()
        pytest.skip(f"no network namespaces here: {error}")
    try:
        yield wire
    finally:
        wire.tear()


def inside(name: str, *words: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", name, *words)


def await_socket(path: Path, control: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        assert control.poll() is None, control.stdout and control.stdout.read()
        assert time.monotonic() < deadline, "control did not start"
        time.sleep(0.05)


def await_state(admin: AdminClient, state: str) -> dict[str, Any]:
    """Return the gateway's row once control sees it so: in step, or left after ten silent seconds."""
    deadline = time.monotonic() + WAIT_S
    while True:
        (row,) = admin.get("/v1/gateways")
        if row["state"] == state and not (state == "following" and row["lag"]):
            return dict(row)
        assert time.monotonic() < deadline, row
        time.sleep(0.2)


def test_a_gateway_that_is_cut_off_denies_when_stale_and_recovers_by_itself(
    tmp_path: Path, wire: Wire
) -> None:
    bundle, state = tmp_path / "bundle", tmp_path / "control"
    run(PYTHON, "-m", "limen", "init", str(bundle), "--domain", "limen.test")
    serve = ("-m", "limen", "control", "--state", str(state), "--bundle", str(bundle))
    port = ("--gateways", f"{CONTROL_IP}:9443")
    with process(*inside(wire.control, PYTHON, *serve, *port)) as control:
        admin_socket = StateDir(state.resolve()).socket("admin")
        await_socket(admin_socket, control)
        admin = AdminClient(admin_socket)
        threading.Thread(target=lambda: control.stdout and control.stdout.read(), daemon=True).start()
        token = admin.post("/v1/gateways/tokens", {"node": "gw1", "reason": "test"})["token"]
        site = tmp_path / "gw1"
        join = inside(wire.gateway, PYTHON, "-m", "limen", "gateway", "join", "--state", str(site))
        assert "Joined as gw1" in run(*join, input=token)
        follow = inside(wire.gateway, PYTHON, str(KIT / "network_gateway.py"))
        with process(*follow, str(site), str(STALENESS_MAX_S)) as gateway:
            seen = Lines(gateway)
            seen.until(lambda line: line["code"] == "PERMITTED", "allowed")
            for n, cut in enumerate(
                (lambda: wire.cut(wire.control), lambda: wire.cut(wire.gateway), wire.unplug), 1
            ):
                cut()
                person = {"id": f"p{n}", "name": f"P {n}", "email": f"p{n}@limen.test"}
                admin.post("/v1/people", person)  # control goes on, and commits
                stale = seen.until(lambda line: line["code"] == "STATE_STALE", "stale")
                assert stale["age"] > STALENESS_MAX_S
                await_state(admin, "away")
                wire.mend()
                well = seen.until(
                    lambda line, n=n: line["code"] != "STATE_STALE" and line["people"] == n,  # type: ignore[misc]
                    "well again",
                )
                assert well["age"] < STALENESS_MAX_S
            await_state(admin, "following")
            admin.delete("/v1/gateways/gw1", reason="stolen")
            seen.until(lambda line: not line["connected"], "cut off")
            seen.until(lambda line: line["code"] == "STATE_STALE", "stale for good")

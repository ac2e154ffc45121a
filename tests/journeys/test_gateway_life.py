"""The processes of a gateway: an upgrade cuts nobody, and whatever is killed or hangs lets nothing run on.

One system for all; each test leaves it whole.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from attack_rig import Person
from attack_wire import Wire, eventually
from demo_rig import Demo
from gateway_rig import (
    APP,
    Live,
    Ticker,
    blocked_loop,
    brain,
    envoy,
    events,
    is_gone,
    measured,
    memory_kib,
    status,
    ticking_demo,
    wait_gone,
)

from limen.journal.query import Query
from limen.journal.reader import JournalReader
from limen.services.state import StateDir

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("gateway")]

Record = Callable[[str, object], None]
RECOVERS_WITHIN_S = 60.0
HOST_MEMORY_MAX_KIB = 40_000
EX_SOFTWARE = 70  # with which the leash's watchdog ends the process


@pytest.fixture(scope="module")
def system() -> Iterator[tuple[Demo, Ticker]]:
    with ticking_demo() as found:
        yield found


@pytest.fixture
def demo(system: tuple[Demo, Ticker]) -> Demo:
    assert eventually(lambda: brain(system[0]) and envoy(system[0]), RECOVERS_WITHIN_S)
    return system[0]


@pytest.fixture
def wire(demo: Demo) -> Wire:
    return Wire(demo)


@pytest.fixture
def person(demo: Demo) -> Person:
    return Person.enrolled(demo, "staff")


class Asking:
    """Somebody who asks again and again, and remembers each answer."""

    def __init__(self, wire: Wire, cookie: str) -> None:
        self.answers: list[int] = []
        self._wire, self._cookie = wire, cookie
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "Asking":
        self._thread.start()
        assert eventually(lambda: 200 in self.answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _ask(self) -> None:
        while not self._over.wait(0.01):
            try:
                self.answers.append(self._wire.ask(APP, cookie=self._cookie).status)
            except OSError:
                self.answers.append(0)


def upgrade(demo: Demo) -> None:
    done = demo.limen("gateway", "upgrade")
    assert done.returncode == 0, done.stderr
    assert "serves" in done.stdout


def test_an_upgrade_cuts_nobody_and_what_lives_on_is_still_cut_by_a_change(
    demo: Demo, wire: Wire, person: Person, record_property: Record
) -> None:
    other = Person.enrolled(demo, "staff")
    stays, goes = Live(wire, other.open(APP)), Live(wire, person.open(APP))
    before, old = brain(demo), status(demo).active
    record_property("host_memory_kib", memory_kib(status(demo).pid))
    record_property("brain_memory_kib", memory_kib(before))
    assert memory_kib(status(demo).pid) <= HOST_MEMORY_MAX_KIB
    with Asking(wire, person.open(APP)) as asking:
        record_property("upgraded_after_s", round(measured(lambda: upgrade(demo) is None), 2))
        assert eventually(lambda: status(demo).slots[old].phase == "retiring")
        seen = len(asking.answers)
        assert eventually(lambda: len(asking.answers) > seen + 20)
    assert set(asking.answers) == {200}, "no request failed"
    assert brain(demo) not in (0, before)
    assert not is_gone(before), "the old brain holds its streams"
    assert eventually(lambda: status(demo).slots[old].streams == 2)
    assert stays.ticks_on() and goes.ticks_on()
    again = demo.limen("gateway", "upgrade")
    assert again.returncode == 1
    assert "still holds live streams" in again.stderr
    fresh = Live(wire, person.open(APP))
    assert eventually(lambda: status(demo).slots[status(demo).active].streams == 1)
    began = time.monotonic()
    demo.admin.delete("/v1/sessions", person=person.username, reason="after the upgrade")
    assert goes.ended.wait(10) and fresh.ended.wait(10), "both brains cut"
    record_property("cut_after_s", round(max(goes.last_at, fresh.last_at) - began, 3))
    assert stays.ticks_on(), "nobody else was disturbed"
    assert not is_gone(before)
    stays.close()
    assert wait_gone(before, 20), "the old brain ends with its last stream"
    assert eventually(lambda: set(status(demo).slots) == {status(demo).active})


def test_decisions_of_both_brains_are_found_under_the_gateways_name(
    demo: Demo, wire: Wire, person: Person
) -> None:
    cookie = person.open(APP)
    told = []
    for _ in range(2):
        assert wire.ask(APP, "/here", cookie=cookie).status == 200
        upgrade(demo)
        assert eventually(lambda: len(status(demo).slots) == 1)
    reader = JournalReader(StateDir(demo.state_dir).journal)
    assert {"gateway-a", "gateway-b"} <= set(reader.nodes())

    def found() -> bool:
        query = Query(subject=f'User::"{person.username}"', limit=100)
        told[:] = [one for one in reader.search(query) if one.decision.path == "/here"]
        return len(told) == 2 and all(one.outcome for one in told)

    assert eventually(found), "each with its outcome"
    assert {one.decision.node for one in told} == {"gateway"}


def test_an_upgrade_that_fails_leaves_what_was(demo: Demo, wire: Wire, person: Person) -> None:
    cookie = person.open(APP)
    live, before = Live(wire, cookie), brain(demo)
    other = "b" if status(demo).active == "a" else "a"
    socket_path = StateDir(demo.state_dir).run / f"leash-{other}.sock"
    socket_path.unlink(missing_ok=True)
    socket_path.mkdir()  # where the new brain would listen
    try:
        done = demo.limen("gateway", "upgrade")
    finally:
        socket_path.rmdir()
    assert done.returncode == 1
    assert "not upgraded" in done.stderr
    assert "goes on as it was" in done.stderr
    assert brain(demo) == before
    assert live.ticks_on()
    assert wire.ask(APP, cookie=cookie).status == 200
    assert set(status(demo).slots) == {status(demo).active}
    live.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_brain_that_is_gone_or_stands_still_lets_nothing_run_on(
    demo: Demo, wire: Wire, person: Person, how: signal.Signals, record_property: Record
) -> None:
    cookie = person.open(APP)
    live, before = Live(wire, cookie), brain(demo)
    with Asking(wire, cookie) as asking:
        began = time.monotonic()
        os.kill(before, how)
        assert live.ended.wait(20), "the stream runs free"
        record_property("cut_after_s", round(live.last_at - began, 2))
        assert eventually(lambda: brain(demo) not in (0, before), RECOVERS_WITHIN_S)
        assert eventually(lambda: wire.ask(APP, cookie=cookie).status == 200, RECOVERS_WITHIN_S)
        record_property("recovered_after_s", round(time.monotonic() - began, 2))
    assert set(asking.answers) <= {200, 503}
    assert 503 in asking.answers
    assert is_gone(before)
    assert Live(wire, cookie).ticks_on()


def test_a_brain_whose_loop_is_blocked_ends_itself_and_its_streams(
    demo: Demo, wire: Wire, person: Person, record_property: Record
) -> None:
    """Only the thread of the loop stands still: gRPC's own threads go on to answer Envoy's pings."""
    cookie = person.open(APP)
    live, before = Live(wire, cookie), brain(demo)
    began = time.monotonic()
    with blocked_loop(before) as ended:
        assert live.ended.wait(20), "the stream runs free"
        record_property("cut_after_s", round(live.last_at - began, 2))
        # By its own watchdog; on a machine so busy that this comes late, by its host.
        assert ended() in (EX_SOFTWARE << 8, signal.SIGKILL)
    assert eventually(lambda: brain(demo) not in (0, before), RECOVERS_WITHIN_S)
    assert eventually(lambda: wire.ask(APP, cookie=cookie).status == 200, RECOVERS_WITHIN_S)
    record_property("recovered_after_s", round(time.monotonic() - began, 2))


def test_an_envoy_that_was_killed_is_back_and_asks_the_same_brain(
    demo: Demo, wire: Wire, person: Person, record_property: Record
) -> None:
    cookie = person.open(APP)
    live, before, killed = Live(wire, cookie), brain(demo), envoy(demo)
    os.kill(killed, signal.SIGKILL)
    assert live.ended.wait(10)
    began = time.monotonic()

    def answers() -> bool:
        try:
            return wire.ask(APP, cookie=cookie).status == 200
        except OSError:
            return False

    assert eventually(answers, RECOVERS_WITHIN_S)
    record_property("recovered_after_s", round(time.monotonic() - began, 2))
    assert envoy(demo) not in (0, killed)
    assert brain(demo) == before


def test_sigterm_lets_requests_finish_ends_streams_and_leaves_no_process(
    system: tuple[Demo, Ticker], demo: Demo, wire: Wire, person: Person, record_property: Record
) -> None:
    ticker = system[1]
    cookie = person.open(APP)
    live = Live(wire, cookie)
    host, pids = status(demo).pid, (status(demo).pid, brain(demo), envoy(demo))
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(wire.ask(APP, "/slow", cookie=cookie).status))
    asking.start()
    assert ticker.asked.wait(10)
    began = time.monotonic()
    os.kill(host, signal.SIGTERM)
    assert live.ended.wait(10), "a stream is ended, with its cause"
    assert not is_gone(host), "a request is still on its way"
    ticker.go.set()
    asking.join(10)
    assert answers == [200]
    for pid in pids:
        assert wait_gone(pid, 15)
    record_property("stopped_after_s", round(time.monotonic() - began, 2))
    ticker.go.clear()
    ticker.asked.clear()
    assert any(event["cause"] == "stopping" for event in events(demo, "stream.ended"))
    assert eventually(lambda: status_or_none(demo) not in (None, host), RECOVERS_WITHIN_S), (
        "`up` starts another"
    )
    assert list((demo.state_dir / "journal").rglob("*.cut")) == []


def status_or_none(demo: Demo) -> int | None:
    path = StateDir(demo.state_dir).run / "gateway.json"
    return status(demo).pid if path.exists() else None


def test_kill_9_of_the_host_takes_brain_and_envoy_along(
    demo: Demo, wire: Wire, person: Person, record_property: Record
) -> None:
    cookie = person.open(APP)
    live = Live(wire, cookie)
    host, pids = status(demo).pid, (brain(demo), envoy(demo))
    began = time.monotonic()
    os.kill(host, signal.SIGKILL)
    assert live.ended.wait(10)
    assert all(wait_gone(pid, 10) for pid in pids)
    record_property("gone_after_s", round(time.monotonic() - began, 2))
    assert eventually(lambda: status(demo).pid != host and brain(demo), RECOVERS_WITHIN_S)
    assert eventually(lambda: wire.ask(APP, cookie=cookie).status == 200, RECOVERS_WITHIN_S)


def test_upgrade_without_a_gateway_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("s")
    folder.chmod(0o700)
    StateDir.create(folder)
    done = subprocess.run(
        [sys.executable, "-m", "limen", "gateway", "upgrade", "--state", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No gateway runs" in done.stderr

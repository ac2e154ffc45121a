"""kill -9 of any process at any point: nothing acknowledged is lost, nothing is allowed that should not be.

One system and one scripted run of requests for all kills; the tests of this file go in order.
"""

import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from attack_rig import Person, Target, attacked_demo, echoed
from attack_traffic import DECISION, RECOVERS_WITHIN_S, Traffic
from attack_wire import NAVIGATION, Wire, child, eventually, family
from demo_rig import Demo, running_demo

from limen.core.errors import LimenError
from limen.journal.checkpoints import load_countersigner
from limen.journal.findings import Doubt
from limen.journal.note import Algorithm
from limen.journal.statements import Places, Trust
from limen.journal.verify import verify_journals

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("kill")]

Record = Callable[[str, object], None]
GONE_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def attacked() -> Iterator[Target]:
    with attacked_demo() as target:
        yield target


@pytest.fixture
def victim(attacked: Target) -> Target:
    """The system, whole again after what the test before did to it."""
    assert eventually(lambda: is_whole(attacked), RECOVERS_WITHIN_S)
    return attacked


def is_whole(target: Target) -> bool:
    """Return whether every door answers: an app's and that of sign-in."""
    try:
        doors = [target.wire.ask(host, "/login", *NAVIGATION).status for host in ("vault", "auth")]
    except OSError:
        return False
    return max(doors) < 500


def pid_of(demo: Demo, name: str) -> int:
    """Return a child's pid once it is there, or 0."""
    try:
        return child(demo, name)
    except StopIteration:
        return 0


def is_running(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in (Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return False


def administers(demo: Demo) -> bool:
    """Return whether control answers."""
    try:
        return bool(demo.admin.get("/v1/status"))
    except LimenError:
        return False


def has_successor(demo: Demo, name: str, old: int) -> bool:
    """Return whether another process has taken the place of `old`."""
    return pid_of(demo, name) not in (0, old)


def kill_again(demo: Demo, name: str, old: int) -> int:
    """Kill the successor of `old` while it starts; return its pid."""
    found = eventually(lambda: pid_of(demo, name) not in (0, old) and pid_of(demo, name))
    os.kill(found, signal.SIGKILL)
    return int(found)


def doubts(demo: Demo) -> tuple[Doubt, ...]:
    """Return what `limen audit verify` finds wrong."""
    state = demo.state_dir
    key = load_countersigner(state / "keys", state / "journal").key(Algorithm.COSIGNATURE)
    return verify_journals(Places(state / "journal", state / "checkpoints"), Trust(key)).doubts


@pytest.mark.parametrize("name", ["explain", "envoy", "brain", "gateway", "control"])
def test_kill_9_loses_nothing_and_opens_nothing(victim: Target, name: str, record_property: Record) -> None:
    demo = victim.demo
    with Traffic(victim) as traffic:
        assert eventually(traffic.whole, RECOVERS_WITHIN_S)
        assert eventually(lambda: len(traffic.added) > 5 and len(traffic.decided) > 20)
        old, envoy = pid_of(demo, name), pid_of(demo, "envoy")
        assert old
        os.kill(old, signal.SIGKILL)
        began = time.monotonic()
        if name != "explain":  # that one is started when it is next needed
            kill_again(demo, name, old)
        before = len(traffic.added), len(traffic.decided)
        assert eventually(traffic.whole, RECOVERS_WITHIN_S), "it recovers by itself"
        record_property("recovered_after_s", round(time.monotonic() - began, 1))
        if name == "gateway":
            assert eventually(lambda: not is_running(envoy)), "no orphan Envoy keeps the port"
        assert eventually(
            lambda: len(traffic.added) > before[0] + 5 and len(traffic.decided) > before[1] + 20
        )
    assert traffic.wrong == []
    assert traffic.missing() == ([], set())
    assert doubts(demo) == (), "a torn tail is none"


def test_a_session_ended_in_the_moment_of_a_kill_stays_ended(victim: Target) -> None:
    for name in ("brain", "gateway", "control"):
        person = Person.enrolled(victim.demo, "staff")
        cookie = person.open("vault")
        assert victim.wire.ask("vault", cookie=cookie).status == 200
        victim.demo.admin.delete("/v1/sessions", person=person.username, reason="kill test")
        old = child(victim.demo, name)
        os.kill(old, signal.SIGKILL)
        seen: list[int] = []

        def refused(cookie: str = cookie, seen: list[int] = seen) -> bool:
            try:
                seen.append(victim.wire.ask("vault", cookie=cookie).status)
            except OSError:
                return False
            return seen[-1] == 401

        assert eventually(refused, RECOVERS_WITHIN_S)
        # Envoy may have answered before it followed its host; what counts is the system that comes after.
        assert eventually(partial(has_successor, victim.demo, name, old), RECOVERS_WITHIN_S)
        assert eventually(lambda: all(refused() for _ in range(20)), RECOVERS_WITHIN_S)
        # Control answers as soon as it has committed; killed in that moment, it has not yet told gateways.
        assert name == "control" or 200 not in seen
        assert eventually(lambda: administers(victim.demo), RECOVERS_WITHIN_S)


def test_a_disk_that_is_full_allows_nothing_that_could_not_be_recorded(
    victim: Target, record_property: Record
) -> None:
    """The gateway's files may not grow (RLIMIT_FSIZE): as good as a full disk (`EFBIG`, `Reserve`)."""
    person = Person.enrolled(victim.demo, "staff")
    ended = Person.enrolled(victim.demo, "staff")
    cookie, over, wire = person.open("vault"), ended.open("vault"), victim.wire
    gateway = child(victim.demo, "brain")
    before = resource.prlimit(gateway, resource.RLIMIT_FSIZE)
    seen = len(victim.echo.seen)
    resource.prlimit(gateway, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        for _ in range(3):
            page = wire.ask("vault", "/full", *NAVIGATION, cookie=cookie)
            assert (page.status, page.get("retry-after")) == (503, "5")
            assert wire.ask("vault", "/healthz").status == 503, "public paths are recorded, too"
        assert [echoed for echoed in victim.echo.seen[seen:] if echoed.target == "/full"] == []
        victim.demo.admin.delete("/v1/sessions", person=ended.username, reason="revocation goes on")
    finally:
        resource.prlimit(gateway, resource.RLIMIT_FSIZE, before)
    began = time.monotonic()
    assert eventually(lambda: wire.ask("vault", cookie=cookie).status == 200), "it goes on by itself"
    record_property("recovered_after_s", round(time.monotonic() - began, 1))
    assert wire.ask("vault", cookie=over).status == 401
    assert doubts(victim.demo) == ()


def test_a_full_disk_is_bridged_to_a_bound_and_everything_is_recorded_in_the_end(victim: Target) -> None:
    """`on_full: buffer`: what is allowed meanwhile waits in memory, and is in the journal after all."""
    victim.apply(lambda content: content.update(journal={"on_full": "buffer", "buffer": "1MiB"}))
    demo, wire = victim.demo, victim.wire
    person, ended = Person.enrolled(demo, "staff"), Person.enrolled(demo, "staff")
    cookie, over = person.open("vault"), ended.open("vault")
    told: set[str] = set()

    def ask(path: str = "/") -> int:
        reply = wire.ask("vault", path, cookie=cookie)
        if reply.status == 200:
            told.update(value for name, value in echoed(reply).headers if name.lower() == DECISION)
        return reply.status

    brain = child(demo, "brain")
    before = resource.prlimit(brain, resource.RLIMIT_FSIZE)
    resource.prlimit(brain, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        assert [ask(f"/full{number}") for number in range(20)] == [200] * 20
        demo.admin.delete("/v1/sessions", person=ended.username, reason="revocation goes on")
        assert eventually(lambda: wire.ask("vault", cookie=over).status == 401)
        assert demo.limen("status").returncode == 0, "and so does the local CLI"
        assert eventually(lambda: ask(f"/{'long' * 1500}") == 503), "to the bound, and no further"
    finally:
        resource.prlimit(brain, resource.RLIMIT_FSIZE, before)
    assert eventually(lambda: ask() == 200)
    assert eventually(lambda: [e["kind"] for e in demo.admin.get("/v1/events", kind="journal.drained")])
    kept = {row["id"] for row in demo.admin.get("/v1/decisions", since_s=600, limit=10_000)}
    assert told - kept == set() and len(told) > 20
    assert doubts(demo) == ()


def test_an_explaining_process_that_hangs_denies_in_time_without_a_cure(victim: Target) -> None:
    person = Person.enrolled(victim.demo, "staff")
    cookie = person.open("vault")
    assert victim.wire.ask("vault", "/admin", *NAVIGATION, cookie=cookie).status == 403
    worker = child(victim.demo, "explain")
    os.kill(worker, signal.SIGSTOP)
    try:
        other = Person.enrolled(victim.demo, "staff")
        began = time.monotonic()
        assert victim.wire.ask("vault", "/admin", *NAVIGATION, cookie=other.open("vault")).status == 403
        assert time.monotonic() - began < 10
        assert victim.wire.ask("vault", cookie=cookie).status == 200, "the others are not kept waiting"
    finally:
        os.kill(worker, signal.SIGCONT)


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def left_over(pids: set[int], state: Path) -> dict[int, str]:
    """Return the processes of a demo that still run."""
    named = {pid: command for pid, command in family(1).items() if str(state) in command}
    return {pid: named.get(pid, "?") for pid in pids | set(named) if is_running(pid) and pid != os.getpid()}


def test_kill_9_of_the_supervisor_leaves_nothing_running_and_loses_nothing(
    victim: Target, record_property: Record
) -> None:
    demo, wiki = victim.demo, Person.enrolled(victim.demo, "staff")
    cookie = wiki.open("wiki")
    pids = set(family(int(demo.ready["pid"])))
    assert len(pids) >= 3
    os.kill(int(demo.ready["pid"]), signal.SIGKILL)
    began = time.monotonic()
    assert eventually(lambda: not left_over(pids, demo.state_dir), GONE_WITHIN_S), left_over(
        pids, demo.state_dir
    )
    assert port_is_free(demo.port)
    record_property("gone_after_s", round(time.monotonic() - began, 1))
    with running_demo("--state", str(demo.state_dir)) as successor:
        assert successor.state_dir == demo.state_dir
        assert eventually(lambda: Wire(successor).ask("wiki", cookie=cookie).status == 200), (
            "a restart signs nobody out"
        )
        assert successor.admin.get(f"/v1/people/{wiki.username}")
        end_by_ctrl_c(successor, record_property)


def end_by_ctrl_c(demo: Demo, record_property: Record) -> None:
    """Ctrl-C leaves nothing."""
    root = int(demo.ready["pid"])
    pids = {root, *family(root)}
    os.kill(root, signal.SIGINT)
    began = time.monotonic()
    assert eventually(lambda: not left_over(pids, demo.state_dir), GONE_WITHIN_S), left_over(
        pids, demo.state_dir
    )
    record_property("ended_after_s", round(time.monotonic() - began, 1))
    assert port_is_free(demo.port)
    assert not list((demo.state_dir / "journal").rglob("*.cut")), "every segment was sealed"

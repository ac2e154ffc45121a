"""Laws of shipping: control's copy is the gateway's journal, whatever is cut, repeated, swapped or killed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ship_world import NODE, append_some, mirrors_at, open_journal, records_of, ship_all

from limen.administrator.feed_wire import render_line
from limen.administrator.ship_checks import Alarm
from limen.administrator.ship_mirrors import Mirrors
from limen.administrator.ship_source import Source
from limen.administrator.ship_wire import Batch, Place, parse_from_shipper

JOURNAL = f"{NODE}-a"
OPERATIONS = st.lists(
    st.sampled_from(["write", "write", "reopen", "ship", "ship", "repeat", "swap", "restart", "turn"]),
    min_size=1,
    max_size=25,
)
LAW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def wired(batch: Batch) -> Batch:
    """Return a batch as it is after its way over the wire."""
    parsed = parse_from_shipper(render_line(batch))
    assert isinstance(parsed, Batch)
    return parsed


class World:
    """A gateway's machine and control's, with the line between them in the test's hands."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.near, self.far = folder / "gateway", folder / "control"
        self.far.mkdir(parents=True)
        self.journal = open_journal(self.near, JOURNAL)
        self.mirrors = mirrors_at(self.far)
        self.source = Source(self.near)
        self.acknowledged = Place()
        self.sent: list[Batch] = []

    def write(self) -> None:
        append_some(self.journal, 7)

    def turn(self) -> None:
        append_some(self.journal, 60)  # enough for another segment

    def reopen(self) -> None:
        self.journal.close()
        self.journal = open_journal(self.near, JOURNAL)

    def ship(self) -> None:
        batch = self.source.next(JOURNAL, self.acknowledged)
        if batch is not None:
            self.acknowledged = self.mirrors.take(wired(batch)).place
            self.sent.append(batch)

    def repeat(self) -> None:
        for batch in self.sent[-3:]:
            before = self.acknowledged
            assert self.mirrors.take(wired(batch)).place == before

    def swap(self) -> None:
        """Send what comes after the next before it: it must be refused, and nothing changes."""
        batch = self.source.next(JOURNAL, self.acknowledged)
        if batch is None or len(batch.frames) < 4:
            return
        later = msgspec.structs.replace(
            batch,
            first=batch.first + sum(kind < 64 for kind, _ in batch.frames[:2]) + 1,
            frames=batch.frames[3:],
        )
        before = records_of(self.far / JOURNAL, edges=True)
        with pytest.raises(Alarm):
            self.mirrors.take(wired(later))
        assert records_of(self.far / JOURNAL, edges=True) == before

    def restart(self) -> None:
        self.mirrors.close()
        self.mirrors = mirrors_at(self.far)
        self.source = Source(self.near)
        self.acknowledged = next((one.place for one in self.mirrors.places()), Place())

    def close(self) -> None:
        self.mirrors.close()
        self.journal.close()


@LAW
@given(operations=OPERATIONS)
def test_h1_same(tmp_path: Path, operations: list[str]) -> None:
    world = World(tmp_path / "w")
    try:
        for operation in operations:
            getattr(world, operation)()
            mine, theirs = records_of(world.near / JOURNAL), records_of(world.far / JOURNAL)
            assert theirs == mine[: len(theirs)]
    finally:
        world.journal.close()
    ship_all(world.source, world.mirrors, JOURNAL, world.acknowledged)
    world.mirrors.close()
    assert records_of(world.far / JOURNAL) == records_of(world.near / JOURNAL)
    for path in sorted((world.near / JOURNAL).glob("*.seg")):
        assert (world.far / JOURNAL / path.name).read_bytes() == path.read_bytes()


@LAW
@given(cut=st.integers(0, 4000), keep=st.integers(0, 30))
def test_h3_once_after_a_torn_write_of_control(tmp_path: Path, cut: int, keep: int) -> None:
    world = World(tmp_path / "w")
    append_some(world.journal, 20)
    world.ship()
    place = world.acknowledged
    append_some(world.journal, keep)
    batch = world.source.next(JOURNAL, place)
    if batch is not None:
        world.mirrors.take(wired(batch))
    world.mirrors.close()
    path = world.far / JOURNAL / f"{place.boot}-{place.number:08d}.seg"
    size = path.stat().st_size
    os.truncate(path, max(place.size, size - cut))  # never below what was synced
    world.mirrors = mirrors_at(world.far)
    (kept,) = world.mirrors.places()
    assert kept.place.end >= place.end
    world.journal.close()
    ship_all(world.source, world.mirrors, JOURNAL, kept.place)
    world.mirrors.close()
    assert records_of(world.far / JOURNAL) == records_of(world.near / JOURNAL)


CONTROL = """
import sys
from pathlib import Path
from ship_world import mirrors_at
from limen.administrator.feed_wire import render_line
from limen.administrator.ship_wire import parse_from_shipper
mirrors = mirrors_at(Path(sys.argv[1]))
for kept in mirrors.places():
    sys.stdout.buffer.write(render_line(kept))
sys.stdout.buffer.write(b"ready\\n")
sys.stdout.buffer.flush()
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(render_line(mirrors.take(parse_from_shipper(line))))
    sys.stdout.buffer.flush()
"""


def test_h2_kept_when_control_is_killed_at_random(tmp_path: Path) -> None:
    near, far = tmp_path / "gateway", tmp_path / "control"
    far.mkdir()
    journal = open_journal(near, JOURNAL)
    source, place, acknowledged = Source(near), Place(), 0
    kit = str(Path(__file__).parents[1] / "kit")
    for round_ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", CONTROL, str(far)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": kit},
        ) as control:
            assert control.stdin is not None
            assert control.stdout is not None
            for line in iter(control.stdout.readline, b"ready\n"):
                place = msgspec.convert(msgspec.json.decode(line)["place"], Place)
                assert place.end >= acknowledged
            for _ in range(3 + 4 * round_):
                append_some(journal, 9)
                batch = source.next(JOURNAL, place)
                assert batch is not None
                control.stdin.write(render_line(batch))
                control.stdin.flush()
                place = msgspec.convert(msgspec.json.decode(control.stdout.readline())["place"], Place)
                acknowledged = place.end
            append_some(journal, 40)
            batch = source.next(JOURNAL, place)
            assert batch is not None
            control.stdin.write(render_line(batch))
            control.stdin.flush()
            os.kill(control.pid, signal.SIGKILL)  # somewhere in the middle of it
        kept = records_of(far / JOURNAL)
        assert len(kept) >= acknowledged
    journal.close()
    mirrors = mirrors_at(far)
    (standing,) = mirrors.places()
    ship_all(source, mirrors, JOURNAL, standing.place)
    mirrors.close()
    assert records_of(far / JOURNAL) == records_of(near / JOURNAL)


def test_h5_synced_and_h6_all_from_any_place(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, JOURNAL)
    append_some(journal, 50)
    journal.close()
    frames = [(kind, payload) for kind, _, payload in records_of(tmp_path / JOURNAL, edges=True)]
    source, place, seen = Source(tmp_path), Place(), 0
    far = tmp_path / "far"
    far.mkdir()
    mirrors: Mirrors = mirrors_at(far)
    while (batch := source.next(JOURNAL, place)) is not None:
        again = Source(tmp_path).next(JOURNAL, place)  # without what it remembers
        assert again == batch
        taken = [(kind, bytes(payload)) for kind, payload in batch.frames]
        assert taken == frames[seen : seen + len(taken)]
        seen += len(taken)
        place = mirrors.take(batch).place
    assert seen == len(frames)
    mirrors.close()

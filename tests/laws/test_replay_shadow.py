"""S1 once: however often the shadow's process dies, each decision is counted once. S2 bounded: its share."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay_world import Person, Traffic, Visit

from limen.administrator.shadow_run import Shadowing, run_shadow
from limen.administrator.shadow_state import Candidate, read_candidate, read_state, write_candidate
from limen.core.clock import FakeClock
from limen.engine.bundle import parse_bundle
from limen.engine.replay_report import Effect
from limen.engine.replay_run import Replay
from limen.journal.reader import JournalReader
from limen.journal.writer import Journal, JournalOptions

YAML = "domain: limen.test\napps:\n  wiki: {upstream: 'http://127.0.0.1:9001', allow: [%s]}\n"
ACTIVE: Mapping[str, str] = {"limen.yaml": YAML % "group:staff"}
NEXT: Mapping[str, str] = {"limen.yaml": YAML % "group:hr"}
PEOPLE = (Person("ada", ("staff", "hr")), Person("bob", ("staff",)), Person("eve", ("hr",)))
SMALL = JournalOptions(segment_bytes=6_000)  # a new segment every few decisions
NOTHING = Candidate(parse_bundle(NEXT).id, NEXT, 0.0)


class World:
    """Traffic in a journal of its own, and a shadow that dies."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root / "journal", root / "shadow"
        self.folder.mkdir(parents=True)
        self.journal = Journal.open(self.root, "gw", FakeClock(1_800_000_000.0), options=SMALL)
        self.traffic = Traffic(ACTIVE, PEOPLE, self.journal)
        self.shadow = self.live()

    def live(self) -> Shadowing:
        return Shadowing(self.root, self.folder, NOTHING)

    def visit(self, count: int) -> None:
        for number in range(count):
            self.traffic.visit(Visit(PEOPLE[number % 3].name, "wiki", f"/{number}"))

    def whole(self) -> Replay:
        replay = Replay(parse_bundle(NEXT))
        for record in JournalReader(self.root).read():
            replay.feed(record)
        return replay


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(("visit", "step", "save", "kill")), max_size=25))
def test_s1_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    world = World(tmp_path_factory.mktemp("shadow"))
    try:
        for step in steps:
            if step == "visit":
                world.visit(4)
            elif step == "step":
                world.shadow.step(3)
            elif step == "save":
                world.shadow.save(1.0)
            else:
                world.shadow = world.live()  # what was not saved is forgotten
        world.visit(3)
        while world.shadow.step():
            pass
        world.shadow.save(2.0)
        told, whole = world.shadow.state.tally, world.whole().tally
        assert (told.decisions, told.derived, told.same) == (whole.decisions, whole.derived, whole.same)
        assert {(row.effect, row.times, *row.who) for row in told.rows} == {
            (row.effect, row.times, *row.who) for row in whole.rows
        }
        assert not told.missed
    finally:
        world.journal.close()


def test_s2_bounded(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.visit(60)
    world.journal.close()
    stopping = threading.Event()
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    running = threading.Thread(target=run_shadow, args=(world.shadow, stopping), kwargs={"share": 0.05})
    running.start()
    while not world.shadow.state.tally.decisions:
        assert running.is_alive()
        stopping.wait(0.01)
    assert not stopping.wait(1.0)
    used_s, took_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
    stopping.set()
    running.join()
    assert used_s < took_s * 0.5  # far above its share: other threads, and a machine that is busy
    state = read_state(tmp_path / "shadow", NOTHING)
    assert state is not None and state.tally.decisions == 60 and not state.behind
    assert {row.effect for row in state.tally.rows} == {Effect.LOSES, Effect.GAINS}


def test_the_state_of_another_candidate_is_not_gone_on_with(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.visit(3)
    world.shadow.step()
    world.shadow.save(1.0)
    world.journal.close()
    other = Candidate(NOTHING.bundle, NEXT, 5.0)
    assert read_state(world.folder, NOTHING) is not None
    assert read_state(world.folder, other) is None
    (world.folder / "state.json").write_text("{ torn")
    assert read_state(world.folder, NOTHING) is None
    write_candidate(world.folder, other)
    assert read_candidate(world.folder) == other
    assert (world.folder / "candidate.json").stat().st_mode & 0o077 == 0

"""What re-assessment costs: streams that one change closes, how soon, and what others notice of it.

Run `python benchmarks/bench_reassess.py [streams …]`. Real replica, engine, memo and journal; streams whose
`close` notes the time. Prints times; asserts nothing.
"""

import asyncio
import gc
import math
import statistics
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import uvloop

from limen.administrator.active import load_bundle
from limen.administrator.projections import KINDS
from limen.administrator.reassess import Reassessor
from limen.administrator.replica import Replica
from limen.administrator.streams import Ending, LiveStream, Streams, reads_of
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    Change,
    GroupFact,
    PersonFact,
    Projection,
    SessionFact,
    Snapshot,
)
from limen.core.clock import SystemClock
from limen.core.decision import AccessRequest, Network
from limen.core.entities import Status
from limen.core.ids import EntityRef, new_decision_id
from limen.engine.bundle import parse_bundle
from limen.engine.memo import Memo
from limen.journal.writer import Journal

COUNTS = (1_000, 5_000)
PER_PERSON = 5
GROUPS = 10  # that each person is in
YAML = """\
domain: limen.test
apps:
  wiki: {upstream: "http://127.0.0.1:9001", allow: [group:staff]}
  tool: {upstream: "http://127.0.0.1:9002", allow: [group:staff]}
"""
FACTOR = """\
@id("factor") @reason("Sign in with a second factor.")
forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };
@id("fresh") @reason("Sign in again.")
forbid(principal is User, action, resource)
unless { context has session && context.session.age <= duration("8h") };
"""
OPEN = {"limen.yaml": YAML, "policies/guardrails/all.cedar": FACTOR}
SHUT = {**OPEN, "policies/guardrails/all.cedar": FACTOR.replace(">= 2", ">= 3")}
SAME = {**OPEN, "limen.yaml": YAML + "  more: {upstream: 'http://127.0.0.1:9003'}\n"}
PROBE_S = 0.001


class World:
    """A gateway's brain with `count` live streams."""

    def __init__(self, count: int, folder: Path) -> None:
        self.clock = SystemClock()
        self.now = self.clock.now()
        self.closed_at: list[float] = []
        self.replica = Replica(load_bundle)
        self.streams = Streams(self.clock)
        self.journal = Journal.open(folder / "journal", "gateway", self.clock)
        self.people = count // PER_PERSON
        rows = [bundle(OPEN), *(GroupFact(f"g{n}") for n in range(GROUPS)), GroupFact("staff")]
        for n in range(self.people):
            rows += self._person(n)
        self.replica.apply_snapshot(Snapshot("e", 1, tuple((1, row) for row in rows)))
        self.confirm()
        self.reassessor = Reassessor(
            self.replica, self.streams, Memo(), self.journal, self.clock, node="gateway"
        )
        tracemalloc.start()
        fresh = [self._stream(n) for n in range(count)]
        for stream in fresh:
            stream.reads = self._reads(stream.question)
        before = tracemalloc.get_traced_memory()[0]
        for stream in fresh:
            self.streams.add(stream)
        self.registry_bytes = (tracemalloc.get_traced_memory()[0] - before) / count
        tracemalloc.stop()

    def _person(self, n: int) -> list[Projection]:
        person, session = f"p{n}", f"s{n}"
        groups = ("staff", *(f"g{g}" for g in range(GROUPS)))
        return [
            PersonFact(id=person, name=person, email="", groups=groups),
            SessionFact(
                session, person, 2, False, ("password", "totp"), self.now, self.now, self.now + 40_000
            ),
            AppSessionFact(f"c{n}", session, "wiki", self.now + 40_000),
        ]

    def _stream(self, n: int) -> LiveStream:
        who = n % self.people
        wiki = EntityRef("App", "wiki")
        question = AccessRequest(
            id=new_decision_id(self.now),
            at=self.now,
            subject=EntityRef("User", f"p{who}"),
            action="read",
            resource=wiki,
            session_id=f"s{who}",
            method="GET",
            host="wiki.limen.test",
            path="/live",
        )
        return LiveStream(
            question=question,
            network=Network(),
            app="wiki",
            token_hash=f"c{who}",
            token_kind="cookie",
            staleness_max_s=300.0,
            protocol="websocket",
            opened_at=self.now,
            max_at=self.now + 40_000,
            close=self._close,
        )

    def _reads(self, question: AccessRequest) -> tuple[EntityRef, ...]:
        facts = self.replica.facts(question.subject, question.resource, at=self.now)
        assert facts is not None
        return reads_of(facts)

    def _close(self, _ending: Ending) -> None:
        self.closed_at.append(time.perf_counter())

    def confirm(self) -> None:
        """Know that nothing newer exists."""
        self.replica.confirm(self.clock.boot_s(), self.replica.seq)

    def commit(self, value: Projection) -> None:
        """Apply one change."""
        seq = self.replica.seq + 1
        self.replica.apply([Change(seq, seq, KINDS[type(value)], value.id, value, "b", "b", self.now)])
        self.confirm()


def bundle(files: dict[str, str]) -> BundleFact:
    """A bundle as the feed carries it."""
    return BundleFact("active", parse_bundle(files).id, files)


async def watch(stalls: list[float]) -> None:
    """Note how late the loop comes to something that is due each millisecond."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(PROBE_S)
        stalls.append(time.perf_counter() - began - PROBE_S)


async def measure(world: World, name: str, change: Projection) -> None:
    """Apply a change, and print how it went."""
    stalls: list[float] = []
    world.closed_at.clear()
    tally = world.reassessor.tally
    kept, open_before = tally.kept, len(world.streams)
    running = asyncio.create_task(world.reassessor.run())
    await asyncio.sleep(0.05)
    probe = asyncio.create_task(watch(stalls))
    await asyncio.sleep(0.02)
    began = time.perf_counter()
    world.commit(change)
    applied = time.perf_counter()
    await asyncio.sleep(0)  # the applying itself is told apart
    while world.reassessor.waiting:  # noqa: ASYNC110 - looked at as often as the probe looks
        await asyncio.sleep(PROBE_S)
    took = time.perf_counter() - applied
    for task in (running, probe):
        task.cancel()
    closed = sorted(at - applied for at in world.closed_at)
    decided = len(closed) + tally.kept - kept
    line = f"{name:32} of {open_before}: apply {(applied - began) * 1000:.1f} ms, decided {decided}"
    line += f" in {took * 1000:.1f} ms ({took / max(decided, 1) * 1e6:.0f} us each)"
    if closed:
        line += f", {len(closed)} closed: p50 {quantile(closed, 0.5):.1f} p99 {quantile(closed, 0.99):.1f}"
        line += f" max {closed[-1] * 1000:.1f} ms"
    late = sorted(stalls)
    line += f"; loop late p50 {quantile(late, 0.5):.1f} p99 {quantile(late, 0.99):.1f}"
    line += f" max {late[-1] * 1000:.1f} ms, longest slice {tally.longest_s * 1000:.1f} ms"
    print(line)


def quantile(ordered: list[float], q: float) -> float:
    """Return a quantile in milliseconds."""
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1000


def settle(world: World) -> float:
    """Decide every stream once, as after opening; return how long it took."""
    began = time.perf_counter()
    world.reassessor.work(math.inf)
    return time.perf_counter() - began


async def run(count: int) -> None:
    """Measure with `count` streams."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(count, Path(folder))
        took = settle(world)
        world.reassessor.tally.longest_s = 0.0
        gc.collect()
        gc.freeze()  # as the gateway does
        gc.set_threshold(20_000, 20, 50)
        print(f"\n{count} streams of {world.people} people; registry {world.registry_bytes:.0f} B each")
        print(f"first decision after opening: {took / count * 1e6:.0f} us each")
        one = []
        for n in range(5):
            person = PersonFact(id=f"p{n}", name="x", email="", groups=("staff",), status=Status.SUSPENDED)
            began = time.perf_counter()
            world.closed_at.clear()
            world.commit(person)
            world.reassessor.work(1.0)
            one.append(max(world.closed_at) - began)
        median_ms = statistics.median(one) * 1000
        print(f"one person suspended, {PER_PERSON} streams closed: median {median_ms:.2f} ms")
        await measure(world, "another person suspended", PersonFact("p9", "x", "", Status.SUSPENDED))
        await measure(world, "bundle that flips nothing", bundle(SAME))
        await measure(world, "group that everybody is in", GroupFact("g1", ("g2",)))
        await measure(world, "bundle that flips all", bundle(SHUT))
        world.journal.close()


def main(*, quick: bool = False) -> None:
    """Measure each size."""
    for wanted in COUNTS[:1] if quick else COUNTS:
        uvloop.run(run(wanted))


if __name__ == "__main__":
    for wanted in [int(text) for text in sys.argv[1:]] or COUNTS:
        uvloop.run(run(wanted))

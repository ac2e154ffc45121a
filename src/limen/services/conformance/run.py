"""The run itself: hold streams open, make a change, see what ends and when; then housekeeping; then all."""

import asyncio
import time
from collections.abc import Callable, Iterable

import msgspec

from limen.core.errors import Unavailable
from limen.services.conformance import bundle
from limen.services.conformance.cells import CELLS, KINDS, Cell, World, own_group, person_of
from limen.services.conformance.loops import Asked, KeepAliveLoop
from limen.services.conformance.people import Enroller, Holder
from limen.services.conformance.report import Report, Row, Untouched, latencies_ms, percentile, row_of
from limen.services.conformance.streams import Door, Stream, StreamClient

PROBES = 5  # streams per kind and gateway that talk each 10 ms, of the person whose reason ends
PROBE_EVERY_MS = 10
OTHERS_EVERY_MS = 2_000
BYSTANDERS = 4
CUT_WAIT_S = 15.0
OPENING_AT_ONCE = 25

Say = Callable[[str], object]


class Task(msgspec.Struct, frozen=True):
    """Housekeeping: done on a thread; afterwards everything must be as it was."""

    what: str
    do: Callable[[], None]


class Options(msgspec.Struct, frozen=True):
    """How large a run is. `streams`: of people who have nothing to do with the changes."""

    streams: int = 1_000
    cells: tuple[Cell, ...] = CELLS
    tasks: tuple[Task, ...] = ()


class Run:
    """One run on a system that has the run's bundle in force."""

    def __init__(
        self, world: World, doors: tuple[Door, ...], enroller: Enroller, options: Options, say: Say
    ) -> None:
        self._world = world
        self._doors = doors
        self._enroller = enroller
        self._options = options
        self._say = say
        self._clients: list[StreamClient] = []
        self._others: list[Stream] = []

    async def go(self) -> Report:
        """Do all of it."""
        began = time.monotonic()
        await asyncio.to_thread(self._make_groups)
        bystanders = [
            await self._enroller.enrol(person_of(f"other{n}"), (bundle.EVERYBODY,)) for n in range(BYSTANDERS)
        ]
        everyone = {cell.name: await self._enroller.enrol(person_of(cell.name), cell.groups)
                    for cell in self._options.cells}  # fmt: skip
        watcher = await self._enroller.enrol(person_of("watcher"), (own_group("watcher"),))
        self._others = await self._open_many(bystanders, self._options.streams)
        self._say(f"{len(self._others)} streams of {len(bystanders)} other people are open.")
        rows: list[Row] = []
        for cell in self._options.cells:
            found = await self._cut(cell, everyone[cell.name])
            rows += found
            self._say(f"{cell.name}: {_said(found)}")
        untouched = [await self._keep(task, bystanders[0]) for task in self._options.tasks]
        last, meanwhile = await self._cut_all(watcher)
        for client in self._clients:
            client.close()
        return Report(
            gateways=len(self._doors),
            streams=len(self._others),
            rows=(*rows, *last),
            untouched=tuple(untouched),
            meanwhile_p99_ms=meanwhile,
            took_s=time.monotonic() - began,
        )

    def _make_groups(self) -> None:
        for name in (bundle.EVERYBODY, own_group("nesting"), own_group("watcher")):
            self._world.call("POST", "/v1/groups", json={"id": name, "name": name})

    # --- opening -------------------------------------------------------------------------------------

    async def _open_many(self, holders: list[Holder], count: int) -> list[Stream]:
        """Open `count` streams, of every kind and over every gateway in turn."""
        clients = [self._client(door, holder) for door in self._doors for holder in holders]
        gate = asyncio.Semaphore(OPENING_AT_ONCE)

        async def one(number: int) -> Stream:
            async with gate:
                client = clients[number // len(KINDS) % len(clients)]
                return await self._open(client, KINDS[number % len(KINDS)], OTHERS_EVERY_MS)

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    def _client(self, door: Door, holder: Holder) -> StreamClient:
        client = StreamClient(door, holder.username, cookie=holder.cookie, token=holder.token)
        self._clients.append(client)
        return client

    async def _open(self, client: StreamClient, kind: str, every_ms: int) -> Stream:
        stream = await client.open(kind, every_ms)
        if not stream.open:
            raise Unavailable(
                f"{stream.door.name} answered a {kind} stream of {stream.holder} with {stream.status}.",
                remedy="Look at the gateway's log and at `limen decisions list`.",
            )
        return stream

    # --- one change ----------------------------------------------------------------------------------

    async def _cut(self, cell: Cell, holder: Holder) -> list[Row]:
        await asyncio.to_thread(cell.prepare, self._world, holder)
        clients = [self._client(door, holder) for door in self._doors]
        await self._until_allowed(clients)
        probes = [
            await self._open(client, kind, PROBE_EVERY_MS)
            for client in clients
            for kind in KINDS
            for _ in range(PROBES)
        ]
        loops = [KeepAliveLoop(door, holder.cookie, until_denied=cell.denies) for door in self._doors]
        for loop in loops:
            await loop.start()
        before = sum(stream.open for stream in self._others)
        at = await asyncio.to_thread(cell.act, self._world, holder)
        await _all_ended(probes, max(at.values()) + CUT_WAIT_S)
        rows = []
        for kind in KINDS:
            delays = [_last_byte(stream, at[kind]) for stream in probes if stream.kind == kind]
            rows.append(row_of(cell.name, kind, delays))
        if cell.denies:
            rows.append(await _denied(cell.name, loops, at["http"]))
        for loop in loops:
            await loop.stop()
        disturbed = before - sum(stream.open for stream in self._others)
        return [msgspec.structs.replace(row, disturbed=disturbed) for row in rows]

    async def _until_allowed(self, clients: list[StreamClient]) -> None:
        """What was prepared (a grant, a nesting) reaches every gateway; a refusal until then is right."""
        for client in clients:
            deadline = time.monotonic() + CUT_WAIT_S
            while not (stream := await client.open("tcp", OTHERS_EVERY_MS)).open:
                if time.monotonic() > deadline:
                    raise Unavailable(f"{stream.holder} was never let in ({stream.status}).")
                await asyncio.sleep(0.05)
            stream.drop()

    # --- housekeeping --------------------------------------------------------------------------------

    async def _keep(self, task: Task, holder: Holder) -> Untouched:
        """Do something that may cut nobody."""
        loops = [KeepAliveLoop(door, holder.cookie, until_denied=False) for door in self._doors]
        for loop in loops:
            await loop.start()
        before = sum(stream.open for stream in self._others)
        await asyncio.to_thread(task.do)
        await asyncio.sleep(OTHERS_EVERY_MS / 1000)  # each stream speaks once more, if it can
        for loop in loops:
            await loop.stop()
        asked = [one for loop in loops for one in loop.asked]
        spans = latencies_ms(one.answered_at - one.sent_at for one in asked)
        found = Untouched(
            what=task.what,
            streams=before,
            cut=before - sum(stream.open for stream in self._others),
            requests=len(asked),
            failed=sum(one.status != 200 for one in asked),
            p99_ms=percentile(spans, 0.99),
            slowest_ms=spans[-1] if spans else None,
        )
        self._say(f"{task.what}: {found.cut} of {found.streams} cut, {found.failed} requests failed")
        return found

    # --- everybody at once ---------------------------------------------------------------------------

    async def _cut_all(self, watcher: Holder) -> tuple[list[Row], float | None]:
        """One bundle that flips every stream, while somebody else's requests go on."""
        watched = [KeepAliveLoop(door, watcher.cookie, until_denied=False) for door in self._doors]
        keep = bundle.permit("watcher", f' in Group::"{own_group("watcher")}"')
        closed = bundle.forbid("everybody", f' in Group::"{bundle.EVERYBODY}"')
        await asyncio.to_thread(lambda: self._world.apply(more=keep))
        await asyncio.sleep(1.0)
        for loop in watched:
            await loop.start()
        living = [stream for stream in self._others if stream.open]
        at = await asyncio.to_thread(lambda: self._world.apply(more=keep + closed))
        await _all_ended(living, at + CUT_WAIT_S)
        for loop in watched:
            await loop.stop()
        rows = [
            row_of("bundle flips all", kind, [_close(s, at) for s in living if s.kind == kind])
            for kind in KINDS
            if any(s.kind == kind for s in living)
        ]
        end = max((s.closed_at for s in living), default=at)
        asked = [one for loop in watched for one in loop.asked if at <= one.sent_at <= end]
        failed = sum(one.status != 200 for loop in watched for one in loop.asked)
        rows = [msgspec.structs.replace(row, disturbed=failed) for row in rows]
        spans = latencies_ms(one.answered_at - one.sent_at for one in asked)
        self._say(f"bundle flips all: {_said(rows)}")
        return rows, percentile(spans, 0.99)


async def _all_ended(streams: Iterable[Stream], deadline_at: float) -> None:
    """Wait until all have ended, or the deadline."""
    left = [asyncio.create_task(stream.ended.wait()) for stream in streams]
    if left:
        _, late = await asyncio.wait(left, timeout=max(0.0, deadline_at - time.time()))
        for task in late:
            task.cancel()


async def _denied(change: str, loops: list[KeepAliveLoop], at: float) -> Row:
    """Return the row of plain requests: when the first was denied, and whether one slipped through later."""
    delays: list[float | None] = []
    stale = 0
    for loop in loops:
        await loop.wait(CUT_WAIT_S)
        first = next((one for one in loop.asked if one.status != 200), None)
        delays.append(None if first is None else max(0.0, first.answered_at - at))
        stale += _slipped(loop.asked, first)
    return row_of(change, "http", delays, stale=stale)


def _slipped(asked: list[Asked], first: Asked | None) -> int:
    if first is None:
        return 0
    return sum(one.status == 200 and one.sent_at > first.answered_at for one in asked)


def _last_byte(stream: Stream, at: float) -> float | None:
    """Return how long after `at` the last byte came on a stream that talked all the time; None: it lives.

    Its close is told later: over HTTP/1.1 Envoy waits for 200 ms with it, in which no byte passes.
    """
    return None if stream.closed_at == 0 else max(0.0, stream.last_byte_at - at)


def _close(stream: Stream, at: float) -> float | None:
    """Return how long after `at` a stream that seldom talks was closed; None: it lives."""
    return None if stream.closed_at == 0 else max(0.0, stream.closed_at - at)


def _said(rows: Iterable[Row]) -> str:
    rows = tuple(rows)
    held, survived = sum(row.held for row in rows), sum(row.survived for row in rows)
    worst = max((row.max_ms for row in rows if row.max_ms is not None), default=0.0)
    return f"{held - survived} of {held} ended, the last after {worst:.0f} ms"

"""The run itself: hold streams open, make a change, see what ends and when; then housekeeping; then all."""

import asyncio
import time
from collections.abc import Callable

import msgspec

from limen.core.errors import Unavailable
from limen.services.conformance import bundle
from limen.services.conformance.bundle import Twist
from limen.services.conformance.cells import CELLS, KINDS, Cell, World, own_group, person_of
from limen.services.conformance.judging import all_ended, all_spoke, closed_row, cut_row, denied_row, said
from limen.services.conformance.loops import ALLOWED, KeepAliveLoop, LoopApart
from limen.services.conformance.people import Enroller, Holder
from limen.services.conformance.report import Report, Row, Untouched, latencies_ms, percentile, row_of
from limen.services.conformance.streams import Door, Stream, StreamClient

PROBE_EVERY_MS = 10
OTHERS_EVERY_MS = (250, 2_000)  # how often other people's streams talk: with few, and with many of them
BYSTANDERS = 4
WITNESSES = 4  # processes that keep asking while everything else is cut: some hundred requests
OPENING_AT_ONCE = 25
AGAIN_S = 0.05  # between two attempts to be let in

Say = Callable[[str], object]


class Task(msgspec.Struct, frozen=True):
    """Housekeeping: done on a thread; afterwards everything must be as it was."""

    what: str
    do: Callable[[], None]


class Options(msgspec.Struct, frozen=True):
    """How large a run is.

    Attributes:
        streams: of people who have nothing to do with the changes.
        probes: streams per kind and gateway that talk each 10 ms, of the person whose reason ends.
        cut_wait_s: after which what has not ended has survived.
    """

    streams: int = 1_000
    cells: tuple[Cell, ...] = CELLS
    tasks: tuple[Task, ...] = ()
    probes: int = 5
    cut_wait_s: float = 15.0

    @property
    def others_every_ms(self) -> int:
        """How often other people's streams talk."""
        return min(max(self.streams * 2, OTHERS_EVERY_MS[0]), OTHERS_EVERY_MS[1])


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
        bystanders, everyone, watcher = await self._enrol()
        self._others = await self._open_many(bystanders, self._options.streams)
        self._say(f"{len(self._others)} streams of {len(bystanders)} other people are open.")
        rows: list[Row] = []
        for cell in self._options.cells:
            found = await self._cut(cell, everyone[cell.name])
            rows += found
            self._say(f"{cell.name}: {said(found)}")
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

    async def _enrol(self) -> tuple[list[Holder], dict[str, Holder], Holder]:
        """Make everybody: bystanders, each cell's person, and who watches while all others are cut."""
        for name in (bundle.EVERYBODY, own_group("nesting"), own_group("watcher")):
            await asyncio.to_thread(self._world.call, "POST", "/v1/groups", json={"id": name, "name": name})
        cells, enrol = self._options.cells, self._enroller.enrol
        names = {cell.name: person_of(cell.name.replace(" ", "-").replace("'", "")) for cell in cells}
        watcher, *others = await asyncio.gather(
            enrol(person_of("watcher"), (own_group("watcher"),)),
            *(enrol(person_of(f"other{n}"), (bundle.EVERYBODY,)) for n in range(BYSTANDERS)),
            *(enrol(names[cell.name], cell.groups, cell.place) for cell in cells),
        )
        mine = {cell.name: one for cell, one in zip(cells, others[BYSTANDERS:], strict=True)}
        return others[:BYSTANDERS], mine, watcher

    # --- opening -------------------------------------------------------------------------------------

    async def _open_many(self, holders: list[Holder], count: int) -> list[Stream]:
        """Open `count` streams, of every kind and over every gateway in turn."""
        clients = [self._client(door, holder) for door in self._doors for holder in holders]
        gate = asyncio.Semaphore(OPENING_AT_ONCE)

        async def one(number: int) -> Stream:
            async with gate:
                client = clients[number // len(KINDS) % len(clients)]
                return await self._open(client, KINDS[number % len(KINDS)], self._options.others_every_ms)

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
                remedy="Look at the gateway's log and at `limen decisions search`.",
            )
        return stream

    # --- one change ----------------------------------------------------------------------------------

    async def _cut(self, cell: Cell, holder: Holder) -> list[Row]:
        await asyncio.to_thread(cell.prepare, self._world, holder)
        doors = [door.at(cell.place) for door in self._doors]
        clients = [self._client(door, holder) for door in doors]
        await self._until_allowed(clients)
        probes = [
            await self._open(client, kind, PROBE_EVERY_MS)
            for client in clients
            for kind in cell.kinds
            for _ in range(self._options.probes)
        ]
        loops = [KeepAliveLoop(door, holder.cookie) for door in doors]
        for loop in loops:
            await loop.start()
        before, gone = sum(one.open for one in self._others), sum(not one.open for one in probes)
        wait_s = self._options.cut_wait_s
        at = await asyncio.to_thread(cell.act, self._world, holder)
        await all_ended(probes, max(at.values()) + wait_s)
        rows = [
            cut_row(cell.name, kind, [one for one in probes if one.kind == kind], at[kind], cell.early_s)
            for kind in cell.kinds
        ]
        if cell.denies:
            rows.append(await denied_row(cell.name, loops, at["http"], early_s=cell.early_s, wait_s=wait_s))
        for loop in loops:
            await loop.stop()
        disturbed = gone + before - sum(stream.open for stream in self._others)
        if not cell.denies:
            disturbed += sum(one.status != ALLOWED for loop in loops for one in loop.asked)
        if cell.undo is not None:
            await asyncio.to_thread(cell.undo)
            rows.append(await self._let_in_again(cell, clients))
        return [msgspec.structs.replace(row, disturbed=disturbed) for row in rows]

    async def _until_allowed(self, clients: list[StreamClient]) -> None:
        """What was prepared (a grant, a nesting) reaches every gateway; a refusal until then is right."""
        for client in clients:
            deadline = time.monotonic() + self._options.cut_wait_s
            while not (stream := await client.open("tcp", OTHERS_EVERY_MS[0])).open:
                if time.monotonic() > deadline:
                    raise Unavailable(f"{stream.holder} was never let in ({stream.status}).")
                await asyncio.sleep(AGAIN_S)
            stream.drop()

    async def _let_in_again(self, cell: Cell, clients: list[StreamClient]) -> Row:
        """Return the row of gateways that had to recover by themselves."""
        began = time.monotonic()
        delays: list[float | None] = []
        for client in clients:
            try:
                await self._until_allowed([client])
                delays.append(time.monotonic() - began)
            except Unavailable:
                delays.append(None)
        return row_of(cell.name, "recovers", delays)

    # --- housekeeping --------------------------------------------------------------------------------

    async def _keep(self, task: Task, holder: Holder) -> Untouched:
        """Do something that may cut nobody."""
        loops = [KeepAliveLoop(door, holder.cookie) for door in self._doors]
        for loop in loops:
            await loop.start()
        before = [stream for stream in self._others if stream.open]
        await asyncio.to_thread(task.do)
        cut = await all_spoke(before, 2 + 2 * self._options.others_every_ms / 1000)
        for loop in loops:
            await loop.stop()
        asked = [one for loop in loops for one in loop.asked]
        spans = latencies_ms(one.answered_at - one.sent_at for one in asked)
        found = Untouched(
            what=task.what,
            streams=len(before),
            cut=cut,
            requests=len(asked),
            failed=sum(one.status != ALLOWED for one in asked),
            p99_ms=percentile(spans, 0.99),
            slowest_ms=spans[-1] if spans else None,
        )
        self._say(f"{task.what}: {found.cut} of {found.streams} cut, {found.failed} requests failed")
        return found

    # --- everybody at once ---------------------------------------------------------------------------

    async def _cut_all(self, watcher: Holder) -> tuple[list[Row], float | None]:
        """One bundle that flips every stream, while somebody else's requests go on."""
        watched = [LoopApart(door, watcher.cookie) for door in self._doors for _ in range(WITNESSES)]
        keep = bundle.permit("watcher", f' in Group::"{own_group("watcher")}"')
        closed = bundle.forbid("everybody", f' in Group::"{bundle.EVERYBODY}"')
        await asyncio.to_thread(lambda: self._world.apply(Twist(more=keep)))
        await self._until_allowed([self._client(door, watcher) for door in self._doors])
        for loop in watched:
            await loop.start()
        living = [stream for stream in self._others if stream.open]
        at = await asyncio.to_thread(lambda: self._world.apply(Twist(more=keep + closed)))
        await all_ended(living, at + self._options.cut_wait_s)
        seen = [one for loop in watched for one in await loop.stop()]
        of_kind = {kind: [stream for stream in living if stream.kind == kind] for kind in KINDS}
        rows = [closed_row("bundle flips all", kind, held, at) for kind, held in of_kind.items() if held]
        end = max((s.closed_at for s in living), default=at)
        asked = [one for one in seen if at <= one.answered_at and one.sent_at <= end]
        failed = sum(one.status != ALLOWED for one in seen)
        rows = [msgspec.structs.replace(row, disturbed=failed) for row in rows]
        spans = latencies_ms(one.answered_at - one.sent_at for one in asked)
        self._say(f"bundle flips all: {said(rows)}")
        return rows, percentile(spans, 0.99)

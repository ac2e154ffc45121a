"""A system of real processes, people who hold connections open through it, and faults to put it to.

Whoever holds connections keeps asking, too, and remembers every answer with its instant: so each test
can say that nothing was allowed after an instant at which it had to be denied.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from limen.core.errors import LimenError
from limen.services.conformance import bundle
from limen.services.conformance.cells import KINDS, person_of
from limen.services.conformance.command import Served, private_system
from limen.services.conformance.doors import wait_served
from limen.services.conformance.judging import all_ended
from limen.services.conformance.loops import ALLOWED, BROKEN, Asked, KeepAliveLoop
from limen.services.conformance.people import Holder
from limen.services.conformance.streams import Door, Stream, StreamClient
from limen.services.gateway_status import GatewayStatus, read_status
from limen.services.state import StateDir

WAIT_S = 60.0
LOOK_S = 0.02
TALK_EVERY_MS = 50
BRIEF_S = bundle.STALENESS_S
GRACE_S = 1.0  # a busy machine; the reassessor itself looks each half second


class Held:
    """One person's connections through some gateways, in one place: streams of every kind, and a loop."""

    def __init__(self, holder: Holder, doors: Sequence[Door]) -> None:
        self.holder = holder
        self.doors = doors
        self.loops = [KeepAliveLoop(door, holder.cookie) for door in doors]
        self.clients = [
            StreamClient(door, holder.username, cookie=holder.cookie, token=holder.token) for door in doors
        ]
        self.streams: list[Stream] = []

    async def open(self) -> None:
        """Open everything; wait where what was told before has not arrived everywhere yet."""
        for client in self.clients:
            for kind in KINDS:
                await until(lambda client=client, kind=kind: self._add(client, kind), f"a {kind} stream")  # type: ignore[misc]
        for loop in self.loops:
            await loop.start()
        await self.allowed()

    async def _add(self, client: StreamClient, kind: str) -> bool:
        stream = await client.open(kind, TALK_EVERY_MS)
        if stream.open:
            self.streams.append(stream)
        return stream.open

    async def close(self) -> None:
        """Let go of everything."""
        for loop in self.loops:
            await loop.stop()
        for stream in self.streams:
            stream.drop()
        for client in self.clients:
            client.close()

    def at(self, gateway: int) -> list[Stream]:
        """Return the streams through one gateway."""
        return [stream for stream in self.streams if stream.door is self.doors[gateway]]

    def living(self) -> list[Stream]:
        """Return the streams that live."""
        return [stream for stream in self.streams if stream.open]

    async def ended(self, wait_s: float = WAIT_S, gateway: int | None = None) -> float:
        """Wait until all streams (of one gateway) have ended; return when the last byte came."""
        streams = self.streams if gateway is None else self.at(gateway)
        await all_ended(streams, time.time() + wait_s)
        assert not [stream for stream in streams if stream.open], "a stream has survived"
        return max(stream.last_byte_at for stream in streams)

    async def talking(self) -> None:
        """See that every stream lives, and says more."""
        began = time.time()
        await until(
            lambda: all(one.last_byte_at > began or not one.open for one in self.streams), "streams that talk"
        )
        assert len(self.living()) == len(self.streams), "a stream was cut"

    async def allowed(self, gateway: int | None = None) -> float:
        """Wait until requests that are sent from now on are allowed; return how long that took."""
        return await self._answered(gateway, lambda status: status == ALLOWED)

    async def denied(self, gateway: int | None = None) -> float:
        """Wait until requests that are sent from now on are denied; return how long that took."""
        return await self._answered(gateway, lambda status: status not in (ALLOWED, BROKEN))

    async def _answered(self, gateway: int | None, fits: Callable[[int], bool]) -> float:
        began = time.time()
        for loop in self.loops if gateway is None else (self.loops[gateway],):
            found = await loop.until(
                lambda loop=loop: bool(  # type: ignore[misc]
                    loop.asked and loop.asked[-1].sent_at >= began and fits(loop.asked[-1].status)
                ),
                WAIT_S,
            )
            assert found, loop.asked[-3:]
        return time.time() - began

    def allowed_after(self, at: float, gateway: int | None = None) -> list[Asked]:
        """Return what was asked after an instant and allowed."""
        loops = self.loops if gateway is None else (self.loops[gateway],)
        return [one for loop in loops for one in loop.asked if one.sent_at > at and one.status == ALLOWED]

    def answers(self, *, since: float = 0.0) -> set[int]:
        """Return every status that was answered."""
        return {one.status for loop in self.loops for one in loop.asked if one.sent_at >= since}


class FaultRig:
    """One system, and people who are made once."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.system, self.world, self.admin = served.system, served.world, served.world.admin
        self._people: dict[tuple[str, str], Holder] = {}
        self._on_hold: set[str] = set()

    async def start(self) -> None:
        """Bring the places into force, and make the group."""
        await asyncio.to_thread(self.world.apply)
        await asyncio.to_thread(wait_served, self.served.doors, tuple(bundle.PLACES))
        self.admin.post("/v1/groups", {"id": bundle.EVERYBODY, "name": bundle.EVERYBODY})

    def run(self, story: Awaitable[None]) -> None:
        """Tell one story."""

        async def told() -> None:
            await story

        asyncio.run(told())

    async def person(self, name: str, place: str = bundle.MAIN) -> Holder:
        """Return somebody who is signed in to a place, and free to use it."""
        key = (name, place)
        if key not in self._people:
            username = person_of(f"{name}-{place or 'main'}")
            enroller = self.served.enroller()
            self._people[key] = await enroller.enrol(username, (bundle.EVERYBODY,), place)
        return self._people[key]

    @asynccontextmanager
    async def held(self, name: str, place: str = bundle.MAIN) -> AsyncIterator[Held]:
        """Yield somebody's connections through every gateway."""
        holder = await self.person(name, place)
        found = Held(holder, [door.at(place) for door in self.served.doors])
        try:
            await found.open()
            yield found
        finally:
            await found.close()
            if holder.username in self._on_hold:
                await self._hold(holder.username, on=False)
                self._on_hold.discard(holder.username)

    async def hold(self, held: Held) -> float:
        """Revoke: put somebody in quarantine, until `held` is over; return the instant of the commit.

        A hold ends no session, so whoever is let out may come in again.
        """
        self._on_hold.add(held.holder.username)
        return await self._hold(held.holder.username, on=True)

    async def _hold(self, username: str, *, on: bool) -> float:
        body = {"quarantined": on, "reason": "fault"}
        path = f"/v1/people/{username}"
        return (await asyncio.to_thread(lambda: self.world.call("PATCH", path, json=body)))[1]

    async def refused(self, held: Held) -> LimenError:
        """Try to revoke, and return how that failed."""
        try:
            await self.hold(held)
        except LimenError as error:
            return error
        raise AssertionError("the revocation was acknowledged")

    def start_control(self) -> None:
        """Start control again: on this thread, with which it ends. Nobody waits for it here."""
        assert self.system.control is not None
        self.system.control.start()

    def status(self, gateway: int = 0) -> GatewayStatus:
        """Return what a gateway's host says of its processes."""
        return read_status(StateDir(self.system.state(gateway).resolve()).run / "gateway.json")

    def brain(self, gateway: int = 0) -> int:
        """Return the process of the brain that serves, or 0."""
        found = self.status(gateway)
        slot = found.slots[found.active]
        return (slot.pid or 0) if slot.phase == "serving" else 0


async def until(true: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> float:
    """Wait until something is so; return how long that took."""
    began = time.monotonic()
    while True:
        found = true()
        if await found if isinstance(found, Awaitable) else found:
            return time.monotonic() - began
        assert time.monotonic() < began + wait_s, f"{what}: not in {wait_s} s"
        await asyncio.sleep(LOOK_S)


@contextmanager
def fault_rig(
    gateways: int,
    *,
    environ: Mapping[str, str] | None = None,
    gateway_environ: Mapping[str, str] | None = None,
    lines: Callable[[int], Sequence[str]] = lambda _port: (),
    prepare: Callable[[Path], object] = lambda _root: None,
) -> Iterator[FaultRig]:
    """Yield a system of control and gateways of its own (`limen.services.conformance.command`)."""
    with private_system(
        gateways, environ=environ, gateway_environ=gateway_environ, lines=lines, prepare=prepare
    ) as served:
        rig = FaultRig(served)
        rig.run(rig.start())
        yield rig

"""One gateway's line, at control: brings it to a known place, sends what commits, answers, commands.

One coroutine does one thing at a time, so the order of its lines is the order of its reads from the
database: everything up to a head is sent before the head is (laws F3, F4). Nothing waits here but
numbers: what a slow gateway has not taken stays in the database, and one that is too far behind is given
a snapshot in place of the tail.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import msgspec

from limen import __version__
from limen.administrator.feed_lines import LineReader, drop, send_line
from limen.administrator.feed_wire import (
    GATEWAY_LINE_MAX_BYTES,
    PROTOCOL,
    ROWS_PER_LINE,
    Answer,
    Ask,
    Bye,
    Command,
    Hello,
    Ping,
    Pong,
    Ready,
    Renew,
    Report,
    Resume,
    Rows,
    Seen,
    Signed,
    SignLeaf,
    Start,
    Tx,
    Unknown,
    parse_from_gateway,
    render_line,
)
from limen.core.clock import Clock
from limen.core.errors import Conflict, Invalid, LimenError, Refused
from limen.services.feed_ports import FeedStore, Following, Peer

CHANGES_PER_READ = 2_000
LAG_MAX_CHANGES = 20_000  # further behind, a snapshot is shorter than the tail
HELLO_TIMEOUT_S = 5.0
SILENCE_MAX_S = 10.0  # a gateway pings each second; one that does not speak for so long is gone
INBOX_MAX = 1_000  # a gateway that asks faster than control answers waits
LINGER_S = 1.0  # a farewell that is not taken for so long is not delivered


class GatewayLine:
    """One gateway's connection. `node` is its name.

    Attributes:
        position: the last change that it was sent.
        head: the last change that is known here to be committed.
        leaving: it was told good-bye.
    """

    def __init__(
        self,
        store: FeedStore,
        clock: Clock,
        peer: Peer,
        lines: LineReader,
        writer: asyncio.StreamWriter,
        *,
        on_seen: Callable[[Mapping[str, float]], None] | None,
    ) -> None:
        self._store, self._clock, self._peer = store, clock, peer
        self._lines, self._writer, self._on_seen = lines, writer, on_seen
        self._inbox: asyncio.Queue[Ping | Ask | Renew | SignLeaf | Command | None] = asyncio.Queue(INBOX_MAX)
        self._woken = False
        self._numbers = itertools.count(1)
        self._commanded: dict[int, asyncio.Future[Report]] = {}
        self._hello = Hello(peer.node or "?", "", -1)
        self._ping = Ping(0)
        self._since, self._pinged_at = clock.now(), clock.boot_s()
        self.position = -1
        self.head = -1
        self.leaving = False

    @property
    def node(self) -> str:
        """The gateway's name."""
        return self._hello.node

    def wake(self) -> None:
        """Note that something was committed."""
        if not self._woken and not self._inbox.full():
            self._woken = True
            self._inbox.put_nowait(None)

    def describe(self, head: int) -> Following:
        """Return how far the gateway is while control's head is `head`."""
        seq = self._ping.seq if self._ping.seq >= 0 else self.position
        return Following(
            node=self.node,
            position=self.position,
            seq=seq,
            lag=max(0, head - seq),
            release=self._hello.release,
            protocol=self._hello.protocol,
            streams=self._ping.streams,
            age_s=self._ping.age_s,
            since=self._since,
            ping_age_s=self._clock.boot_s() - self._pinged_at,
            address=self._peer.address,
            certificate_expires_at=self._peer.expires_at,
        )

    # --- beginning -------------------------------------------------------------------------------

    async def greet(self, first: bytes) -> None:
        """Take the gateway's hello and bring it to a known place.

        Raises:
            Invalid: it is no hello.
            Refused: the gateway is not who it says, or may not follow.
        """
        hello = parse_from_gateway(first)
        if not isinstance(hello, Hello):
            raise Invalid("A gateway must say hello first.", code="FEED_BROKEN")
        if self._peer.node is not None and hello.node != self._peer.node:
            raise Refused(
                f"The certificate is of '{self._peer.node}', not of '{hello.node[:64]}'.",
                remedy="Join this gateway under its own name.",
                code="GATEWAY_NAME",
            )
        self._hello = hello
        if not self._peer.protocol_oldest <= hello.protocol <= PROTOCOL:
            raise Refused(
                f"This control speaks protocol {PROTOCOL}, not {hello.protocol}.",
                remedy="Run the same release on control and gateways, or releases next to each other.",
            )
        self.head = await asyncio.to_thread(self._look)
        self._lines.max_bytes, self._lines.silence_s = GATEWAY_LINE_MAX_BYTES, SILENCE_MAX_S
        if hello.epoch == self._store.epoch and hello.seq >= 0 and await self._continues(hello.seq):
            self.position = hello.seq
            await self._send(Resume(hello.epoch))
        else:
            await self._send_snapshot()

    async def serve(self) -> None:
        """Send what commits, and answer, until the connection ends."""
        reading = asyncio.create_task(self._read())
        try:
            self.wake()
            while True:
                getting = asyncio.ensure_future(self._inbox.get())
                await asyncio.wait((getting, reading), return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    reading.result()
                    return
                await self._answer(getting.result())
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, LimenError):
                await reading
            for waiting in self._commanded.values():
                if not waiting.done():
                    waiting.set_result(_unanswered("GATEWAY_LEFT", "The gateway left."))

    def say_bye(self, refusal: LimenError) -> None:
        """Say why not, and end the connection, taken or not."""
        self.leaving = True
        with contextlib.suppress(OSError):
            self._writer.write(render_line(Bye(refusal.message, refusal.code, refusal.remedy)))
            self._writer.close()
        asyncio.get_running_loop().call_later(LINGER_S, drop, self._writer)

    # --- while it lasts --------------------------------------------------------------------------

    async def command(self, do: str, args: Mapping[str, Any], timeout_s: float) -> Report:
        """Have the gateway do something and return its report, which says so if none came."""
        if self._hello.protocol < 2:
            return _unanswered("GATEWAY_OLD", "The gateway's release knows no commands: upgrade it.")
        n = next(self._numbers)
        self._commanded[n] = asyncio.get_running_loop().create_future()
        try:
            self._inbox.put_nowait(Command(n, do, args))
            async with asyncio.timeout(timeout_s):
                return await self._commanded[n]
        except (TimeoutError, asyncio.QueueFull):
            return _unanswered("GATEWAY_SILENT", f"The gateway did not answer within {timeout_s:g} s.")
        finally:
            del self._commanded[n]

    async def _answer(self, message: Ping | Ask | Renew | SignLeaf | Command | None) -> None:
        match message:
            case None:
                self._woken = False
                await self._pump()
            case Command():
                await self._send(message)
            case Renew(n, csr):
                await self._send(await asyncio.to_thread(self._sign, n, csr, self._peer.renew))
            case SignLeaf(n, csr):
                await self._send(await asyncio.to_thread(self._sign, n, csr, self._peer.sign_leaf))
            case Ping(n) | Ask(n):
                head = self.head = await asyncio.to_thread(self._look)
                await self._pump()
                pong = Pong(n, head, self._clock.now())
                await self._send(pong if isinstance(message, Ping) else Answer(n, head))

    def _look(self) -> int:
        """Return the head, read now; refuse a gateway that was removed since (on any control node)."""
        self._peer.admit()
        return self._store.head()

    def _sign(self, n: int, csr: str, sign: Callable[[str], Signed]) -> Signed:
        try:
            return msgspec.structs.replace(sign(csr), n=n)
        except LimenError as error:
            return Signed(n, refusal=error.message)

    async def _read(self) -> None:
        while True:
            message = parse_from_gateway(await self._lines.line())
            match message:
                case Seen(sessions):
                    if self._on_seen is not None:
                        await asyncio.to_thread(self._on_seen, sessions)
                case Report(n):
                    if n in self._commanded and not self._commanded[n].done():
                        self._commanded[n].set_result(message)
                case Hello():
                    raise Invalid("A gateway says hello once.", code="FEED_BROKEN")
                case Unknown():
                    pass
                case Ping() | Ask() | Renew() | SignLeaf():
                    if isinstance(message, Ping):
                        self._ping, self._pinged_at = message, self._clock.boot_s()
                    await self._inbox.put(message)

    # --- sending ---------------------------------------------------------------------------------

    async def _continues(self, seq: int) -> bool:
        if self.head - seq > LAG_MAX_CHANGES:
            return False
        try:
            await asyncio.to_thread(self._store.changes_since, seq, 1)
        except Conflict:
            return False
        return True

    async def _pump(self) -> None:
        """Send everything that was committed and not sent."""
        while True:
            try:
                changes = await asyncio.to_thread(self._store.changes_since, self.position, CHANGES_PER_READ)
            except Conflict:
                await self._send_snapshot()
                continue
            if not changes:
                return
            if max(self.head, changes[-1].seq) - self.position > LAG_MAX_CHANGES:
                await self._send_snapshot()
                continue
            for _, transaction in groupby(changes, key=lambda change: change.tx):
                await self._send(Tx(tuple(transaction)))
            self.position = changes[-1].seq

    async def _send_snapshot(self) -> None:
        snapshot = await asyncio.to_thread(self._store.snapshot)
        await self._send(Start(snapshot.epoch, snapshot.seq, __version__))
        for first in range(0, len(snapshot.values), ROWS_PER_LINE):
            await self._send(Rows(snapshot.values[first : first + ROWS_PER_LINE]))
        await self._send(Ready(snapshot.seq))
        self.position = snapshot.seq

    async def _send(self, message: msgspec.Struct) -> None:
        await send_line(self._writer, render_line(message))


def _unanswered(code: str, message: str) -> Report:
    return Report(0, False, {"code": code, "message": message})

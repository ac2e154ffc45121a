"""The change feed's server, in control: sends each gateway a snapshot or its tail, then what commits.

One coroutine serves one gateway and does one thing at a time, so the order of its lines is the order
of its reads from the database: everything up to a head is sent before the head is (laws F3, F4).
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Protocol

import structlog

from limen.administrator.feed_wire import (
    LINE_MAX_BYTES,
    PROTOCOL,
    ROWS_PER_LINE,
    Answer,
    Ask,
    Bye,
    FromControl,
    Hello,
    Ping,
    Pong,
    Ready,
    Resume,
    Rows,
    Seen,
    Start,
    Tx,
    parse_from_gateway,
    render_line,
)
from limen.core.changes import Change, Snapshot
from limen.core.errors import Conflict, Invalid, LimenError

CHANGES_PER_READ = 2_000
HELLO_TIMEOUT_S = 5.0
INBOX_MAX = 1_000  # a gateway that asks faster than control answers waits

log = structlog.get_logger("limen.feed")


class FeedStore(Protocol):
    """What the feed needs of the store."""

    @property
    def epoch(self) -> str:
        """The life of this database."""
        ...

    def head(self) -> int:
        """Return the seq of the last change, read from the database now."""
        ...

    def snapshot(self) -> Snapshot:
        """Return all live projections at the head."""
        ...

    def changes_since(self, seq: int, limit: int) -> tuple[Change, ...]:
        """Return what followed `seq`, in whole transactions; `Conflict` when it cannot be told."""
        ...

    def subscribe(self, subscriber: Callable[[tuple[Change, ...]], None]) -> Callable[[], None]:
        """Call `subscriber` after each commit."""
        ...


class FeedServer:
    """Serves gateways on a Unix socket at `path`.

    Attributes:
        gateways: node names of those that follow now, with the position each has been sent.
    """

    def __init__(
        self, store: FeedStore, path: Path, *, on_seen: Callable[[Mapping[str, float]], None] | None = None
    ) -> None:
        self._store = store
        self._path = path
        self._on_seen = on_seen
        self._server: asyncio.Server | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: set[_Line] = set()

    @property
    def gateways(self) -> Mapping[str, int]:
        """Who follows, and how far they were sent."""
        return {line.node: line.position for line in self._lines}

    async def start(self) -> None:
        """Begin to serve."""
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_unix_server(
            self._accept, path=str(self._path), limit=LINE_MAX_BYTES
        )
        self._path.chmod(0o600)

        def wake(_: tuple[Change, ...]) -> None:
            loop.call_soon_threadsafe(self._wake)

        self._unsubscribe = self._store.subscribe(wake)

    async def close(self) -> None:
        """Stop serving and end every connection. A second call does nothing."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wake(self) -> None:
        for line in self._lines:
            line.wake()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(self._store, reader, writer, self._on_seen)
        try:
            await line.greet()
            self._lines.add(line)
            await line.serve()
        except (OSError, LimenError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.info("feed.gateway_left", node=line.node, why=str(error) or type(error).__name__)
        finally:
            self._lines.discard(line)
            writer.close()


class _Line:
    """One gateway's connection. `position` is the last change that it was sent."""

    def __init__(
        self,
        store: FeedStore,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_seen: Callable[[Mapping[str, float]], None] | None,
    ) -> None:
        self._store, self._reader, self._writer, self._on_seen = store, reader, writer, on_seen
        self._inbox: asyncio.Queue[Ping | Ask | None] = asyncio.Queue(INBOX_MAX)
        self._woken = False
        self.node = "?"
        self.position = -1

    def wake(self) -> None:
        """Note that something was committed."""
        if not self._woken and not self._inbox.full():
            self._woken = True
            self._inbox.put_nowait(None)

    async def greet(self) -> None:
        """Read the gateway's hello and bring it to a known place."""
        hello = parse_from_gateway(await asyncio.wait_for(self._reader.readuntil(b"\n"), HELLO_TIMEOUT_S))
        if not isinstance(hello, Hello):
            raise Invalid("A gateway must say hello first.", code="FEED_BROKEN")
        self.node = hello.node
        if hello.protocol != PROTOCOL:
            await self._send(Bye(f"This control speaks protocol {PROTOCOL}, not {hello.protocol}."))
            raise Invalid(f"{hello.node} speaks protocol {hello.protocol}.", code="FEED_BROKEN")
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
            with contextlib.suppress(
                asyncio.CancelledError, OSError, LimenError, asyncio.IncompleteReadError
            ):
                await reading

    async def _answer(self, message: Ping | Ask | None) -> None:
        if message is None:
            self._woken = False
            await self._pump()
            return
        head = await asyncio.to_thread(self._store.head)
        await self._pump()
        await self._send(Pong(message.n, head) if isinstance(message, Ping) else Answer(message.n, head))

    async def _read(self) -> None:
        while True:
            message = parse_from_gateway(await self._reader.readuntil(b"\n"))
            if isinstance(message, Seen):
                if self._on_seen is not None:
                    await asyncio.to_thread(self._on_seen, message.sessions)
            elif isinstance(message, Hello):
                raise Invalid("A gateway says hello once.", code="FEED_BROKEN")
            else:
                await self._inbox.put(message)

    async def _continues(self, seq: int) -> bool:
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
            for _, transaction in groupby(changes, key=lambda change: change.tx):
                await self._send(Tx(tuple(transaction)))
            self.position = changes[-1].seq

    async def _send_snapshot(self) -> None:
        snapshot = await asyncio.to_thread(self._store.snapshot)
        await self._send(Start(snapshot.epoch, snapshot.seq))
        for first in range(0, len(snapshot.values), ROWS_PER_LINE):
            await self._send(Rows(snapshot.values[first : first + ROWS_PER_LINE]))
        await self._send(Ready(snapshot.seq))
        self.position = snapshot.seq

    async def _send(self, message: FromControl) -> None:
        self._writer.write(render_line(message))
        await self._writer.drain()

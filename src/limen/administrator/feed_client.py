"""A gateway's connection to the change feed: follows, pings, asks, reports sessions seen, reconnects."""

import asyncio
import contextlib
import itertools
from pathlib import Path

import structlog

from limen.administrator.feed_reader import FeedReader
from limen.administrator.feed_wire import (
    LINE_MAX_BYTES,
    Answer,
    Ask,
    Hello,
    Ping,
    Pong,
    Ready,
    Seen,
    Tx,
    parse_from_control,
    render_line,
)
from limen.administrator.replica import Replica
from limen.administrator.replica_file import ReplicaFile
from limen.core.clock import Clock
from limen.core.errors import Invalid, LimenError, Unavailable

PING_EVERY_S = 1.0
SILENCE_MAX_S = 5.0  # without a line for so long, the connection is given up
ASK_TIMEOUT_S = 2.0  # below Envoy's timeout for the check
SEEN_EVERY_S = 10.0
BACKOFF_S = (0.05, 0.1, 0.25, 0.5, 1.0)

log = structlog.get_logger("limen.feed")


class FeedClient:
    """Keeps `replica` in step with control at `path`.

    Attributes:
        connected: control is being followed right now.
        connections: how often a connection was made.
    """

    def __init__(
        self, path: Path, replica: Replica, clock: Clock, *, node: str, file: ReplicaFile | None = None
    ) -> None:
        self._path = path
        self._replica = replica
        self._clock = clock
        self._node = node
        self._file = file
        self._numbers = itertools.count(1)
        self._asks: dict[int, asyncio.Future[None]] = {}
        self._seen: dict[str, float] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._restart = False  # what is held cannot be continued: ask for a snapshot
        self.connected = False
        self.connections = 0

    async def run(self) -> None:
        """Follow control until cancelled; connect again with back-off whenever the feed ends."""
        failures = 0
        while True:
            try:
                await self._follow()
            except (OSError, LimenError, asyncio.IncompleteReadError) as error:
                if self.connected or failures == 0:
                    log.warning("feed.ended", why=str(error) or type(error).__name__)
            finally:
                failures = 0 if self.connected else failures + 1
                self.connected, self._writer = False, None
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    async def ask(self) -> None:
        """Return once the replica has everything that control had committed when it was asked (law F4).

        Raises:
            Unavailable: control did not answer in time.
        """
        n = next(self._numbers)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asks[n] = answered
        self._send_ask(n)
        try:
            await asyncio.wait_for(answered, ASK_TIMEOUT_S)
        except TimeoutError:
            raise Unavailable(
                "Control did not answer.", remedy="Try again shortly.", code="CONTROL_AWAY"
            ) from None
        finally:
            del self._asks[n]

    def note_seen(self, session_id: str, at: float) -> None:
        """Remember that a session was used; control is told in batches."""
        self._seen[session_id] = at

    # --- one connection --------------------------------------------------------------------------

    async def _follow(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._path), limit=LINE_MAX_BYTES)
        feed = FeedReader(self._replica)
        epoch, seq = ("", -1) if self._restart else (self._replica.epoch, self._replica.seq)
        writer.write(render_line(Hello(self._node, epoch, seq)))
        ticking = asyncio.create_task(self._tick(writer, feed))
        try:
            while True:
                line = await self._line(reader)
                message = parse_from_control(line)
                try:
                    feed.read(message)
                except Invalid:
                    self._restart = True
                    raise
                if feed.synced and self._writer is None:
                    self._begin(writer)
                self._after(message)
        finally:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
            writer.close()

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\n"), SILENCE_MAX_S)
        except TimeoutError:
            raise Unavailable("Control has gone silent.", code="CONTROL_AWAY") from None
        except asyncio.LimitOverrunError as error:
            raise Invalid("A line of the change feed is too long.", code="FEED_BROKEN") from error
        return line

    def _begin(self, writer: asyncio.StreamWriter) -> None:
        self._writer, self.connected, self._restart = writer, True, False
        self.connections += 1
        log.info("feed.following", epoch=self._replica.epoch, seq=self._replica.seq)
        for n in self._asks:
            self._send_ask(n)

    def _after(self, message: object) -> None:
        if isinstance(message, Answer) and message.n in self._asks:
            answered = self._asks[message.n]
            if not answered.done():
                answered.set_result(None)
        if self._file is None:
            return
        if isinstance(message, Tx):
            self._file.append(message, self._replica)
        elif isinstance(message, Ready):
            self._file.save(self._replica)
        elif isinstance(message, Pong):
            self._file.note_age(self._replica)

    async def _tick(self, writer: asyncio.StreamWriter, feed: FeedReader) -> None:
        """Ping each second, and report sessions seen each tenth."""
        for beat in itertools.count():
            n = next(self._numbers)
            feed.note_ping(n, self._clock.boot_s())
            writer.write(render_line(Ping(n)))
            if self._seen and beat % round(SEEN_EVERY_S / PING_EVERY_S) == 0:
                seen, self._seen = self._seen, {}
                writer.write(render_line(Seen(seen)))
            await asyncio.sleep(PING_EVERY_S)

    def _send_ask(self, n: int) -> None:
        if self._writer is not None:
            self._writer.write(render_line(Ask(n)))

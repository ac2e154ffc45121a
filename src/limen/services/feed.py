"""The change feed's server, in control: gateways on its own Unix socket, and whom TLS brings to `serve`."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from limen.administrator.feed_lines import BUFFER_BYTES, LineReader, drop
from limen.administrator.feed_wire import FIRST_LINE_MAX_BYTES, PROTOCOL_OLDEST, Report, Signed
from limen.core.changes import Change
from limen.core.clock import Clock, SystemClock
from limen.core.errors import LimenError, Refused
from limen.core.ids import Instant
from limen.services.feed_line import HELLO_TIMEOUT_S, GatewayLine
from limen.services.feed_ports import FeedStore, Following, Peer

COMMAND_TIMEOUT_S = 5.0

log = structlog.get_logger("limen.feed")


class LocalPeer:
    """A gateway on control's own Unix socket, which only the user who runs Limen can open."""

    node: str | None = None
    address = "local"
    protocol_oldest = PROTOCOL_OLDEST
    expires_at: Instant | None = None

    def admit(self) -> None:
        """Admit: the socket's mode has."""

    def renew(self, csr: str) -> Signed:
        """Refuse: it has no certificate."""
        raise Refused("A gateway on control's own machine needs no certificate.", remedy="Do not renew.")

    def sign_leaf(self, csr: str) -> Signed:
        """Refuse: it has the development CA itself."""
        raise Refused("A gateway on control's own machine signs for itself.", remedy="Do not ask.")


class FeedServer:
    """Serves gateways on a Unix socket at `path`, and on connections that others accepted (`serve`).

    Attributes:
        last_seen: when a gateway that has left was here last, by name.
    """

    def __init__(
        self,
        store: FeedStore,
        path: Path,
        *,
        on_seen: Callable[[Mapping[str, float]], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._path = path
        self._on_seen = on_seen
        self._clock = clock or SystemClock()
        self._server: asyncio.Server | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: dict[GatewayLine, asyncio.Task[None] | None] = {}
        self._head = -1
        self.last_seen: dict[str, Instant] = {}

    @property
    def gateways(self) -> tuple[Following, ...]:
        """Who follows, by name. A gateway that is being upgraded follows twice."""
        head = max((self._head, *(line.head for line in self._lines)))
        return tuple(line.describe(head) for line in sorted(self._lines, key=lambda line: line.node))

    async def start(self) -> None:
        """Begin to serve."""
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_unix_server(self._accept, path=str(self._path), limit=BUFFER_BYTES)
        self._path.chmod(0o600)

        def wake(changes: tuple[Change, ...]) -> None:
            loop.call_soon_threadsafe(self._wake, changes[-1].seq)

        self._unsubscribe = self._store.subscribe(wake)

    async def close(self) -> None:
        """Stop serving and end every connection. A second call does nothing."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._server is not None:
            self._server.close()
        tasks = {*self._tasks, *(task for task in self._lines.values() if task is not None)}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def serve(self, first: bytes, lines: LineReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        """Serve one gateway, whose first line is `first`, until it leaves or may not stay."""
        line = GatewayLine(self._store, self._clock, peer, lines, writer, on_seen=self._on_seen)
        try:
            await line.greet(first)
            line.head = max(line.head, self._head)
            self._lines[line] = asyncio.current_task()
            log.info("feed.gateway_follows", node=line.node, address=peer.address)
            await line.serve()
        except Refused as refusal:
            log.warning("feed.gateway_refused", node=line.node, address=peer.address, why=refusal.message)
            line.say_bye(refusal)
        except (OSError, LimenError) as error:
            log.info("feed.gateway_left", node=line.node, why=str(error) or type(error).__name__)
            drop(writer)
        except asyncio.CancelledError:
            if not line.leaving:
                drop(writer)
            raise
        finally:
            if line in self._lines:
                del self._lines[line]
                self.last_seen[line.node] = self._clock.now()

    def disconnect(self, node: str, refusal: Refused) -> int:
        """End every connection of a gateway now; return how many there were."""
        ending = [(line, task) for line, task in self._lines.items() if line.node == node]
        for line, task in ending:
            line.say_bye(refusal)
            if task is not None:
                task.cancel()
        return len(ending)

    async def command(
        self, node: str | None, do: str, args: Mapping[str, Any], *, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> list[tuple[str, Report]]:
        """Have one gateway, or all (`node` None), do something; return each one's report."""
        asked = [line for line in self._lines if node in (None, line.node)]
        reports = await asyncio.gather(*(line.command(do, args, timeout_s) for line in asked))
        return [(line.node, report) for line, report in zip(asked, reports, strict=True)]

    def _wake(self, head: int) -> None:
        self._head = head
        for line in self._lines:
            line.head = max(line.head, head)
            line.wake()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._greet(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = LineReader(reader, max_bytes=FIRST_LINE_MAX_BYTES, silence_s=HELLO_TIMEOUT_S)
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await lines.line()
        except (OSError, LimenError):
            drop(writer)
            return
        await self.serve(first, lines, writer, LocalPeer())

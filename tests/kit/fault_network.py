"""A bad network in the way of a joined gateway's feed: `FaultyNetwork` on a thread; it may repeat itself."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gateways_rig import FaultyNetwork


class _Repeating(FaultyNetwork):
    """Also sends what passes twice, if told so."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.twice = False

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # control is away
            await super()._carry(reader, writer)
        writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[], bool]
    ) -> None:
        write = writer.write
        writer.write = lambda data: write(bytes(data) * (2 if self.twice else 1))  # type: ignore[method-assign]
        await super()._pass(reader, writer, passes)


class BadNetwork:
    """A TCP port that leads to another, until it is told to do badly. Usable from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._network: _Repeating | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def lead_to(self, port: int) -> int:
        """Begin; return the port."""
        self._thread.start()
        self._network = _Repeating(port)
        return asyncio.run_coroutine_threadsafe(self._network.start(), self._loop).result(10)

    def do(self, what: Callable[[_Repeating], object]) -> None:
        """Change how it does."""
        done = threading.Event()

        def now() -> None:
            assert self._network is not None
            what(self._network)
            done.set()

        self._loop.call_soon_threadsafe(now)
        assert done.wait(10)

    def mend(self) -> None:
        """Let everything pass again, on connections that begin from now on."""

        def heal(network: _Repeating) -> None:
            network.heal()
            network.twice = False

        self.do(heal)

    def close(self) -> None:
        """End it."""
        if self._network is not None:
            asyncio.run_coroutine_threadsafe(self._network.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@contextmanager
def bad_network() -> Iterator[BadNetwork]:
    """Yield one that leads nowhere yet."""
    network = BadNetwork()
    try:
        yield network
    finally:
        network.close()

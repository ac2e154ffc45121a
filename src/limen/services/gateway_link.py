"""A brain's line to its host: what the host knows of Envoy, its orders, and Envoy's output."""

import asyncio
import collections
import os
import socket
import sys
from collections.abc import Callable, Sequence

import structlog

from limen.enforcement.envoy.process import LAST_WORDS
from limen.enforcement.supervised import read_whole_lines
from limen.services.gateway_words import (
    HOST_VARIABLE,
    LINE_MAX_BYTES,
    EnvoyIs,
    Kick,
    Lost,
    Order,
    Run,
    Said,
    Word,
    parse_order,
    render_line,
)

log = structlog.get_logger("limen.gateway")


class HostLink:
    """Envoy's `Runner` as a brain has it: the process is the host's.

    Attributes:
        on_start: called when the host has started Envoy.
        lost_lines: lines of Envoy's output that never came.
    """

    def __init__(self, host: socket.socket) -> None:
        self.on_start: Callable[[], None] = lambda: None
        self.lost_lines = 0
        self._socket = host
        self._envoy = EnvoyIs(running=False, pid=None, restarts=0)
        self._said: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    def inherited(cls) -> "HostLink":
        """Return the line that the host gave this process."""
        return cls(socket.socket(fileno=int(os.environ.pop(HOST_VARIABLE))))

    # --- Runner -----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the host keeps Envoy running."""
        return self._envoy.running

    @property
    def pid(self) -> int | None:
        """Envoy's process."""
        return self._envoy.pid

    @property
    def restarts(self) -> int:
        """How often Envoy was started again."""
        return self._envoy.restarts

    @property
    def last_words(self) -> Sequence[str]:
        """The end of Envoy's log."""
        return tuple(self._said)

    def reserve(self) -> None:
        """The host holds the lock of Envoy's folder already."""

    def start(self) -> None:
        """Have Envoy run on the files that stand there."""
        self.tell(Run())

    def kick(self) -> None:
        """Have Envoy started anew."""
        self.tell(Kick())

    async def stop(self) -> None:
        """Do nothing: the host stops Envoy when it stops."""

    # --- the line ---------------------------------------------------------------------------------

    def tell(self, word: Word) -> None:
        """Say something to the host. One that is gone is told nothing: `obey` ends then."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(render_line(word))

    async def obey(self, take: Callable[[Order], None]) -> None:
        """Hand over the host's orders until it is gone."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket, limit=LINE_MAX_BYTES)
        try:
            while line := await reader.readline():
                order = parse_order(line)
                if order is not None and not self._note(order):
                    take(order)
        except OSError as error:
            log.info("gateway.host_gone", why=str(error) or type(error).__name__)
        finally:
            self._writer.close()

    def _note(self, order: Order) -> bool:
        """Keep what is told of Envoy; return whether that is all that the order is."""
        match order:
            case EnvoyIs():
                before, self._envoy = self._envoy, order
                if order.pid is not None and order.pid != before.pid:
                    self.on_start()
            case Said():
                self._said.append(order.text)
            case Lost():
                self.lost_lines = order.lines
            case _:
                return False
        return True


async def read_input(take: Callable[[bytes], None]) -> None:
    """Hand over Envoy's output, which the host copies to standard input, until that ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        await read_whole_lines(reader, take, LINE_MAX_BYTES)
    finally:
        transport.close()

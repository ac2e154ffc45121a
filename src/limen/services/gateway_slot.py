"""One brain as its host sees it: a child process in a slot, its words, its heartbeat, its input."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from enum import StrEnum

import structlog

from limen.enforcement.supervised import Supervised, tied
from limen.services.gateway_words import (
    BEAT_MAX_S,
    HOST_VARIABLE,
    LINE_MAX_BYTES,
    METRICS_VARIABLE,
    Activate,
    Beat,
    Drained,
    Lost,
    Order,
    Refused,
    Retire,
    Serving,
    Standing,
    Stop,
    Word,
    Yielded,
    parse_word,
    render_line,
)

log = structlog.get_logger("limen.gateway")

START_MAX_S = 60.0  # to the first beat: a start reads the replica's file and a bundle on a busy machine
INPUT_MAX_BYTES = 4 * 1024 * 1024  # of Envoy's output that wait for a slow brain; more is dropped
ORDERS_MAX_BYTES = 262_144  # a brain that reads no orders hangs, and its missing beat shows it
GRPC = {"GRPC_ENABLE_FORK_SUPPORT": "0"}  # a brain forks only to become another program at once
LATE_S = 1.0  # a timer that rings so late says that we ourselves stood still


class Phase(StrEnum):
    """Where a brain is in its life."""

    STARTING = "starting"
    STANDING = "standing"
    ACTIVATING = "activating"
    SERVING = "serving"
    YIELDED = "yielded"
    RETIRING = "retiring"
    DRAINED = "drained"
    ENDED = "ended"


class Slot:
    """The brain of one slot.

    Attributes:
        phase: where it is; set by its words and by what it is told.
        release: of its code, once it stands.
        streams: live streams that it holds.
        confirmed: it knows the age of what it knows.
        refusal: why it could not be activated, if it could not.
        on_word: called for each of its words, beats that say nothing new apart, and with None when a
            process ended.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        metrics: socket.socket | None = None,
        *,
        beat_max_s: float = BEAT_MAX_S,
    ) -> None:
        self.name = name
        self.phase = Phase.STARTING
        self.release = ""
        self.streams = 0
        self.confirmed = False
        self.refusal = ""
        self.on_word: Callable[[Slot, Word | None], None] = lambda slot, word: None
        self._arguments = arguments
        self._beat_max_s = beat_max_s
        self._metrics = metrics
        self._changed = asyncio.Event()
        self._host: socket.socket | None = None
        self._orders: asyncio.StreamWriter | None = None
        self._input: asyncio.StreamWriter | None = None
        self._lost = 0
        self._child = Supervised(f"brain-{name}", self._spawn, attend=self._attend)

    @property
    def pid(self) -> int | None:
        """Its process."""
        return self._child.pid

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return self._child.restarts

    def start(self) -> None:
        """Begin to run it."""
        self._child.start()

    async def stop(self) -> None:
        """End it for good."""
        await self._child.stop()
        self.phase = Phase.ENDED

    async def ended(self) -> None:
        """Return once it has ended for good: a brain that retires is not started again."""
        await self._child.wait()

    def tell(self, order: Order) -> None:
        """Give an order, and note what it makes of the brain."""
        match order:
            case Activate():
                self.phase, self.refusal = Phase.ACTIVATING, ""
            case Retire():
                self.phase = Phase.RETIRING
                self._child.again = False
            case Stop():
                self._child.again = False
        writer = self._orders
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() < ORDERS_MAX_BYTES:
            writer.write(render_line(order))

    def copy(self, lines: bytes) -> None:
        """Give it Envoy's output, or drop that where it does not read: nobody waits for a brain."""
        writer = self._input
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() + len(lines) <= INPUT_MAX_BYTES:
            writer.write(lines)
            return
        self._lost += lines.count(b"\n")
        self.tell(Lost(self._lost))

    def close_input(self) -> None:
        """Say that no more output comes."""
        if self._input is not None:
            self._input.close()

    async def until(self, true: Callable[["Slot"], bool], timeout_s: float) -> bool:
        """Wait until it has come to a state; return whether it has, in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not true(self):
                    self._changed.clear()
                    await self._changed.wait()
                return True
        return False

    # --- the process ------------------------------------------------------------------------------

    async def _spawn(self) -> Process:
        ours, theirs = socket.socketpair()
        metrics = (self._metrics.fileno(),) if self._metrics else ()
        names = {HOST_VARIABLE: str(theirs.fileno()), **GRPC}
        if self._metrics is not None:
            names[METRICS_VARIABLE] = str(self._metrics.fileno())
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *tied((sys.executable, *self._arguments), os.getpid()),
                stdin=PIPE,
                pass_fds=(theirs.fileno(), *metrics),
                env={**os.environ, **names},
                start_new_session=True,  # a Ctrl-C at the terminal is for the host: it drains first
            )
        self._host = ours
        return process

    async def _attend(self, process: Process) -> None:
        assert self._host is not None
        reader, self._orders = await asyncio.open_unix_connection(sock=self._host, limit=LINE_MAX_BYTES)
        self._input, self.phase, self.confirmed, self._lost = process.stdin, Phase.STARTING, False, 0
        try:
            await self._listen(reader)
        finally:
            for writer in (self._orders, self._input):
                if writer is not None:
                    writer.close()
            self._orders = self._input = None
            self.phase, self.streams, self.confirmed = Phase.ENDED, 0, False
            self._changed.set()
            self.on_word(self, None)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        patience_s = START_MAX_S
        while line := await self._line(reader, patience_s):
            word = parse_word(line)
            patience_s = self._beat_max_s
            if isinstance(word, Beat):
                before = self.streams, self.confirmed
                self.streams, self.confirmed = word.streams, word.confirmed
                if before != (word.streams, word.confirmed):
                    self.on_word(self, word)
            elif word is not None:
                self._note(word)
                self.on_word(self, word)
            self._changed.set()

    async def _line(self, reader: asyncio.StreamReader, patience_s: float) -> bytes:
        """Return what it says next. One that stays silent is killed, and then says nothing more."""
        loop = asyncio.get_running_loop()
        while True:
            deadline = loop.time() + patience_s
            try:
                return await asyncio.wait_for(reader.readline(), patience_s)
            except TimeoutError:
                if loop.time() < deadline + LATE_S:
                    log.warning("brain_hangs", slot=self.name, silent_s=patience_s)
                    self._child.kick(signal.SIGKILL)
                    return b""

    def _note(self, word: Word) -> None:
        match word:
            case Standing():
                self.phase, self.release = Phase.STANDING, word.release
            case Serving():
                self.phase = Phase.SERVING
            case Yielded():
                self.phase = Phase.YIELDED
            case Drained():
                self.phase = Phase.DRAINED
            case Refused():
                self.refusal = word.why

"""A child process that stays up: started, attended, started again with back-off, ended politely.

The one mechanism behind `limen up`, the gateway's Envoy and the gateway's brains. They differ in how
they are started (`spawn`) and in what is read from them meanwhile (`attend`).
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog

from limen.enforcement.envoy import tether

PIECE_BYTES = 16_384  # some sixty lines of the access log: about 4 ms of a brain

log = structlog.get_logger("limen.supervisor")

BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
STABLE_S = 30.0  # a child that ran this long starts again at once
TERMINATE_S = 8.0  # from SIGTERM to SIGKILL
ATTENDED_S = 2.0  # what a dead child has left in its pipes is read for so long: a grandchild may hold them

Spawn = Callable[[], Awaitable[Process]]
Attend = Callable[[Process], Awaitable[None]]


def tied(arguments: Sequence[str], parent: int) -> tuple[str, ...]:
    """Return the arguments that run a program which ends when `parent` ends, by SIGKILL."""
    return (sys.executable, "-I", "-S", str(Path(tether.__file__)), str(parent), *arguments)


async def _nothing(_process: Process) -> None:
    """Read nothing from it."""


class Supervised:
    """One child.

    Attributes:
        name: for the log.
        pid: of the process that runs now; None between two.
        restarts: how often it was started again.
        again: whether it is to be started again when it ends.
    """

    def __init__(
        self, name: str, spawn: Spawn, *, attend: Attend = _nothing, terminate_s: float = TERMINATE_S
    ) -> None:
        self.name = name
        self.pid: int | None = None
        self.restarts = 0
        self.again = True
        self._spawn = spawn
        self._attend = attend
        self._terminate_s = terminate_s
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to run and watch."""
        self._task = asyncio.create_task(self._run(), name=f"supervise-{self.name}")

    @property
    def over(self) -> bool:
        """Whether it has ended for good."""
        return self._task is not None and self._task.done()

    async def wait(self) -> None:
        """Return once it has ended for good."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def stop(self) -> None:
        """End it for good: SIGTERM, and SIGKILL if that does not help."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    def kick(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process that runs now; it starts again after the usual back-off."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, how)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while self.again and not self._stopping.is_set():
            began = loop.time()
            code = await self._once()
            if self._stopping.is_set() or not self.again:
                return
            failures = 0 if loop.time() - began > STABLE_S else failures
            delay = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            failures += 1
            self.restarts += 1
            log.warning("process_ended", child=self.name, exit_code=code, restart_in_s=delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _once(self) -> int:
        process = await self._spawn()
        self.pid = process.pid
        attending = asyncio.create_task(self._attended(process), name=f"attend-{self.name}")
        ended = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((ended, stop), return_when=asyncio.FIRST_COMPLETED)
            await self._end(process, ended)
            self.pid = None
            await asyncio.wait((attending,), timeout=ATTENDED_S)
            return ended.result()
        finally:
            for task in (stop, attending):
                task.cancel()
            if process.returncode is None:  # we are being cancelled
                process.kill()
            self.pid = None

    async def _attended(self, process: Process) -> None:
        try:
            await self._attend(process)
        except OSError as error:  # its pipes broke: it ended, or soon will
            log.info("process_not_heard", child=self.name, why=str(error) or type(error).__name__)

    async def _end(self, process: Process, ended: asyncio.Task[int]) -> None:
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(asyncio.shield(ended), self._terminate_s)
            except TimeoutError:
                process.kill()
                await ended


async def read_whole_lines(
    stream: asyncio.StreamReader | None, take: Callable[[bytes], None], line_max_bytes: int
) -> None:
    """Hand over what comes, in pieces that end with a line. A line longer than the limit is dropped.

    Others have their turn between two pieces: a thousand lines may come at once.
    """
    rest = b""
    while stream is not None and (chunk := await stream.read(PIECE_BYTES)):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            take(rest + chunk[:cut])
            rest = chunk[cut:]
        else:
            rest += chunk
        if len(rest) > line_max_bytes:
            rest = b""
        await asyncio.sleep(0)
    if rest:
        take(rest)

"""The Envoy process: started, tied to this one, its output read, started again with back-off."""

import asyncio
import collections
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from limen.enforcement.envoy import tether
from limen.enforcement.envoy.settings import EnvoySettings

log = structlog.get_logger("limen.envoy")

BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
STABLE_S = 30.0  # an Envoy that ran this long starts again at once
TERMINATE_S = 5.0  # from SIGTERM to SIGKILL
LAST_WORDS = 20  # lines of Envoy's log that are kept to say why it ended
LOG_FLUSH_MS = 500  # outcomes reach the journal this late at most; Envoy's own default is 10 s
LEVELS = {
    "debug": logging.DEBUG,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.ERROR,
}


def command(settings: EnvoySettings) -> tuple[str, ...]:
    """Return the arguments that run Envoy on its bootstrap file."""
    workers = ("--concurrency", str(settings.concurrency)) if settings.concurrency else ()
    return (
        str(settings.binary),
        *("-c", str(settings.file("bootstrap"))),
        *("--drain-time-s", str(settings.drain_s)),
        *("--file-flush-interval-msec", str(LOG_FLUSH_MS)),
        *("--log-level", settings.log_level),
        *("--log-format", "%l %v"),
        "--disable-hot-restart",
        "--reject-unknown-dynamic-fields",  # in watched files too; by default Envoy only mentions them
        *workers,
    )


def tied(arguments: Sequence[str], parent: int) -> tuple[str, ...]:
    """Return the arguments that run a program which ends when `parent` ends."""
    launcher = str(Path(tether.__file__))
    return (sys.executable, "-I", "-S", launcher, str(parent), *arguments)


class EnvoyProcess:
    """Keeps one Envoy running until `stop`."""

    def __init__(
        self,
        arguments: Sequence[str],
        on_line: Callable[[bytes], None],
        on_start: Callable[[], None],
    ) -> None:
        self.pid: int | None = None
        self.restarts = 0
        self.last_words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._arguments = arguments
        self._on_line = on_line
        self._on_start = on_start
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to run and watch."""
        self._task = asyncio.create_task(self._run(), name="envoy")

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL if that does not help."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    def kick(self) -> None:
        """End the process as it is, so that it starts again after the usual back-off."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping.is_set():
            began = loop.time()
            code = await self._once()
            if self._stopping.is_set():
                return
            failures = 0 if loop.time() - began > STABLE_S else failures + 1
            self.restarts += 1
            delay = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            words = self.last_words[-1] if self.last_words else ""
            log.warning("envoy_ended", exit_code=code, restart_in_s=delay, said=words)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _once(self) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal is for us: we drain first
        )
        self.pid = process.pid
        self._on_start()
        readers = asyncio.gather(_lines(process.stdout, self._on_line), _lines(process.stderr, self._hear))
        ended = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((ended, stop), return_when=asyncio.FIRST_COMPLETED)
            await self._end(process, ended)
            await readers
            return ended.result()
        finally:
            stop.cancel()
            if process.returncode is None:  # we are being cancelled
                process.kill()
            self.pid = None

    async def _end(self, process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(asyncio.shield(ended), TERMINATE_S)
            except TimeoutError:
                process.kill()
                await ended

    def _hear(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        level, _, message = text.partition(" ")
        if not message or message == "caught ENVOY_SIGTERM":  # we sent it
            return
        self.last_words.append(message)
        log.log(LEVELS.get(level, logging.INFO), "envoy_says", text=message)


async def _lines(stream: asyncio.StreamReader | None, on_line: Callable[[bytes], None]) -> None:
    """Hand over each line; one that is longer than the reader's limit is dropped, not fatal."""
    while stream is not None:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                on_line(end.partial)
            return
        except asyncio.LimitOverrunError as overrun:
            await stream.readexactly(overrun.consumed)
            continue
        on_line(line)

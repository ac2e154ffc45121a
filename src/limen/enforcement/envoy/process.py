"""The Envoy process: started, tied to this one, its output read, started again with back-off."""

import asyncio
import collections
import fcntl
import logging
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from typing import IO

import structlog

from limen.core.errors import Conflict
from limen.enforcement.envoy.settings import EnvoySettings
from limen.enforcement.supervised import Supervised, read_whole_lines, tied

log = structlog.get_logger("limen.envoy")

TERMINATE_S = 5.0  # from SIGTERM to SIGKILL
LAST_WORDS = 20  # lines of Envoy's log that are kept to say why it ended
LOG_FLUSH_MS = 500  # outcomes reach the journal this late at most; Envoy's own default is 10 s
LINE_MAX_BYTES = 65_536
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
        # Each stream that the leash ends is a warning of Envoy's: a thousand of them fill the pipe, and a
        # worker that writes to a full pipe serves nobody.
        *("--component-log-level", "ext_proc:error"),
        *("--log-format", "%l %v"),
        "--disable-hot-restart",
        "--reject-unknown-dynamic-fields",  # in watched files too; by default Envoy only mentions them
        *workers,
    )


class EnvoyProcess:
    """Keeps one Envoy running from `start` until `stop`, alone on its folder.

    Attributes:
        on_start: called whenever a process was started.
        on_output: gets what Envoy writes to its standard output, in whole lines.
        on_said: gets each line of Envoy's own log.
        last_words: the last of those.
    """

    def __init__(self, settings: EnvoySettings) -> None:
        self.on_start: Callable[[], None] = lambda: None
        self.on_output: Callable[[bytes], None] = lambda lines: None
        self.on_said: Callable[[str], None] = lambda text: None
        self.last_words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._settings = settings
        self._lock: IO[str] | None = None
        self._child: Supervised | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._child.pid if self._child else None

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return self._child.restarts if self._child else 0

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped."""
        return self._child is not None

    def reserve(self) -> None:
        """Make sure that no other gateway runs Envoy on this folder, until `stop`.

        Raises:
            Conflict: another one does.
        """
        if self._lock is None:
            self._settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _take_lock(self._settings)

    def start(self) -> None:
        """Run Envoy on the files that stand there.

        Raises:
            Conflict: another gateway runs Envoy on this folder.
        """
        self.reserve()
        self._settings.admin_socket.unlink(missing_ok=True)
        self._child = Supervised("envoy", self._spawn, attend=self._attend, terminate_s=TERMINATE_S)
        self._child.start()

    def kick(self) -> None:
        """End the process as it is, so that it starts again after the usual back-off."""
        if self._child is not None:
            self._child.kick()

    async def stop(self) -> None:
        """End it, and let others have the folder."""
        if self._child is not None:
            await self._child.stop()
            self._child = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _spawn(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *tied(command(self._settings), os.getpid()),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal is for us: we drain first
        )

    async def _attend(self, process: Process) -> None:
        self.on_start()
        await asyncio.gather(
            read_whole_lines(process.stdout, self._tell, LINE_MAX_BYTES),
            read_whole_lines(process.stderr, self._hear, LINE_MAX_BYTES),
        )

    def _tell(self, lines: bytes) -> None:
        self.on_output(lines)

    def _hear(self, lines: bytes) -> None:
        for text in lines.decode("utf-8", "replace").splitlines():
            level, _, message = text.partition(" ")
            if not message or message == "caught ENVOY_SIGTERM":  # we sent it
                continue
            self.last_words.append(message)
            self.on_said(message)
            log.log(LEVELS.get(level, logging.INFO), "envoy_says", text=message)


def _take_lock(settings: EnvoySettings) -> IO[str]:
    lock = (settings.folder / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Conflict(
            f"Another gateway already runs Envoy on {settings.folder}.",
            remedy="Stop it first, or give this gateway another state folder.",
            code="ALREADY_RUNNING",
        ) from None
    return lock

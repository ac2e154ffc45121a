"""Child processes that neither outlive their parent nor stay down: the part that `up` and `demo` share."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

log = structlog.get_logger("limen.supervisor")

BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)
STABLE_S = 30.0  # a child that ran this long starts again at once
STOP_S = 8.0  # from SIGTERM to SIGKILL
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when its parent ends; end now if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


class Child:
    """One supervised process: started again with back-off until `stop`."""

    def __init__(self, name: str, arguments: Sequence[str], log_file: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._log_file = log_file
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to run and watch."""
        self._task = asyncio.create_task(self._run(), name=f"supervise-{self.name}")

    async def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL after a while."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping.is_set():
            began = loop.time()
            code = await self._once()
            if self._stopping.is_set():
                return
            failures = 0 if loop.time() - began > STABLE_S else failures + 1
            delay = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            log.warning("process_ended", process=self.name, exit_code=code, restart_in_s=delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _once(self) -> int:
        with self._log_file.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "LIMEN_PARENT": str(os.getpid())},
                start_new_session=True,
            )
        ended = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((ended, stop), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.terminate()
                try:
                    await asyncio.wait_for(asyncio.shield(ended), STOP_S)
                except TimeoutError:
                    process.kill()
            return await ended
        finally:
            stop.cancel()


def limen_command(*arguments: str) -> tuple[str, ...]:
    """Return the argument list that runs this same program again."""
    return (sys.executable, "-m", "limen", *arguments)


def obey_parent() -> None:
    """In a child started by `Child`: end when the supervisor ends."""
    parent = os.environ.pop("LIMEN_PARENT", None)
    if parent is not None:
        die_with_parent(int(parent))

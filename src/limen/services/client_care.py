"""What control does for clients beside serving them: authorizations decided again, logouts told."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import structlog

from limen.administrator.oauth.server import AuthorizationServer
from limen.core.changes import Change
from limen.core.errors import LimenError

SWEEP_EVERY_S = 30.0
LOOK_AFTER_S = 0.05  # commits that come together are looked at together
AGAIN_AFTER_S = 1.0  # what failed

log = structlog.get_logger("limen.clients")


class ClientCare:
    """Two tasks: one looks after each change, one tells clients. Their work is done in threads."""

    def __init__(self, oauth: AuthorizationServer) -> None:
        self._oauth = oauth
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._owed = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Begin. Call it on the loop."""
        self._loop = asyncio.get_running_loop()
        self._owed.set()
        self._tasks = (
            asyncio.create_task(self._look(), name="clients-look"),
            asyncio.create_task(self._tell(), name="clients-tell"),
        )

    async def stop(self) -> None:
        """End. What is not told yet stays stored."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def hear(self, changes: Iterable[Change]) -> None:
        """Note a commit. Any thread may call it."""
        if self._oauth.leash.hear(changes) and self._loop is not None:
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), SWEEP_EVERY_S)
                await asyncio.sleep(LOOK_AFTER_S)
            swept = not self._changed.is_set()
            self._changed.clear()
            work = self._sweep if swept else self._oauth.leash.look
            if await self._do(work):
                self._owed.set()

    def _sweep(self) -> int:
        self._oauth.signing.sweep()
        return self._oauth.leash.sweep()

    async def _tell(self) -> None:
        while True:
            wait_s = await asyncio.to_thread(self._until_next)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._owed.wait(), wait_s)
            self._owed.clear()
            await self._do(self._oauth.backchannel.tell)

    def _until_next(self) -> float:
        try:
            due = self._oauth.backchannel.next_at()
        except LimenError:
            return AGAIN_AFTER_S
        if due is None:
            return SWEEP_EVERY_S
        return min(max(due - self._oauth.desk.clock.now(), 0.0), SWEEP_EVERY_S)

    async def _do(self, work: Callable[[], int]) -> int:
        try:
            return await asyncio.to_thread(work)
        except LimenError as error:
            log.warning("clients.postponed", why=error.message)
        except Exception:
            log.exception("clients.failed")  # the seam: one bad row must not end the care of all others
        await asyncio.sleep(AGAIN_AFTER_S)
        self._changed.set()
        return 0

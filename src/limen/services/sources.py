"""Directories of the bundle, read when their time has come: one after another, beside the serving."""

import asyncio
import contextlib

import structlog

from limen.administrator.ldap_sync import LdapSync
from limen.core.errors import LimenError

LOOK_EVERY_S = 15.0

log = structlog.get_logger("limen.sources")


class SourceCare:
    """Looks for directories that are due, and has them read in a thread."""

    def __init__(self, sync: LdapSync) -> None:
        self._sync = sync
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.create_task(self._look(), name="sources")

    async def stop(self) -> None:
        """End. A reading that is under way is over when its thread is; it leaves nothing half done."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _look(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._sync.run_due)
            except LimenError as error:  # the database, or no usable bundle: the next look tries again
                log.warning("sources.not_read", why=error.message)
            await asyncio.sleep(LOOK_EVERY_S)

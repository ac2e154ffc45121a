"""The host of the shadow's process: keeps it in step with the candidate in the database, and up."""

import asyncio
import contextlib
import sys
from pathlib import Path

import structlog

from limen.administrator.shadow import candidate_of
from limen.administrator.shadow_run import SHARE
from limen.administrator.shadow_state import forget, write_candidate
from limen.core.errors import LimenError
from limen.core.ids import Instant
from limen.services.processes import Child
from limen.services.state import StateDir
from limen.store.database import Store
from limen.store.shadow import ShadowRow, load_shadow

LOOK_EVERY_S = 1.0  # at the database: another control node may have started or ended the shadow
WORKER = "limen.services.shadow_worker"
FOLDER = "shadow"

log = structlog.get_logger("limen.shadow")


class ShadowHost:
    """Runs the shadow's process while there is a candidate. `start` and `stop` it with control.

    Attributes:
        child: the process, or None.
    """

    def __init__(self, state: StateDir, store: Store, *, share: float = SHARE) -> None:
        self.child: Child | None = None
        self._journal = state.journal
        self._folder = state.root / FOLDER
        self._log = state.root / "log" / "shadow.log"
        self._store = store
        self._share = share
        self._running: tuple[str, Instant] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow the database."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._log.parent.mkdir(mode=0o700, exist_ok=True)
        self._task = asyncio.create_task(self._follow(), name="shadow")

    async def stop(self) -> None:
        """End the process; what it counted stays."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._end()

    async def _follow(self) -> None:
        while True:
            try:
                await self._keep_to(await asyncio.to_thread(self._load))
            except (LimenError, OSError) as error:  # the next look tries again
                log.warning("shadow.not_looked_at", why=str(error))
            await asyncio.sleep(LOOK_EVERY_S)

    def _load(self) -> ShadowRow | None:
        with self._store.read() as connection:
            return load_shadow(connection)

    async def _keep_to(self, row: ShadowRow | None) -> None:
        wanted = None if row is None else (str(row.bundle), row.started_at)
        if wanted == self._running:
            return
        await self._end()
        if row is None:
            forget(self._folder)
        else:
            write_candidate(self._folder, candidate_of(row))
            self.child = Child("shadow", self._command(), self._log)
            self.child.start()
            log.info("shadow.started", bundle=row.bundle)
        self._running = wanted

    async def _end(self) -> None:
        if self.child is not None:
            await self.child.stop()
            self.child = None
            self._running = None

    def _command(self) -> tuple[str, ...]:
        return worker_command(self._journal, self._folder, self._share)


def worker_command(journal: Path, folder: Path, share: float) -> tuple[str, ...]:
    """Return the arguments that run the shadow's process."""
    return (sys.executable, "-m", WORKER, str(journal), str(folder), str(share))

"""What control does for the journals of its machine while it serves: proofs, the archive, sinks, shadow."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from limen.administrator.apart import run_apart
from limen.administrator.countersign import Countersigner
from limen.administrator.holds import tell_holds
from limen.administrator.ledger import EventSink
from limen.core.catalogue import Catalogue, JournalConfig
from limen.core.clock import Clock
from limen.core.errors import Conflict, LimenError
from limen.core.secret import Secret
from limen.journal import archive, stored
from limen.journal.checkpoints import load_countersigner
from limen.journal.retention import Retention
from limen.services.shadow import ShadowHost
from limen.services.sinks.sinks import Sinks
from limen.services.state import StateDir
from limen.store.database import Store

COUNTERSIGN_EVERY_S = 2.0
ARCHIVE_EVERY_S = 600.0
ARCHIVE_AFTER_S = 60.0  # nobody who waits for the start waits for a process that compacts

log = structlog.get_logger("limen.control")


class JournalCare:
    """Runs all of it between `start` and `stop`.

    Attributes:
        sinks: the live exports.
        shadow: the candidate's process.
    """

    def __init__(
        self,
        state: StateDir,
        store: Store,
        clock: Clock,
        *,
        node: str,
        note: EventSink,
        catalogue: Callable[[], Catalogue],
        secret: Callable[[str], Secret[str]],
        registry: CollectorRegistry,
    ) -> None:
        self._state, self._clock, self._catalogue = state, clock, catalogue
        self._note, self._node = note, node
        tell_holds(store, state.journal)
        self.sinks = Sinks(state.journal, state.root, lambda: catalogue().exports, secret, registry)
        self.shadow = ShadowHost(state, store)
        self._countersigner = Countersigner(
            state.journal,
            state.root / "checkpoints",
            load_countersigner(state.root / "keys", state.journal),
            store=store,
            clock=clock,
            note=note,
            witness=lambda: self._config().witness,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin."""
        await self.shadow.start()
        self._tasks = [
            self._begin(self.sinks.run(), "sinks"),
            self._begin(self._repeat(self._countersigner.tick, COUNTERSIGN_EVERY_S), "countersign"),
            self._begin(self._repeat(self._archive, ARCHIVE_EVERY_S, after_s=ARCHIVE_AFTER_S), "archive"),
        ]

    async def stop(self) -> None:
        """End, and wait until it has."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.shadow.stop()

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_lament)
        return task

    async def _repeat(self, work: Callable[[], None], every_s: float, *, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        while True:
            try:
                await asyncio.to_thread(work)
            except (LimenError, OSError) as error:  # the next turn tries again
                log.error("journal.care_failed", work=work.__name__, why=str(error))
            await asyncio.sleep(every_s)

    def _archive(self) -> None:
        """Compact what is sealed and apply retention, in a process of low priority."""
        config, root, keys = self._config(), self._state.journal, self._state.root / "keys"
        files = {node: keys / f"journal-{node}.key" for node in stored.list_nodes(root)}
        task = archive.Task(
            str(root),
            self._clock.now(),
            Retention(bytes_max=config.bytes_max, keep_s=config.keep_s),
            config.compact,
            {node: str(path) for node, path in files.items() if path.exists()},
        )
        with contextlib.suppress(Conflict):  # `limen audit compact` is at it
            run_apart(archive.WORK, task, asked=False)

    def _config(self) -> JournalConfig:
        try:
            return self._catalogue().journal
        except LimenError:  # no bundle is in force
            return JournalConfig(compact=False)


def _lament(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("journal.care_ended", part=task.get_name(), exc_info=task.exception())

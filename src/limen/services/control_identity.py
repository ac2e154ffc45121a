"""What control does for people, machines and clients while it serves: sources, notices, ends of sessions."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from limen.administrator.ldap_sync import LdapSync
from limen.administrator.partners import Partners
from limen.administrator.reassess_sessions import end_sessions, locked_out, sweep_sessions
from limen.api import scim_door
from limen.console.deps import Parts
from limen.core.changes import Change
from limen.core.secret import Secret
from limen.services.client_care import ClientCare
from limen.services.notices import NoticePump
from limen.services.sources import SourceCare
from limen.store.grants import sweep_grants

log = structlog.get_logger("limen.control")


class IdentityCare:
    """Runs all of it between `start` and `stop`."""

    def __init__(
        self,
        console: FastAPI,
        *,
        alarmed: Callable[[], Sequence[str]],
        secret: Callable[[str], Secret[str]],
        registry: CollectorRegistry,
    ) -> None:
        """Wire what the console's parts need beside it. `alarmed`: who is told of emergency access."""
        parts: Parts = console.state.parts
        desk = parts.desk
        self._parts, self._clock = parts, desk.clock
        parts.break_glass.alarmed = alarmed
        self._scim = scim_door.create_scim(desk)
        console.state.gate.mount(scim_door.PATH, self._scim)
        assert parts.oauth is not None  # the console has an authority, so it has this
        self._clients = ClientCare(parts.oauth)
        self._partners = Partners(desk)
        self._sources = SourceCare(LdapSync(desk.ledger, desk.sessions, desk.catalogue, secret))
        self._notices = NoticePump(desk, secret, registry)
        self._sending: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: set[asyncio.Future[int]] = set()

    def start(self) -> None:
        """Begin. Call it on the loop."""
        self._loop = asyncio.get_running_loop()
        self._clients.start()
        self._sources.start()
        self._sending = asyncio.create_task(self._notices.run(), name="notices")

    async def stop(self) -> None:
        """End."""
        if self._sending is not None:
            self._sending.cancel()
        await self._clients.stop()
        await asyncio.to_thread(self._sources.stop)

    def hear(self, changes: tuple[Change, ...]) -> None:
        """Note a commit: the sessions end of whoever may not come in any more, or whose provider is gone.

        Any thread may call it. The next sweep does what this misses.
        """
        self._clients.hear(changes)
        people = locked_out(changes, self._clock.now())
        if people:
            self._end_soon(lambda: end_sessions(self._parts.sessions, people, self._clock.now()))
        if any(change.kind == "bundle" for change in changes):
            self._end_soon(self._parts.upstream_logout.sweep)

    def note_seen(self, seen: Mapping[str, float]) -> None:
        """Note when sessions and workloads were last seen at a gateway, by the hash of their token."""
        self._parts.sessions.note_seen(self._parts.workload_life.note_used(seen))

    @property
    def sweeps(self) -> tuple[Callable[[], object], ...]:
        """What is to be done again and again, each in a thread and by itself."""
        return (
            self._parts.desk.sweep,
            lambda: sweep_sessions(self._parts.sessions, self._clock.now()),
            self._parts.upstream_logout.sweep,
            self._parts.workload_life.sweep,
            self._sweep_grants,
            self._scim.sweep,
            self._partners.sweep,
        )

    def _sweep_grants(self) -> None:
        with self._parts.desk.ledger.entry("limen", "the grant's time is over") as entry:
            for one in sweep_grants(entry.tx, entry.tx.now):
                about = {"principal": str(one.principal), "resource": str(one.resource)}
                entry.note("grant.expired", target=one.id, **about)

    def _end_soon(self, work: Callable[[], int]) -> None:
        """Do it in a thread of the loop's: whoever calls holds the writer's turn, which the work needs."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end, work)

    def _end(self, work: Callable[[], int]) -> None:
        ending = asyncio.ensure_future(asyncio.to_thread(work))
        self._ending.add(ending)
        ending.add_done_callback(self._ended)

    def _ended(self, ending: "asyncio.Future[int]") -> None:
        self._ending.discard(ending)
        if not ending.cancelled() and (error := ending.exception()) is not None:
            log.error("control.sessions_not_ended", why=str(error))

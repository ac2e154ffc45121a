"""The gateway's Envoy: configured from a catalogue, validated before the swap, watched after it.

Laws: E1, E3 of this package (`limen.enforcement.envoy`).
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from enum import StrEnum
from typing import IO

import msgspec
import structlog

from limen.core.catalogue import Catalogue
from limen.core.clock import Clock
from limen.core.errors import Conflict, LimenError, Unavailable
from limen.core.ids import Instant
from limen.core.record import OutcomeRecord
from limen.enforcement.certificates import CertificateFolder, Pair, catalogue_hosts
from limen.enforcement.envoy.access_log import parse_outcome
from limen.enforcement.envoy.admin import EnvoyAdmin
from limen.enforcement.envoy.files import Configuration, load_configuration, render_configuration
from limen.enforcement.envoy.process import EnvoyProcess, command, tied
from limen.enforcement.envoy.settings import EnvoySettings
from limen.enforcement.envoy.swap import ConfigurationSwap, until

log = structlog.get_logger("limen.envoy")

READY_TIMEOUT_S = 20.0
WATCH_S = 10.0  # between two looks at the certificate files


class State(StrEnum):
    """What Envoy is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"


class EnvoyStatus(msgspec.Struct, frozen=True):
    """What `who`, health and the console say about the enforcement point.

    Attributes:
        version: of the configuration in force.
        refusal: why the newest configuration is not in force; None when it is.
        uncovered: hosts that the certificate does not name.
    """

    state: State
    pid: int | None
    restarts: int
    version: str
    refusal: str | None
    certificate_expires_at: Instant | None
    uncovered: tuple[str, ...]


class Applied(msgspec.Struct, frozen=True):
    """What an `apply` changed: some of `sds`, `lds`, `cds`, `rds`, in order."""

    version: str
    changed: tuple[str, ...]

    @property
    def connections_drain(self) -> bool:
        """Whether open connections end: the listener itself changed (domain, edge), not an app."""
        return "lds" in self.changed


class EnvoySupervisor:
    """One Envoy of one gateway. All methods belong to one event loop."""

    def __init__(
        self,
        settings: EnvoySettings,
        certificates: CertificateFolder,
        clock: Clock,
        *,
        on_outcome: Callable[[OutcomeRecord], None] = lambda outcome: None,
    ) -> None:
        self._settings = settings
        self._certificates = certificates
        self._clock = clock
        self._on_outcome = on_outcome
        self._admin = EnvoyAdmin(settings.admin_socket)
        self._files = ConfigurationSwap(settings, self._admin, self._last_words)
        self._process: EnvoyProcess | None = None
        self._lock: IO[str] | None = None
        self._turn = asyncio.Lock()
        self._catalogue: Catalogue | None = None  # in force; None while an earlier run's files are
        self._wanted: Catalogue | None = None
        self._broken_pair: str | None = None
        self._pair: Pair | None = None
        self._current: Configuration | None = None
        self._refusal: str | None = None
        self._ready = False
        self._watch: asyncio.Task[None] | None = None
        self._noticing: asyncio.Task[None] | None = None

    async def start(self, catalogue: Catalogue) -> None:
        """Configure and run Envoy; `wait_ready` says when it serves.

        A configuration that cannot be used gives way to the last good one of an earlier run, if there
        is one; `status` says so.

        Raises:
            Conflict: another gateway runs Envoy on this folder.
            Refused: Envoy does not accept the configuration, and there is no earlier one.
            Invalid, NotFound: the same of the certificate that the catalogue names.
        """
        self._settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = self._lock or _take_lock(self._settings)
        self._wanted = catalogue
        try:
            configuration = self._render(catalogue)
            await self._files.validate(configuration)
            self._catalogue = catalogue
        except LimenError as error:
            earlier = load_configuration(self._settings)
            if earlier is None:
                raise
            configuration = earlier
            self._note_refusal(error)
        self._files.install(configuration)
        self._settings.admin_socket.unlink(missing_ok=True)
        self._current = configuration
        self._process = EnvoyProcess(
            tied(command(self._settings), os.getpid()), self._take_line, self._envoy_started
        )
        self._process.start()
        self._watch = asyncio.create_task(self._keep_watch(), name="envoy-watch")

    async def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return once Envoy serves.

        Raises:
            Unavailable: it does not within `timeout_s`; the message holds Envoy's last words.
        """
        if await until(self._admin.ready, timeout_s):
            self._ready = True
            return
        words = " ".join(self._last_words()[-3:]) or "it said nothing."
        raise Unavailable(
            f"Envoy did not begin to serve on {self._settings.host}:{self._settings.port}: {words}",
            remedy="See that the port is free and that this user may listen on it.",
            code="ENVOY_UNAVAILABLE",
        )

    async def apply(self, catalogue: Catalogue) -> Applied:
        """Bring a catalogue into force, or leave everything as it was.

        Raises:
            Refused: Envoy does not accept it; the last good configuration stays (law E3).
            Unavailable: Envoy is not running, and did not come back in time.
            Invalid, NotFound: the certificate that it names cannot be used.
        """
        async with self._turn:
            try:
                return await self._apply(catalogue)
            except LimenError as error:
                self._note_refusal(error)
                raise

    async def refresh_certificates(self) -> bool:
        """Show a certificate that was replaced on disk or renewed; return whether there was one.

        Raises:
            Invalid, NotFound: the new files cannot be used; the old certificate stays.
        """
        catalogue = self._catalogue or self._wanted
        assert catalogue is not None, "start() comes first"
        try:
            pair = self._certificates.pair_for(catalogue, self._clock.now())
        except LimenError as error:
            self._broken_pair = error.message
            raise
        self._broken_pair = None
        if catalogue is self._catalogue and pair == self._pair:
            return False
        return bool((await self.apply(catalogue)).changed)

    def status(self) -> EnvoyStatus:
        """Return what is known without asking Envoy."""
        process = self._process
        running = process is not None and process.pid is not None
        state = State.READY if running and self._ready else State.STARTING if process else State.STOPPED
        hosts = catalogue_hosts(self._catalogue) if self._catalogue else ()
        return EnvoyStatus(
            state=state,
            pid=process.pid if process else None,
            restarts=process.restarts if process else 0,
            version=self._current.version if self._current else "",
            refusal=self._refusal or self._broken_pair,
            certificate_expires_at=self._pair.expires_at if self._pair else None,
            uncovered=self._pair.uncovered(hosts) if self._pair else (),
        )

    async def stop(self) -> None:
        """Let requests finish, for `drain_s` at most, then end Envoy."""
        for task in (self._watch, self._noticing):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
        self._watch = self._noticing = None
        if self._process is not None:
            await self._drain()
            await self._process.stop()
            self._process = None
        self._ready = False
        await self._admin.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _apply(self, catalogue: Catalogue) -> Applied:
        old = self._current
        assert old is not None, "start() comes first"
        new = self._render(catalogue)
        changed: tuple[str, ...] = ()
        if new.version != old.version:
            await self.wait_ready()
            await self._files.validate(new)
            changed = await self._files.replace(old, new)
            log.info("configuration_applied", version=new.version, changed=changed)
        self._catalogue, self._current, self._refusal = catalogue, new, None
        return Applied(new.version, changed)

    def _render(self, catalogue: Catalogue) -> Configuration:
        pair = self._certificates.pair_for(catalogue, self._clock.now())
        self._pair = pair
        return render_configuration(catalogue, pair, self._settings)

    def _note_refusal(self, error: LimenError) -> None:
        if self._refusal != error.message:
            log.warning("configuration_refused", code=error.code, reason=error.message)
        self._refusal = error.message

    async def _drain(self) -> None:
        """Wait until no request is on its way; an Envoy that does not answer has none."""

        async def idle() -> bool:
            return await self._admin.active_requests() == 0

        with contextlib.suppress(Unavailable):
            await self._admin.drain()
            await until(idle, self._settings.drain_s)

    async def _keep_watch(self) -> None:
        """Renew certificates, and show those that were replaced on disk."""
        while True:
            await asyncio.sleep(WATCH_S)
            with contextlib.suppress(LimenError):  # stands in the status, and in the log once
                await self.refresh_certificates()

    def _last_words(self) -> list[str]:
        return list(self._process.last_words) if self._process else []

    def _envoy_started(self) -> None:
        self._ready = False
        self._noticing = asyncio.create_task(self._notice_ready(), name="envoy-ready")

    async def _notice_ready(self) -> None:
        async def settled() -> bool:
            return await self._admin.ready() or await self._admin.deaf()

        with contextlib.suppress(Unavailable):  # it fell over meanwhile, and the next start notices
            self._ready = await until(settled, READY_TIMEOUT_S) and await self._admin.ready()
            if not self._ready and self._process is not None:
                self._process.kick()

    def _take_line(self, line: bytes) -> None:
        outcome = parse_outcome(line)
        if outcome is not None:
            self._on_outcome(outcome)


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

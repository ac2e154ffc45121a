"""The gateway's Envoy: configured from a catalogue, validated before the swap, watched after it.

The process itself may belong to another one (`Runner`): a gateway's brain configures the Envoy that its
host runs, and the next brain takes it over as it is.

Laws: E1, E3 of this package (`limen.enforcement.envoy`).
"""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from limen.core.catalogue import Catalogue
from limen.core.clock import Clock
from limen.core.errors import LimenError, Unavailable
from limen.core.record import OutcomeRecord
from limen.enforcement.certificates import CertificateFolder, Pair, catalogue_hosts
from limen.enforcement.envoy.access_log import parse_outcome
from limen.enforcement.envoy.admin import EnvoyAdmin
from limen.enforcement.envoy.files import Configuration, load_configuration, render_configuration
from limen.enforcement.envoy.process import EnvoyProcess
from limen.enforcement.envoy.runner import Applied, EnvoyStatus, Prepare, Runner, State, prepare_nothing
from limen.enforcement.envoy.settings import EnvoySettings
from limen.enforcement.envoy.swap import Beside, ConfigurationSwap, until

__all__ = ["Applied", "EnvoyStatus", "EnvoySupervisor", "State"]

log = structlog.get_logger("limen.envoy")

READY_TIMEOUT_S = 20.0
WATCH_S = 10.0  # between two looks at the certificate files


class EnvoySupervisor:
    """One Envoy of one gateway. All methods belong to one event loop."""

    def __init__(
        self,
        settings: EnvoySettings,
        certificates: CertificateFolder,
        clock: Clock,
        *,
        on_outcome: Callable[[OutcomeRecord], None] = lambda outcome: None,
        runner: Runner | None = None,
        prepare: Prepare = prepare_nothing,
        beside: Beside = dict,
    ) -> None:
        """Nothing is started yet.

        Args:
            runner: by default Envoy is a child of this process, and `on_outcome` gets what it tells.
            prepare: called before the certificates of a catalogue are looked at.
            beside: see `limen.enforcement.envoy.swap`.
        """
        self._settings = settings
        self._certificates = certificates
        self._clock = clock
        self._runner = runner or _own_process(settings, on_outcome)
        self._runner.on_start = self._envoy_started
        self._admin = EnvoyAdmin(settings.admin_socket)
        self._files = ConfigurationSwap(settings, self._admin, lambda: self._runner.last_words, beside)
        self._prepare = prepare
        self._turn = asyncio.Lock()
        self._catalogue: Catalogue | None = None  # in force; None while an earlier run's files are
        self._wanted: Catalogue | None = None
        self._broken_pair: str | None = None
        self._pair: Pair | None = None
        self._current: Configuration | None = None
        self._refusal: str | None = None
        self._ready_pid: int | None = None  # the Envoy that was seen to serve
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
        self._runner.reserve()
        async with self._turn:
            self._wanted = catalogue
            await self._prepare(catalogue)
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
            self._current = configuration
            self._runner.start()
        self._keep_watching()

    async def take_over(self, catalogue: Catalogue) -> None:
        """Go on with an Envoy that runs already: move what it asks to this process, then apply.

        A catalogue that cannot be used leaves the configuration that is in force; `status` says so.

        Raises:
            Unavailable: Envoy does not answer in time.
            Refused: it does not take the new addresses.
        """
        earlier = load_configuration(self._settings)
        if earlier is None:  # its files are lost: it gets new ones, and starts with them
            await self.start(catalogue)
            self._runner.kick()
            return
        self._wanted = catalogue
        await self.wait_ready()
        async with self._turn:
            await self._files.move()
            self._current = earlier
        with contextlib.suppress(LimenError):  # stands in the status, and in the log once
            await self.apply(catalogue)
        self._keep_watching()

    async def rest(self) -> None:
        """Leave the configuration to another process, once what is under way is done."""
        await self._stop_watching()
        async with self._turn:
            self._current = None

    async def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return once Envoy serves.

        Raises:
            Unavailable: it does not within `timeout_s`; the message holds Envoy's last words.
        """
        if await until(self._admin.ready, timeout_s):
            self._ready_pid = self._runner.pid
            return
        words = " ".join(list(self._runner.last_words)[-3:]) or "it said nothing."
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
        await self._prepare(catalogue)
        self._files.refresh_beside()
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
        runner = self._runner
        up = runner.pid is not None and runner.pid == self._ready_pid
        state = State.READY if up else State.STARTING if runner.running else State.STOPPED
        hosts = catalogue_hosts(self._catalogue) if self._catalogue else ()
        return EnvoyStatus(
            state=state,
            pid=runner.pid,
            restarts=runner.restarts,
            version=self._current.version if self._current else "",
            refusal=self._refusal or self._broken_pair,
            certificate_expires_at=self._pair.expires_at if self._pair else None,
            uncovered=self._pair.uncovered(hosts) if self._pair else (),
        )

    async def drain(self) -> None:
        """Take no more connections, and let requests finish, for `drain_s` at most."""

        async def idle() -> bool:
            return await self._admin.active_requests() == 0

        with contextlib.suppress(Unavailable):  # an Envoy that does not answer has none
            await self._admin.drain()
            await until(idle, self._settings.drain_s)

    async def stop(self) -> None:
        """Drain, then end Envoy."""
        await self._stop_watching()
        if self._runner.running:
            await self.drain()
        await self._runner.stop()
        await self.close()

    async def close(self) -> None:
        """Let go of an Envoy that goes on."""
        await self._stop_watching()
        self._ready_pid = None
        await self._admin.close()

    async def _apply(self, catalogue: Catalogue) -> Applied:
        old = self._current
        assert old is not None, "start() or take_over() comes first"
        await self._prepare(catalogue)
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

    def _keep_watching(self) -> None:
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_watch(), name="envoy-watch")

    async def _stop_watching(self) -> None:
        tasks = [task for task in (self._watch, self._noticing) if task is not None]
        self._watch = self._noticing = None
        for task in tasks:
            task.cancel()
            await asyncio.wait((task,))

    async def _keep_watch(self) -> None:
        """Renew certificates, and show those that were replaced on disk."""
        while True:
            await asyncio.sleep(WATCH_S)
            with contextlib.suppress(LimenError):  # stands in the status, and in the log once
                await self.refresh_certificates()

    def _envoy_started(self) -> None:
        self._ready_pid = None
        self._noticing = asyncio.create_task(self._notice_ready(), name="envoy-ready")

    async def _notice_ready(self) -> None:
        async def settled() -> bool:
            return await self._admin.ready() or await self._admin.deaf()

        with contextlib.suppress(Unavailable):  # it fell over meanwhile, and the next start notices
            if await until(settled, READY_TIMEOUT_S) and await self._admin.ready():
                self._ready_pid = self._runner.pid
            else:
                self._runner.kick()


def _own_process(settings: EnvoySettings, on_outcome: Callable[[OutcomeRecord], None]) -> EnvoyProcess:
    def take(lines: bytes) -> None:
        for line in lines.splitlines():
            outcome = parse_outcome(line)
            if outcome is not None:
                on_outcome(outcome)

    process = EnvoyProcess(settings)
    process.on_output = take
    return process

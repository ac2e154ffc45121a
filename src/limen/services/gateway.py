"""`limen gateway`: Envoy, the check, a replica of the facts and a journal, wired together in one process."""

import asyncio
import gc
import secrets
from pathlib import Path

import msgspec
import structlog

from limen.administrator.active import load_bundle
from limen.administrator.feed_client import FeedClient
from limen.administrator.replica import Replica, Touched
from limen.administrator.replica_file import ReplicaFile, read_boot_id
from limen.console import pages
from limen.core.changes import SecretFact
from limen.core.clock import SystemClock
from limen.core.errors import LimenError
from limen.core.record import OutcomeRecord
from limen.core.secret import Secret
from limen.enforcement.certificates import CertificateFolder
from limen.enforcement.check.assertion import AssertionSigner
from limen.enforcement.check.check import Check
from limen.enforcement.check.explanations import Explanations
from limen.enforcement.check.metrics import CheckCollector, Gauge, Tally
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.ports import Pages
from limen.enforcement.check.server import CheckServer, start_check
from limen.enforcement.envoy.binary import find_envoy
from limen.enforcement.envoy.settings import EnvoySettings
from limen.enforcement.envoy.supervise import EnvoySupervisor, State
from limen.engine.memo import Memo
from limen.journal.writer import Journal
from limen.services.health import health_app
from limen.services.serving import UnixServer, new_registry, run_service
from limen.services.state import StateDir
from limen.store.sealing import APP_SECRETS, TOKENS, Sealer, secret_context

NODE = "gateway"
GC_THRESHOLD = 20_000  # objects of a request die by themselves; looking for cycles each 700 is dear

log = structlog.get_logger("limen.gateway")


class GatewayOptions(msgspec.Struct, frozen=True):
    """What `limen gateway` was told."""

    state: Path
    port: int
    listen: str
    metrics: str | None


def run_gateway(options: GatewayOptions) -> None:
    """Run until SIGTERM or SIGINT."""
    run_service(NODE, options.state, options.metrics, lambda state: Gateway(state, options))


class Gateway:
    """One running gateway. Everything of it lives on one loop. `registry` holds its metrics."""

    def __init__(self, state: StateDir, options: GatewayOptions) -> None:
        self.registry = new_registry()
        self._state = state
        self._clock = SystemClock()
        self._journal = Journal.open(state.journal, NODE, self._clock)
        self._replica = Replica(load_bundle)
        self._file = ReplicaFile(state.root / "replica", self._clock, read_boot_id())
        self._feed = FeedClient(state.socket("feed"), self._replica, self._clock, node=NODE, file=self._file)
        self._explainer = Explanations(self._replica, self._clock)
        self._memo = Memo()
        self._tally = Tally()
        self._check = Check(self._parts())
        self._envoy = EnvoySupervisor(
            EnvoySettings(
                folder=state.root / "envoy",
                run=state.run,
                binary=find_envoy(),
                host=options.listen,
                port=options.port,
            ),
            CertificateFolder(state.root / "ca"),
            self._clock,
            on_outcome=self._take_outcome,
        )
        self._configuring = asyncio.Event()
        self._health = UnixServer(
            health_app(self._ready, self._describe, self.registry), state.socket("gateway")
        )
        self._server: CheckServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False

    async def start(self) -> None:
        """Begin to follow control and, as soon as a bundle is known, to serve."""
        self.registry.register(CheckCollector(self._tally, self._gauges()))
        self._file.load(self._replica)
        self._replica.subscribe(self._notice)
        await self._health.start()
        self._server = await start_check(
            self._state.socket("check"),
            self._check,
            control=self._feed,
            explainer=self._explainer,
            tally=self._tally,
        )
        self._configuring.set()
        self._tasks = [
            asyncio.create_task(self._feed.run(), name="feed"),
            asyncio.create_task(self._configure(), name="configure"),
        ]

    async def stop(self) -> None:
        """Let requests finish, stop Envoy, then everything it asked."""
        for task in self._tasks:
            task.cancel()
        await self._envoy.stop()
        if self._server is not None:
            await self._server.close()
        await self._explainer.close()
        await self._health.stop()
        self._file.close()
        self._journal.close()

    def _parts(self) -> CheckParts:
        sealer = Sealer(self._state.key(APP_SECRETS))

        def unseal(fact: SecretFact) -> Secret[str]:
            return sealer.open(fact.sealed, secret_context(fact.id))

        return CheckParts(
            replica=self._replica,
            engine=self._memo,
            journal=self._journal,
            signer=AssertionSigner(self._state.assertion_key_path.read_bytes()),
            explainer=self._explainer,
            pages=Pages(pages.render, pages.page_headers()),
            unseal=unseal,
            clock=self._clock,
            token_key=self._state.key(TOKENS).reveal(),
            node=NODE,
            make_nonce=lambda: secrets.token_hex(16),
            note_seen=self._feed.note_seen,
        )

    # --- Envoy -------------------------------------------------------------------------------------

    def _notice(self, touched: Touched) -> None:
        if "bundle" in touched.kinds:
            self._configuring.set()

    async def _configure(self) -> None:
        """Start Envoy with the first bundle, and bring each later one into force."""
        while True:
            await self._configuring.wait()
            self._configuring.clear()
            active = self._replica.active
            if active is None:
                continue
            try:
                if self._started:
                    await self._envoy.apply(active.catalogue)
                else:
                    await self._envoy.start(active.catalogue)
                    self._started = True
                    await self._envoy.wait_ready()
                    self._settle()
            except LimenError as error:
                log.error("gateway.not_configured", why=error.message, remedy=error.remedy)

    def _settle(self) -> None:
        """Once it serves: what is there stays, so the collector need not look at it; explanations come."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 50)
        self._explainer.warm()

    def _take_outcome(self, outcome: OutcomeRecord) -> None:
        try:
            self._journal.append(outcome)
        except LimenError as error:
            log.error("gateway.outcome_lost", why=error.message)

    # --- health ------------------------------------------------------------------------------------

    def _ready(self) -> bool:
        return (
            self._replica.active is not None
            and self._replica.confirmed_at is not None
            and self._envoy.status().state is State.READY
        )

    def _describe(self) -> dict[str, object]:
        return dict(msgspec.to_builtins(self._envoy.status()))

    def _gauges(self) -> dict[str, Gauge]:
        return {
            "limen_gateway_replica_seq": ("Position in the change feed.", lambda: float(self._replica.seq)),
            "limen_gateway_replica_age_seconds": (
                "Age of what this gateway knows, on its own boot clock.",
                lambda: self._replica.age_s(self._clock.boot_s()),
            ),
            "limen_gateway_memo_hits": ("Decisions answered from the memo.", lambda: float(self._memo.hits)),
            "limen_gateway_memo_misses": ("Decisions made anew.", lambda: float(self._memo.misses)),
            "limen_gateway_envoy_restarts": (
                "Times that Envoy was started again.",
                lambda: float(self._envoy.status().restarts),
            ),
        }

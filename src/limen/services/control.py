"""`limen control`: the store, sign-in, the admin API, the change feed, wired together in one process."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from prometheus_client import Gauge

from limen import __version__
from limen.administrator.active import load_bundle
from limen.administrator.authority import Authority
from limen.administrator.change_events import Heard, apply_heard
from limen.administrator.policies import HOST_OPERATOR, PolicyAdministrator
from limen.administrator.replica import Replica, session_facts
from limen.administrator.touched import Books, LastAdmin
from limen.api.admin import create_admin
from limen.api.deps import AdminDeps
from limen.api.peer import PeerProtocol
from limen.api.remote import create_remote
from limen.console.app import create_console
from limen.console.deps import ConsoleDeps
from limen.core.changes import Change, Snapshot, WorkloadFact
from limen.core.clock import SystemClock
from limen.core.errors import Conflict, LimenError, NotFound
from limen.core.record import DecisionRecord, EventRecord
from limen.core.secret import Secret
from limen.enforcement.check.assertion import AssertionSigner
from limen.journal.checkpoints import load_node_signer
from limen.journal.reader import JournalReader
from limen.journal.writer import Journal
from limen.services.control_gateways import ControlGateways, GatewayCollector
from limen.services.control_identity import IdentityCare
from limen.services.control_journal import JournalCare
from limen.services.control_status import describe_doors, describe_state, folder_differs
from limen.services.feed import FeedServer
from limen.services.serving import UnixServer, new_registry, run_service
from limen.services.state import StateDir, read_bundle
from limen.store.backfill import run_backfills
from limen.store.configured import open_store
from limen.store.sealing import APP_SECRETS, CREDENTIALS, TOKENS, Sealer
from limen.store.secrets import load_secret
from limen.store.sessions import Session

NODE = "control"
SWEEP_EVERY_S = 30.0
NOTED_AT_ONCE = 256  # an import changes thousands; decisions are recorded between these groups
CHANGES_KEPT = 100_000  # a gateway that is further behind takes a snapshot

log = structlog.get_logger("limen.control")


class ControlOptions(msgspec.Struct, frozen=True):
    """What `limen control` was told.

    Attributes:
        bundle: applied if none is active.
        gateways: HOST:PORT on which gateways of other machines are served; the console is on PORT+1.
    """

    state: Path
    bundle: Path | None
    public_port: int
    metrics: str | None
    gateways: str | None = None


def run_control(options: ControlOptions) -> None:
    """Run until SIGTERM or SIGINT."""
    run_service(NODE, options.state, options.metrics, lambda state: Control(state, options))


class Control:
    """One running control.

    Attributes:
        console, admin: its two applications.
        registry: its metrics.
    """

    def __init__(self, state: StateDir, options: ControlOptions) -> None:
        self._state = state
        self._options = options
        self._clock = SystemClock()
        self._committed_at = 0.0
        self._identity: IdentityCare | None = None  # once the console stands
        self.registry = new_registry()
        self._head = Gauge(
            "limen_change_feed_head", "Position of the last committed change.", registry=self.registry
        )
        self._store = open_store(state.database, self._clock, os.environ)
        signer = load_node_signer(state.root / "keys", state.journal, NODE)
        self._journal = Journal.open(state.journal, NODE, self._clock, signer=signer)
        self._replica = Replica(load_bundle)
        self._authority = Authority(self._replica, self._journal, self._clock, NODE)
        self._policies = PolicyAdministrator(self._store, self._authority)
        self._books = Books(self._authority)
        self._app_sealer = Sealer(state.key(APP_SECRETS))
        self._signer = AssertionSigner(state.assertion_key_path.read_bytes())
        self._seed()
        self._store.guard(LastAdmin(self._authority, self._books))
        self.console = create_console(self._console_deps())
        self._parts = self.console.state.parts
        self._identity = IdentityCare(
            self.console, alarmed=self._books.holders, secret=self._secret, registry=self.registry
        )
        self._feed = FeedServer(self._store, state.socket("feed"), on_seen=self._identity.note_seen)
        self._gateways = ControlGateways(
            state,
            self._feed,
            self._parts.desk.ledger,
            self._clock,
            console=self.console,
            catalogue=lambda: self._authority.active().catalogue,
            listen=options.gateways,
        )
        self.registry.register(GatewayCollector(self._feed, self._gateways.ships))
        self._care = JournalCare(
            state,
            self._store,
            self._clock,
            node=NODE,
            note=self._note,
            catalogue=lambda: self._authority.active().catalogue,
            secret=self._secret,
            registry=self.registry,
        )
        admin_deps = self._admin_deps()
        self.admin = create_admin(admin_deps)
        self.console.state.gate.mount("/api", create_remote(admin_deps))
        self._servers = (
            UnixServer(self.console, state.socket("control")),
            UnixServer(self.admin, state.socket("admin"), protocol=PeerProtocol),
        )
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve."""
        assert self._identity is not None
        await self._feed.start()
        for server in self._servers:
            await server.start()
        await self._gateways.start()
        await self._care.start()
        self._identity.start()
        self._sweeping = asyncio.create_task(self._sweep(self._identity), name="sweep")
        log.info("control.ready", version=__version__, head=self._replica.seq)

    async def stop(self) -> None:
        """Stop serving, and leave everything closed and synced."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._identity is not None:
            await self._identity.stop()
        await self._care.stop()
        for server in self._servers:
            await server.stop()
        await self._gateways.stop()
        await self._feed.close()
        self.close()

    def close(self) -> None:
        """Close what is open, served or not."""
        self._journal.close()
        self._store.close()

    # --- beginning ---------------------------------------------------------------------------------

    def _seed(self) -> None:
        """Bring the replica up, and give an empty system its operator and its first bundle."""
        with self._store.transaction("limen", "start") as tx:
            operator = WorkloadFact(HOST_OPERATOR.id, owner="")
            tx.change("workload", operator.id, operator)
        self._store.follow(self._restart, self._follow)
        if self._replica.bundle() is None and self._options.bundle is not None:
            files = read_bundle(self._options.bundle)
            applied = self._policies.apply(files, actor="limen up", reason="first start", first=True)
            log.info("control.bundle_applied", bundle=applied.bundle, warnings=len(applied.findings))
        if self._replica.bundle_error is not None:
            log.error("control.bundle_unusable", why=self._replica.bundle_error.message)

    def _restart(self, snapshot: Snapshot) -> None:
        """Begin anew from what the database holds: at start, and after it was restored."""
        self._authority.update(lambda replica: replica.apply_snapshot(snapshot))
        self._head.set(snapshot.seq)
        self._configure_journal()

    def _follow(self, changes: tuple[Change, ...]) -> None:
        self._committed_at = self._clock.now()
        heard: list[Heard] = []
        self._authority.update(lambda replica: heard.append(apply_heard(replica, changes)))
        self._head.set(changes[-1].seq)
        if self._identity is not None:
            self._identity.hear(changes)
        if any(change.kind == "bundle" for change in changes):
            self._configure_journal()
        noted = heard[0].events(epoch=self._store.epoch, node=NODE)
        for first in range(0, len(noted), NOTED_AT_ONCE):
            self._journal.append_many(noted[first : first + NOTED_AT_ONCE])

    def _configure_journal(self) -> None:
        if self._replica.active is not None:
            self._journal.configure(self._replica.active.catalogue.journal)

    def _note(self, event: EventRecord) -> None:
        self._journal.append(event)

    # --- the console and the admin API -------------------------------------------------------------

    def _console_deps(self) -> ConsoleDeps:
        return ConsoleDeps(
            store=self._store,
            clock=self._clock,
            catalogue=lambda: self._authority.active().catalogue,
            sealer=Sealer(self._state.key(CREDENTIALS)),
            token_key=self._state.key(TOKENS).reveal(),
            port=self._options.public_port,
            note=self._note,
            jwks=lambda: {"keys": [self._signer.public_jwk(), *self._gateways.jwks()]},
            may_open=self._may_open,
            secret=self._secret,
            decision=self._decision,
            authority=self._authority,
            registry=self.registry,
            ready=self._ready,
            node=NODE,
        )

    def _admin_deps(self) -> AdminDeps:
        return AdminDeps(
            store=self._store,
            clock=self._clock,
            authority=self._authority,
            policies=self._policies,
            sealer=self._app_sealer,
            journal_root=self._state.journal,
            ledger=self._parts.desk.ledger,
            desk=self._parts.desk,
            status=self._status,
            ready=self._ready,
            registry=self.registry,
            gateways=self._gateways,
            committed_at=lambda: self._committed_at,
            sinks=self._care.sinks.status,
            oauth=self._parts.oauth,
        )

    def _may_open(self, person: str, session: Session) -> Mapping[str, tuple[bool | None, str]]:
        return self._authority.may_open(person, session_facts(session.render_fact()))

    def _secret(self, name: str) -> Secret[str]:
        with self._store.read() as connection:
            return load_secret(connection, name, self._app_sealer)

    def _decision(self, decision: str) -> DecisionRecord | None:
        with contextlib.suppress(NotFound, Conflict):
            return JournalReader(self._state.journal).find(decision).decision
        return None

    def _ready(self) -> bool:
        return self._replica.active is not None

    def _status(self) -> dict[str, Any]:
        catalogue, bundle = self._authority.active().catalogue, self._authority.bundle()
        return {
            "version": __version__,
            **describe_doors(catalogue, self._parts.desk),
            "bundle": bundle.bundle_id,
            "folder_differs": folder_differs(self._options.bundle, bundle.files),
            "change_feed_head": self._replica.seq,
            "epoch": self._store.epoch,
            "gateways": {one.node: one.position for one in self._feed.gateways},
            **describe_state(catalogue, self._state),
        }

    # --- housekeeping ------------------------------------------------------------------------------

    async def _sweep(self, identity: IdentityCare) -> None:
        await asyncio.to_thread(run_backfills, self._store)  # in batches, beside the serving
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            await self._sweep_once(identity)

    async def _sweep_once(self, identity: IdentityCare) -> None:
        """Do what is due, each by itself: what one of them cannot do must not keep the others waiting."""
        for part in (*identity.sweeps, lambda: self._store.prune(keep=CHANGES_KEPT)):
            try:
                await asyncio.to_thread(part)
            except LimenError as error:  # the next sweep tries again
                log.warning("control.not_swept", why=error.message)
            except Exception:  # a fault in one part must not end all sweeping for good
                log.exception("control.sweep_failed")

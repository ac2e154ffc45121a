"""What one brain decides with: replica, feed, check, streams, journal. All of it lives on one loop."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from limen.administrator.active import ActiveBundle, load_bundle
from limen.administrator.feed_client import FeedClient
from limen.administrator.reassess import Reassessor
from limen.administrator.reassess_metrics import ReassessCollector
from limen.administrator.replica import Replica, Touched
from limen.administrator.replica_file import ReplicaFile, read_boot_id
from limen.administrator.streams import Ending, LiveStream, Streams
from limen.console import pages
from limen.core.changes import BundleFact, SecretFact
from limen.core.clock import SystemClock
from limen.core.errors import LimenError, Unavailable
from limen.core.record import OutcomeRecord
from limen.core.secret import Secret
from limen.enforcement.check.assertion import AssertionSigner
from limen.enforcement.check.check import Check
from limen.enforcement.check.explanations import Explanations
from limen.enforcement.check.metrics import CheckCollector, Gauge, Tally
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.ports import Pages
from limen.enforcement.check.protocol import Shell
from limen.enforcement.check.server import CheckServer, start_check
from limen.enforcement.envoy.access_log import StreamBytes
from limen.enforcement.leash.leash import Leash
from limen.enforcement.leash.metrics import LeashCollector, LeashTally
from limen.enforcement.leash.records import ended_record, was_live
from limen.enforcement.leash.server import LeashServer, start_leash
from limen.enforcement.leash.watchdog import EXIT_CODE, Watchdog
from limen.engine.memo import Memo
from limen.journal.checkpoints import load_node_signer
from limen.journal.keys import Keys
from limen.journal.retention import Retention
from limen.journal.writer import Journal
from limen.services.gateway_commands import stream_commands
from limen.services.gateway_identity import Seat
from limen.services.gateway_replica import adopt_replica
from limen.services.ship import Shipper, erase_commands
from limen.services.state import StateDir
from limen.store.sealing import Sealer, secret_context

log = structlog.get_logger("limen.gateway")


class Deciding:
    """The parts of one brain, in the slot `slot` of the gateway that sits at `seat`."""

    def __init__(self, state: StateDir, seat: Seat, slot: str) -> None:
        node = seat.node
        self.clock = SystemClock()
        journal = f"{seat.journal}-{slot}"
        signer = load_node_signer(state.root / "keys", state.journal, journal)
        self._keys = Keys.open(state.journal)
        self.journal = Journal.open(state.journal, journal, self.clock, keys=self._keys, signer=signer)
        self.replica = Replica(self._load_bundle)
        self.replica.subscribe(self._configure_journal)
        self.memo = Memo()
        self.streams = Streams(self.clock, on_end=self._stream_ended)
        self.explainer = Explanations(self.replica, self.clock)
        self._state, self._seat, self._slot = state, seat, slot
        self._shipper = self._make_shipper()
        self._file = ReplicaFile(adopt_replica(state.root, slot), self.clock, read_boot_id())
        self.feed = FeedClient(
            seat.dial,
            self.replica,
            self.clock,
            node=node,
            file=self._file,
            commands=stream_commands(self.streams) | erase_commands(self._keys),
            streams=lambda: len(self.streams),
            protocol_oldest=seat.protocol_oldest,
        )
        self._tally, self._leash_tally = Tally(), LeashTally()
        self._check = Check(self._parts())
        shell = Shell(self._check, self.feed, self.explainer, self._tally)
        self._leash = Leash(shell, self.streams, self._leash_tally)
        self._watchdog = Watchdog()
        self._reassessor = Reassessor(
            self.replica, self.streams, self.memo, self.journal, self.clock, node=node
        )
        self._check_server: CheckServer | None = None
        self._leash_server: LeashServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def confirmed(self) -> bool:
        """Whether the age of what is known is known."""
        return self.replica.confirmed_at is not None

    async def start(self) -> None:
        """Follow control, and answer on this slot's sockets."""
        self._file.load(self.replica)
        self._tasks = [_vital(self.feed.run(), "feed")]
        await self._catch_up()
        self._check_server = await start_check(
            self._socket("check"),
            self._check,
            control=self.feed,
            explainer=self.explainer,
            tally=self._tally,
        )
        self._leash_server = await start_leash(self._socket("leash"), self._leash, watchdog=self._watchdog)
        self._tasks.append(_vital(self._reassessor.run(), "reassess"))
        if self._shipper is not None:
            self._tasks.append(asyncio.create_task(self._shipper.run(), name="ship"))
            self._tasks[-1].add_done_callback(_lament)  # decisions go on, and control sees that nothing comes

    async def _catch_up(self) -> None:
        """Learn what was changed while no brain ran, before the first answer.

        The replica's file knows nothing of a revocation since. Where control does not answer soon, it
        must do: its age counts.
        """
        with contextlib.suppress(Unavailable):
            await self.feed.ask()

    def refuse_streams(self) -> None:
        """Hold no new live streams; those that are held go on."""
        if self._leash_server is not None:
            self._leash_server.retire()

    def end_streams(self) -> None:
        """End every live stream that is left."""
        self._leash.end_all()

    async def close(self) -> None:
        """Let answers leave, and write everything down."""
        for task in self._tasks:
            task.cancel()
        if self._leash_server is not None:
            await self._leash_server.close()
        if self._check_server is not None:
            await self._check_server.close()
        await self.explainer.close()
        self._file.close()
        self.journal.close()  # its keys too

    # --- what Envoy tells --------------------------------------------------------------------------

    def take_outcome(self, outcome: OutcomeRecord) -> None:
        """Write down how a request ended."""
        try:
            self.journal.append(outcome)
        except LimenError as error:
            log.error("gateway.outcome_lost", why=error.message)

    def take_bytes(self, seen: StreamBytes) -> None:
        """Note what a live stream has carried so far; one that is used keeps its session in use."""
        session_id = self.streams.note_bytes(seen.id, seen.bytes_in, seen.bytes_out, seen.at)
        if session_id is not None:
            self.feed.note_seen(session_id, seen.at)

    def _stream_ended(self, stream: LiveStream, ending: Ending) -> None:
        at = self.clock.now()
        if was_live(stream, ending, at):
            self.journal.append(ended_record(stream, ending, at, self._seat.node), urgent=True)

    def _configure_journal(self, touched: Touched) -> None:
        if "bundle" in touched.kinds and self.replica.active is not None:
            config = self.replica.active.catalogue.journal
            if self._shipper is not None:  # which removes what control has, and nothing else
                config = msgspec.structs.replace(config, keep_s={}, bytes_max=None)
            self.journal.configure(config)

    def _load_bundle(self, fact: BundleFact) -> ActiveBundle:
        """Compile a bundle. The loop stands still meanwhile, and ought to."""
        with self._watchdog.patient():
            return load_bundle(fact)

    # --- inside ------------------------------------------------------------------------------------

    def register(self, registry: CollectorRegistry, gauges: dict[str, Gauge]) -> None:
        """Enter all that is measured here, with `gauges`, into a registry."""
        registry.register(CheckCollector(self._tally, self._gauges() | gauges))
        registry.register(LeashCollector(self._leash_tally, lambda: len(self.streams)))
        registry.register(ReassessCollector(self._reassessor.tally, self.streams))

    def _gauges(self) -> dict[str, Gauge]:
        """Return what is measured here."""
        return {
            "limen_gateway_replica_seq": ("Position in the change feed.", lambda: float(self.replica.seq)),
            "limen_gateway_replica_age_seconds": (
                "Age of what this gateway knows, on its own boot clock.",
                lambda: self.replica.age_s(self.clock.boot_s()),
            ),
            "limen_gateway_clock_skew_seconds": (
                "How far this clock is ahead of control's.",
                lambda: self.feed.skew_s,
            ),
            "limen_gateway_memo_hits": ("Decisions answered from the memo.", lambda: float(self.memo.hits)),
            "limen_gateway_memo_misses": ("Decisions made anew.", lambda: float(self.memo.misses)),
        } | self._ship_gauges()

    def _ship_gauges(self) -> dict[str, Gauge]:
        shipper = self._shipper
        if shipper is None:
            return {}
        return {
            "limen_gateway_ship_connected": (
                "Whether control takes this brain's records now.",
                lambda: float(shipper.shipping),
            ),
            "limen_gateway_ship_left_bytes": (
                "Bytes of this machine's journals that control has yet to get; -1 where another brain ships.",
                lambda: float(-1 if shipper.left_bytes is None else shipper.left_bytes),
            ),
        }

    def _make_shipper(self) -> Shipper | None:
        """Return what ships this machine's journals; None where control reads them itself."""
        if self._seat.ship_dial is None:
            return None
        keys, journal = self._state.root / "keys", self._state.journal
        return Shipper(
            self._seat.ship_dial,
            journal,
            self._seat.node,
            self._keys,
            self.clock,
            retention=self._retention,
            signer=lambda name: load_node_signer(keys, journal, name),
        )

    def _retention(self) -> Retention:
        """Return how long this machine keeps what control has."""
        active = self.replica.active
        if active is None:
            return Retention()
        config = active.catalogue.journal
        return Retention(bytes_max=config.bytes_max, keep_s=config.keep_s)

    def _socket(self, name: str) -> Path:
        return self._state.socket(f"{name}-{self._slot}")

    def _parts(self) -> CheckParts:
        sealer = Sealer(self._seat.app_secret_key)

        def unseal(fact: SecretFact) -> Secret[str]:
            return sealer.open(fact.sealed, secret_context(fact.id))

        return CheckParts(
            replica=self.replica,
            engine=self.memo,
            journal=self.journal,
            signer=AssertionSigner(self._state.assertion_key_path.read_bytes()),
            explainer=self.explainer,
            pages=Pages(pages.render, pages.page_headers()),
            unseal=unseal,
            clock=self.clock,
            token_key=self._seat.token_key.reveal(),
            node=self._seat.node,
            make_nonce=lambda: secrets.token_hex(16),
            note_seen=self.feed.note_seen,
        )


def _vital(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run what a brain cannot be without: should it ever fail, the process ends, and every stream with it."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_end_with)
    return task


def _lament(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        log.critical("gateway.part_failed", part=task.get_name(), exc_info=task.exception())


def _end_with(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        log.critical("gateway.part_failed", part=task.get_name(), exc_info=task.exception())
        os._exit(EXIT_CODE)

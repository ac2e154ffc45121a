"""`limen gateway`: the host. It runs Envoy and one brain; while it upgrades, two.

Small on purpose: it decides nothing, reads no fact and no bundle, and imports little, so that it has no
reason to fail. What it runs ends with it (parent-death signal). Run as
`python -m limen.services.gateway_host`, which `limen gateway` becomes.

Laws:
    H1 one writer: at each instant at most one brain is told to write Envoy's files.
    H2 an upgrade that fails leaves what was.
    H3 nobody waits for a brain: its input and its orders are bounded, and one that is silent is killed.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import structlog

from limen.core.errors import Invalid, LimenError
from limen.enforcement.envoy.binary import find_envoy
from limen.enforcement.envoy.process import EnvoyProcess
from limen.enforcement.envoy.settings import SLOTS, EnvoySettings
from limen.services.gateway_options import GatewayOptions, parse_arguments
from limen.services.gateway_slot import Phase, Slot
from limen.services.gateway_status import GatewayStatus, SlotStatus, UpgradeStatus, write_status
from limen.services.gateway_words import (
    Activate,
    Alone,
    EnvoyIs,
    Kick,
    Order,
    Refused,
    Retire,
    Run,
    Said,
    Serving,
    Standing,
    Stop,
    Word,
    Yield,
)
from limen.services.logs import configure_logs
from limen.services.processes import obey_parent, raise_file_limit

log = structlog.get_logger("limen.gateway")

UPGRADE_READY_S = 60.0  # for the next brain to stand
YIELD_S = 20.0  # for the old one to finish what it writes
SERVING_S = 40.0  # for Envoy to ask the next one
OVERTIME_S = 30.0  # after a retiring brain's deadline: it should have ended itself
DRAIN_MAX_S = 6.0  # beside `drain_s`, for plain requests
ENDING_S = 5.0  # for a brain to write down what Envoy said last
METRICS_BACKLOG = 16


class Host:
    """The processes of one gateway."""

    def __init__(self, options: GatewayOptions, run: Path) -> None:
        self._options = options
        self._status_file = run / "gateway.json"
        self._envoy = EnvoyProcess(
            EnvoySettings(
                folder=options.state / "envoy",
                run=run,
                binary=find_envoy(),
                host=options.listen,
                port=options.port,
            )
        )
        self._envoy.reserve()
        self._envoy.on_output = self._copy
        self._envoy.on_start = self._tell_envoy
        self._envoy.on_said = lambda text: self._tell_all(Said(text))
        self._metrics = listen_metrics(options.metrics)
        self._slots: dict[str, Slot] = {}
        self._active = SLOTS[0]
        self._since = 0.0  # requests from then on are the active brain's to record
        self._moving = False
        self._stopping = False
        self._upgrade = UpgradeStatus()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the first brain; it says when Envoy's files stand."""
        self._run_slot(self._active)

    def begin_upgrade(self) -> None:
        """Start to replace the brain by one of the code that is on the disk now."""
        self._later(self.upgrade())

    async def upgrade(self) -> None:
        """Put the other slot's brain in the place of the active one, or leave everything as it was (H2)."""
        n = self._upgrade.n + 1
        old = self._slots[self._active]
        if self._stopping or len(self._slots) > 1:
            why = "the brain before this one still holds live streams, or an upgrade is under way"
            self._note_upgrade(UpgradeStatus(n=n, at=time.time(), outcome="refused", why=why))
            return
        self._note_upgrade(UpgradeStatus(n=n, at=time.time(), outcome="running"))
        new = self._run_slot(next(name for name in SLOTS if name != old.name))
        why = await self._move(old, new)
        if not why:
            self._note_upgrade(UpgradeStatus(n=n, at=time.time(), outcome="done"))
            return
        log.error("upgrade_failed", why=why)
        await new.stop()
        del self._slots[new.name]
        if old.phase not in (Phase.STARTING, Phase.ENDED):  # it may have been told to yield
            old.tell(Activate(self._since))
        self._note_upgrade(UpgradeStatus(n=n, at=time.time(), outcome="failed", why=why))

    async def stop(self) -> None:
        """Drain, stop Envoy, then the brains: nothing that Envoy said is lost."""
        self._stopping = True
        for task in tuple(self._tasks):
            task.cancel()
        for slot in self._slots.values():
            slot.tell(Stop(self._options.drain_s))
        patience_s = self._options.drain_s + DRAIN_MAX_S
        await self._each(lambda slot: slot.until(_has_drained, patience_s))
        await self._envoy.stop()
        for slot in self._slots.values():
            slot.close_input()
        await self._each(lambda slot: slot.until(_has_ended, ENDING_S))
        for slot in self._slots.values():
            await slot.stop()
        self._status_file.unlink(missing_ok=True)

    # --- moving -----------------------------------------------------------------------------------

    async def _move(self, old: Slot, new: Slot) -> str:
        """Move the gateway to another brain; return why it could not, or nothing."""
        if not await new.until(_could_serve, UPGRADE_READY_S) or new.phase is Phase.ENDED:
            return "the new brain did not become ready"
        self._moving = True
        try:
            since = time.time()
            old.tell(Yield(since))
            if not await old.until(_has_yielded, YIELD_S):
                return "the old brain did not finish what it was writing"
            new.tell(Activate(since))
            done = await new.until(_has_settled, SERVING_S)
            if not done or new.phase is not Phase.SERVING:
                return new.refusal or "the new brain did not serve in time"
        finally:
            self._moving = False
        self._active, self._since = new.name, since
        self._later(self._retire(old))
        return ""

    async def _retire(self, old: Slot) -> None:
        """Wait for a brain to end, when its streams have."""
        deadline_s = self._options.upgrade_deadline_s
        if old.phase is Phase.YIELDED:  # else it died meanwhile, and its streams with it
            old.tell(Retire(deadline_s))
            self._write_status()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(old.ended(), deadline_s + OVERTIME_S)
        await old.stop()
        del self._slots[old.name]
        self._slots[self._active].tell(Alone())
        self._since = 0.0
        self._write_status()

    # --- brains -----------------------------------------------------------------------------------

    def _run_slot(self, name: str) -> Slot:
        arguments = ("-m", "limen", "gateway", "--brain", name, *self._options.arguments())
        slot = Slot(name, arguments, self._metrics)
        slot.on_word = self._hear
        self._slots[name] = slot
        slot.start()
        return slot

    def _hear(self, slot: Slot, word: Word | None) -> None:
        match word:
            case Standing():
                slot.tell(self._envoy_is())
                if slot.name == self._active and not self._moving and not self._stopping:
                    slot.tell(Activate(self._since))
            case Run() if not self._envoy.running and not self._stopping:
                self._envoy.start()
            case Kick():
                self._envoy.kick()
            case Refused():
                log.error("brain_refused", slot=slot.name, why=word.why)
            case Serving():
                log.info("brain_serves", slot=slot.name, pid=slot.pid, release=slot.release)
        self._write_status()

    def _copy(self, lines: bytes) -> None:
        for slot in self._slots.values():
            slot.copy(lines)

    def _tell_all(self, order: Order) -> None:
        for slot in self._slots.values():
            slot.tell(order)

    def _tell_envoy(self) -> None:
        self._tell_all(self._envoy_is())
        self._write_status()

    def _envoy_is(self) -> EnvoyIs:
        return EnvoyIs(self._envoy.running, self._envoy.pid, self._envoy.restarts)

    # --- what is told ------------------------------------------------------------------------------

    def _note_upgrade(self, status: UpgradeStatus) -> None:
        log.info("upgrade", outcome=status.outcome, why=status.why)
        self._upgrade = status
        self._write_status()

    def _write_status(self) -> None:
        slots = {
            name: SlotStatus(slot.phase, slot.pid, slot.release, slot.streams, slot.restarts)
            for name, slot in self._slots.items()
        }
        status = GatewayStatus(os.getpid(), self._active, slots, self._envoy.pid, self._upgrade)
        try:
            write_status(self._status_file, status)
        except OSError as error:  # a full disk: the gateway goes on
            log.warning("status_not_written", why=error.strerror)

    # --- inside -----------------------------------------------------------------------------------

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _each(self, work: Callable[[Slot], Coroutine[None, None, bool]]) -> None:
        await asyncio.gather(*(work(slot) for slot in self._slots.values()))


def _could_serve(slot: Slot) -> bool:
    return slot.phase is Phase.ENDED or (slot.phase is Phase.STANDING and slot.confirmed)


def _has_yielded(slot: Slot) -> bool:
    return slot.phase in (Phase.YIELDED, Phase.ENDED)  # one that died writes nothing either


def _has_settled(slot: Slot) -> bool:
    return slot.phase in (Phase.SERVING, Phase.ENDED) or bool(slot.refusal)


def _has_drained(slot: Slot) -> bool:
    return slot.phase in (Phase.DRAINED, Phase.ENDED, Phase.STARTING)  # the last has nothing to drain


def _has_ended(slot: Slot) -> bool:
    return slot.phase is Phase.ENDED


def listen_metrics(address: str | None) -> socket.socket | None:
    """Listen where Prometheus asks; the brain that is active answers there.

    Raises:
        Invalid: not HOST:PORT, or it cannot be listened on.
    """
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server((host or "127.0.0.1", int(port)), backlog=METRICS_BACKLOG)
    except (ValueError, OSError) as error:
        raise Invalid(
            f"--metrics: cannot serve on '{address}': {error}.", remedy="Write HOST:PORT of a free port."
        ) from None


async def run_host(options: GatewayOptions, run: Path) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP upgrades."""
    host = Host(options, run)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, host.begin_upgrade)
    try:
        host.start()
        await stopping.wait()
    finally:
        await host.stop()


def main() -> None:
    """Be the host: the arguments are `RUN-FOLDER`, then those of `GatewayOptions`."""
    obey_parent()
    configure_logs(process="gateway-host")
    try:
        raise_file_limit()
        asyncio.run(run_host(parse_arguments(sys.argv[2:]), Path(sys.argv[1])))
    except LimenError as error:
        log.error("gateway_not_started", why=error.message, remedy=error.remedy)
        sys.exit(1)


if __name__ == "__main__":
    main()

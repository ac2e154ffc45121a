"""A gateway's brain stopped, its Envoy killed, its clock moved, its disk full; SIGTERM under traffic.

`test_gateway_life.py` shows that streams end and that all comes back. Here a revocation is made meanwhile:
it must hold, whatever happened, and nobody may slip in. One system for all tests: control, one gateway,
the journal on a small disk of its own where root runs the tests.
"""

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from fault_rig import FaultRig, fault_rig, until

from limen.services.conformance.loops import BROKEN

pytestmark = [pytest.mark.envoy]

Record = Callable[[str, object], None]
KIT = Path(__file__).parents[1] / "kit"
DISK = "48m"
DAY_S = 86_400.0
SWEEP_S = 30.0 + 10.0  # control's own look at whose time is over, on a busy machine
SOON_S = 2.0


class Site(NamedTuple):
    rig: FaultRig
    clock: Path
    disk: Path | None


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    disks: list[Path] = []

    def prepare(root: Path) -> None:
        journal = root / "control" / "journal"
        journal.mkdir(mode=0o700, parents=True)
        journal.parent.chmod(0o700)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "limen-test", str(journal)]
        if os.geteuid() == 0 and not subprocess.run(command, check=False, capture_output=True).returncode:
            disks.append(journal)

    with tempfile.TemporaryDirectory(prefix="lf-") as folder:
        clock = Path(folder) / "clock"
        environ = {"PYTHONPATH": str(KIT / "fault_clock"), "LIMEN_FAULT_CLOCK": str(clock)}
        try:
            with fault_rig(1, prepare=prepare, gateway_environ=environ) as rig:
                yield Site(rig, clock, disks[0] if disks else None)
                for disk in disks:
                    subprocess.run(["umount", "-l", str(disk)], check=True)
                disks.clear()
        finally:
            for disk in disks:
                subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_brain_that_stood_still_during_a_revocation_lets_nobody_in(
    site: Site, record_property: Record
) -> None:
    """It goes on before its host loses patience: with what it knew, and questions that have waited."""

    async def story() -> None:
        rig = site.rig
        async with rig.held("gone") as gone, rig.held("stays") as stays:
            brain = rig.brain()
            os.kill(brain, signal.SIGSTOP)
            at = await rig.hold(gone)
            stopped_at = time.time()
            await until(lambda: time.time() > stopped_at + 1.0, "a second of standstill")
            os.kill(brain, signal.SIGCONT)
            woken_at = time.time()
            await gone.ended()
            await gone.denied()
            slipped = gone.allowed_after(at)
            record_property("slipped", len(slipped))
            record_property("cut_after_s", round(time.time() - woken_at, 2))
            assert not [one for one in slipped if one.answered_at > woken_at + SOON_S]
            assert len(slipped) <= len(gone.loops), "at most what had waited"
            await stays.allowed()
            assert rig.brain() == brain

    site.rig.run(story())


@pytest.mark.parametrize("what", ["brain killed", "brain stopped", "envoy killed"])
def test_a_revocation_during_an_outage_holds_after_it(site: Site, what: str, record_property: Record) -> None:
    async def story() -> None:
        rig = site.rig
        async with rig.held("gone") as gone, rig.held("stays") as stays:
            status = rig.status()
            victim = status.envoy if what == "envoy killed" else rig.brain()
            os.kill(victim or 0, signal.SIGSTOP if what == "brain stopped" else signal.SIGKILL)
            at = await rig.hold(gone)
            last_at = await gone.ended()
            await stays.ended()
            record_property("cut_after_s", round(last_at - at, 2))
            await gone.denied()
            await stays.allowed()
            record_property("recovered_after_s", round(time.time() - at, 2))
            await gone.denied()  # by what has come back, too
            if (
                what != "envoy killed"
            ):  # which kills nobody's knowledge: a question may have been asked before
                assert not gone.allowed_after(at)
            assert not gone.allowed_after(at + SOON_S)
            assert stays.answers() <= {200, 503, BROKEN}
            before = {status.envoy, status.slots[status.active].pid}
            await until(lambda: rig.brain() and rig.status().envoy, "a gateway that is whole")
            now = rig.status()
            assert {now.envoy, now.slots[now.active].pid} != before

    site.rig.run(story())


def test_a_wall_clock_that_is_moved_opens_nothing(site: Site, record_property: Record) -> None:
    """Forward: every session seems over. Back: control's own clock says whose time is over."""

    async def story() -> None:
        rig = site.rig
        async with rig.held("stays") as stays:
            moved_at = time.time()
            site.clock.write_text(str(DAY_S))
            last_at = await stays.ended()
            await stays.denied()
            record_property("forward_cut_after_s", round(last_at - moved_at, 2))
            assert not stays.allowed_after(moved_at + SOON_S)
            site.clock.write_text(str(-DAY_S))
            await stays.allowed()
        async with rig.held("ends") as ends, rig.held("stays") as stays:
            at = time.time() + 1.0
            body = {"expires_at": at, "reason": "fault"}
            path = f"/v1/people/{ends.holder.username}"
            await asyncio.to_thread(lambda: rig.world.call("PATCH", path, json=body))
            last_at = await ends.ended(SWEEP_S + 10)
            await ends.denied()
            record_property("behind_cut_after_s", round(last_at - at, 2))
            assert last_at - at < SWEEP_S
            await stays.talking()
            assert stays.answers() == {200}
            site.clock.unlink()
            await stays.talking()
            await stays.allowed()

    try:
        site.rig.run(story())
    finally:
        site.clock.unlink(missing_ok=True)


def test_a_full_disk_denies_what_cannot_be_recorded_and_revocation_goes_on(
    site: Site, record_property: Record
) -> None:
    if site.disk is None:
        pytest.skip("a disk of one's own needs root")
    filler = site.disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                while True:
                    try:
                        if file.write(b"\0" * size) < size:
                            break
                    except OSError:
                        break

    async def story() -> None:
        rig = site.rig
        async with rig.held("gone") as gone, rig.held("stays") as stays:
            await asyncio.to_thread(fill)
            await stays.denied()
            full_at = time.time()
            at = await rig.hold(gone)
            last_at = await gone.ended()
            record_property("cut_after_s", round(last_at - at, 3))
            await stays.denied()
            assert not stays.allowed_after(full_at)
            assert stays.answers(since=full_at) == {503}
            await stays.talking()  # what was recorded when it opened goes on
            filler.unlink()
            record_property("recovered_after_s", round(await stays.allowed(), 2))
            await gone.denied()
            assert not gone.allowed_after(full_at)
            await stays.talking()

    try:
        site.rig.run(story())
    finally:
        filler.unlink(missing_ok=True)


def test_sigterm_answers_what_was_asked_and_a_start_goes_on(site: Site, record_property: Record) -> None:
    async def story() -> None:
        rig = site.rig
        async with rig.held("gone") as gone, rig.held("stays") as stays:
            gateway = rig.system.gateways[0]
            began = time.time()
            await asyncio.to_thread(gateway.end)
            record_property("stopped_after_s", round(time.time() - began, 2))
            await stays.ended()
            assert gateway.process.returncode == 0
            at = await rig.hold(gone)
            gateway.start()
            record_property("recovered_after_s", round(await stays.allowed(), 2))
            await gone.denied()
            assert not gone.allowed_after(at)
            assert stays.answers() <= {200, BROKEN}, "no request was answered with an outage"

    site.rig.run(story())

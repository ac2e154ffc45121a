"""Control killed, its database locked, the feed cut each way, late, garbled, reset.

One system for all: a gateway beside control, another that joined over TLS through a bad network. What
may be five seconds old (`brief`) is denied and cut when control has been silent for so long; the rest
goes on. Nobody whose reason is gone is let in once a gateway could know, and all recovers by itself.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from fault_network import BadNetwork, bad_network
from fault_rig import BRIEF_S, GRACE_S, FaultRig, fault_rig, until

from limen.services.conformance.bundle import BRIEF
from limen.services.state import StateDir

pytestmark = [pytest.mark.envoy]

Record = Callable[[str, object], None]
SOON_S = 2.0  # a change on its way to a gateway that nothing keeps from it, on a busy machine
BACK_S = 30.0
LATE_S = 0.5


class Site(NamedTuple):
    rig: FaultRig
    network: BadNetwork


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with (
        bad_network() as network,
        fault_rig(2, lines=lambda port: (f"127.0.0.1:{network.lead_to(port)}",)) as rig,
    ):
        yield Site(rig, network)


def test_control_that_is_killed_lets_nothing_grow_old(site: Site, record_property: Record) -> None:
    async def story() -> None:
        rig = site.rig
        async with rig.held("one", BRIEF) as brief, rig.held("one") as main:
            killed_at = time.time()
            await asyncio.to_thread(rig.system.kill_control)
            last_at = await brief.ended(BRIEF_S + 10)
            await brief.denied()
            assert last_at - killed_at < BRIEF_S + GRACE_S
            assert not brief.allowed_after(killed_at + BRIEF_S + GRACE_S), "allowed on what was too old"
            await main.talking()
            back_at = time.time()
            rig.start_control()
            await brief.allowed()
            record_property("stale_after_s", round(last_at - killed_at, 2))
            record_property("recovered_after_s", round(time.time() - back_at, 2))
            assert set(brief.answers()) == {200, 503}
            assert main.answers() == {200}, "what may be older goes on all the while"
            at = await rig.hold(main)
            cut_at = await main.ended()
            await main.denied()
            record_property("cut_after_s", round(cut_at - at, 3))
            assert not main.allowed_after(at + SOON_S)

    site.rig.run(story())


def test_a_database_that_is_locked_refuses_changes_and_stops_nothing(
    site: Site, record_property: Record
) -> None:
    async def story() -> None:
        rig = site.rig
        path = StateDir(rig.system.state(0).resolve()).database
        async with rig.held("one", BRIEF) as brief, rig.held("one") as main:
            locker = sqlite3.connect(path, isolation_level=None)
            locker.execute("BEGIN IMMEDIATE")
            try:
                began = time.time()
                refusal = await rig.refused(main)
                record_property("refused_after_s", round(time.time() - began, 2))
                assert refusal.code == "STORE_UNAVAILABLE"
                assert refusal.remedy
                await until(lambda: time.time() > began + BRIEF_S + GRACE_S, "longer than what is brief")
            finally:
                locker.rollback()
                locker.close()
            await main.talking()
            await brief.talking()
            assert main.answers() == brief.answers() == {200}
            at = await rig.hold(main)
            await main.ended()
            await main.denied()
            assert not main.allowed_after(at + SOON_S)
            await brief.talking()

    site.rig.run(story())


@pytest.mark.parametrize("way", ["to_control", "to_gateway"])
def test_a_feed_that_is_cut_one_way_ends_what_may_not_be_old(
    site: Site, way: str, record_property: Record
) -> None:
    async def story() -> None:
        rig = site.rig
        async with (
            rig.held("one", BRIEF) as brief,
            rig.held("two", BRIEF) as brief_gone,
            rig.held("one") as main,
            rig.held("two") as gone,
        ):
            site.network.do(lambda network: setattr(network, way, False))
            cut_at = time.time()
            for one in (gone, brief_gone):
                at = await rig.hold(one)
                await one.ended(gateway=0)
                await one.denied(gateway=0)
                assert not one.allowed_after(at + SOON_S, gateway=0)
            await brief_gone.ended(gateway=1)
            last_at = await brief.ended(gateway=1)
            await brief.denied(gateway=1)
            assert last_at - cut_at < BRIEF_S + GRACE_S
            for one in (brief, brief_gone):
                assert not one.allowed_after(cut_at + BRIEF_S + GRACE_S, gateway=1)
            assert len([stream for stream in brief.at(0) if stream.open]) == len(brief.at(0))
            mended_at = time.time()
            site.network.mend()
            record_property("stale_after_s", round(last_at - cut_at, 2))
            await brief.allowed(gateway=1)
            record_property("recovered_after_s", round(time.time() - mended_at, 2))
            known_at = time.time()
            await gone.ended()  # it arrives with the rest
            await gone.denied()
            assert not gone.allowed_after(known_at + SOON_S)
            assert not brief_gone.allowed_after(cut_at + BRIEF_S + GRACE_S), "never again"
            await main.talking()
            assert main.answers() == {200}

    site.rig.run(story())


def late(network: BadNetwork) -> None:
    network.do(lambda bad: setattr(bad, "delay_s", LATE_S))


def reset(network: BadNetwork) -> None:
    network.do(lambda bad: bad.reset())


def garbled(network: BadNetwork) -> None:
    """Every record twice: TLS takes neither for the next."""
    network.do(lambda bad: setattr(bad, "twice", True))


@pytest.mark.parametrize("fault", [late, reset, garbled], ids=lambda fault: str(fault.__name__))
def test_a_feed_that_is_late_reset_or_garbled_loses_nothing(
    site: Site, fault: Callable[[BadNetwork], None], record_property: Record
) -> None:
    async def story() -> None:
        rig = site.rig
        async with rig.held("one", BRIEF) as brief, rig.held("one") as main, rig.held("two") as gone:
            fault(site.network)
            at = await rig.hold(gone)
            if fault is garbled:
                await gone.ended(gateway=0)
                mended_at = time.time()
                site.network.mend()
                record_property("mended_after_s", round(mended_at - at, 2))
            last_at = await gone.ended()
            await gone.denied()
            record_property("cut_after_s", round(last_at - at, 2))
            assert last_at - at < BACK_S
            assert not gone.allowed_after(last_at + SOON_S)
            site.network.mend()
            await main.talking()
            await brief.talking()
            assert main.answers() == brief.answers() == {200}, "nobody else noticed"

    site.rig.run(story())

"""Control on a PostgreSQL that is killed and comes back, under traffic; a revocation is tried meanwhile.

`test_postgres_faults.py` shows what the store does. Here is the whole system: a change that cannot be
committed fails loudly and changes nothing; what does not need the database goes on; recovery needs no hand.
"""

import signal
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from fault_rig import BRIEF_S, GRACE_S, FaultRig, fault_rig, until
from postgres import Postgres, running_postgres

from limen.services.conformance.bundle import BRIEF

pytestmark = [pytest.mark.envoy]

Record = Callable[[str, object], None]
SOON_S = 2.0
LOUD_S = 30.0


class Site(NamedTuple):
    rig: FaultRig
    server: Postgres


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_postgres() as server:
        environ = {"LIMEN_DATABASE_URL": server.url(server.create_database())}
        with fault_rig(1, environ=environ) as rig:
            yield Site(rig, server)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "stopped"])
def test_a_database_that_is_away_fails_changes_loudly_and_opens_nothing(
    site: Site, how: signal.Signals, record_property: Record
) -> None:
    async def story() -> None:
        rig = site.rig
        async with rig.held("one") as main, rig.held("one", BRIEF) as brief:
            site.server.stop(how)
            gone_at = time.time()
            refusal = await rig.refused(main)
            record_property("refused_after_s", round(time.time() - gone_at, 2))
            assert refusal.code == "STORE_UNAVAILABLE"
            assert refusal.remedy
            assert time.time() - gone_at < LOUD_S
            await until(lambda: time.time() > gone_at + BRIEF_S + GRACE_S, "longer than what is brief")
            record_property("brief_meanwhile", sorted(brief.answers(since=gone_at)))
            assert brief.answers() <= {200, 503}
            await main.talking()
            assert main.answers() == {200}
            site.server.start()
            back_at = time.time()
            await brief.allowed()
            record_property("recovered_after_s", round(time.time() - back_at, 2))
            at = await rig.hold(main)
            last_at = await main.ended()
            await main.denied()
            record_property("cut_after_s", round(last_at - at, 3))
            assert not main.allowed_after(at + SOON_S)

    site.rig.run(story())

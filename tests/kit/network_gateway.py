"""A joined gateway without its Envoy: follows control and says, ten times a second, how it would decide.

Run as `python network_gateway.py STATE STALENESS_MAX_S`; prints one JSON object a line.
"""

import asyncio
import json
import math
import sys
from pathlib import Path

from limen.administrator.active import load_bundle
from limen.administrator.feed_client import FeedClient
from limen.administrator.policies import HOST_OPERATOR
from limen.administrator.replica import Replica
from limen.core.clock import SystemClock
from limen.core.decision import AccessRequest
from limen.core.ids import EntityRef, new_decision_id
from limen.engine.decide import decide
from limen.services.gateway_identity import find_seat
from limen.services.state import StateDir

RESOURCE = EntityRef("Route", "limen/system")


def look(replica: Replica, clock: SystemClock, staleness_max_s: float) -> dict[str, object]:
    """Return what is known, and the decision."""
    age = replica.age_s(clock.boot_s())
    if replica.active is None:
        return {"code": "NOTHING", "age": None, "people": 0}
    facts = replica.facts(HOST_OPERATOR, RESOURCE, at=clock.now(), age_s=age, staleness_max_s=staleness_max_s)
    assert facts is not None
    at = clock.now()
    request = AccessRequest(new_decision_id(at), at, HOST_OPERATOR, "read", RESOURCE)
    decision = decide(request, facts, replica.active.policies)
    people = sum(1 for _ in replica.people())
    return {"code": str(decision.code), "age": age if math.isfinite(age) else None, "people": people}


async def main(state: Path, staleness_max_s: float) -> None:
    """Follow and print."""
    clock, replica = SystemClock(), Replica(load_bundle)
    seat = find_seat(StateDir.create(state))
    client = FeedClient(seat.dial, replica, clock, node=seat.node, protocol_oldest=seat.protocol_oldest)
    following = asyncio.create_task(client.run())
    while not following.done():
        print(
            json.dumps({**look(replica, clock, staleness_max_s), "connected": client.connected}), flush=True
        )
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))

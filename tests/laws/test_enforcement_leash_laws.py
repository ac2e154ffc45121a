"""Laws K1 (held before open), K2 (fails closed) and K3 (one end) of the leash."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import uvloop
from check_world import UNAVAILABLE, Faults, connect
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leash_rig import OPERATOR, Call, LeashWorld, websocket
from structlog.testing import capture_logs

from limen.administrator.streams import Cause
from limen.core.decision import Code

PARTS = ("engine", "journal", "signer", "pages", "explainer", "control")
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Failures are made here by the dozen; their tracebacks are slow and tell nothing."""
    with capture_logs():
        yield


def world_in(folder: str) -> LeashWorld:
    return LeashWorld(Path(folder))


@SLOW
@given(
    st.lists(
        st.tuples(st.sampled_from(("allow", "deny", "end", "leave", "finish")), st.integers(0, 9)),
        max_size=12,
    )
)
def test_k1_held_before_open(steps: list[tuple[str, int]]) -> None:
    """Whoever got an allowing answer is in the registry, recorded as allowed; nobody else is."""

    async def story(world: LeashWorld) -> None:
        live: dict[str, Call] = {}
        for what, number in steps:
            if what in ("allow", "deny"):
                world.engine.decision = world.allowing
                if what == "deny":
                    world.engine.deny(Code.QUARANTINED)
                call = await world.envoy.open(connect(token=world.connect_token))
                assert call.allowed == (what == "allow")
                if call.allowed:
                    assert call.id in {stream.id for stream in world.streams.all()}
                    live[call.id] = call
            elif live:
                await end(world, what, live.pop(sorted(live)[number % len(live)]))
            assert {stream.id for stream in world.streams.all()} == set(live)
        allowed = {record.id for record in world.journal.decisions if record.verdict == "allow"}
        assert set(live) <= allowed

    run(story)


async def end(world: LeashWorld, what: str, call: Call) -> None:
    """End a stream by order, or from Envoy's side; return when the leash knows."""
    if what == "end":
        world.streams.end(call.id, OPERATOR)
        assert await call.ended() is grpc.StatusCode.ABORTED
    elif what == "leave":
        call.abandon()
    else:
        assert await call.finish() is grpc.StatusCode.OK
    await world.until(lambda: world.streams.get(call.id) is None)


@SLOW
@given(st.lists(st.tuples(st.sampled_from(PARTS), st.integers(0, 3)), min_size=1, max_size=3), st.booleans())
def test_k2_fails_closed(faults: list[tuple[str, int]], browser: bool) -> None:
    """Whatever fails, an answer is an allow that was recorded, or no allow; what failed is a 503."""

    async def story(world: LeashWorld) -> None:
        for part, after in faults:
            broken: Faults = getattr(world, part)
            broken.fail(RuntimeError("a bug") if after % 2 else UNAVAILABLE, after)
        for _ in range(3):
            sent = websocket(world.token) if browser else connect(token=world.connect_token)
            call = await world.envoy.open(sent)
            records = {record.id for record in world.journal.decisions}
            assert call.id in records if call.allowed else call.status == 503
        assert len(world.streams) == sum(world.counts.opened.values())

    run(story)


@SLOW
@given(st.lists(st.integers(0, 19), min_size=1, max_size=30), st.booleans())
def test_k3_one_end(orders: list[int], at_once: bool) -> None:
    """However often a stream is ordered to end, it ends once; the others live."""

    async def story(world: LeashWorld) -> None:
        calls = [await world.envoy.open(connect(token=world.connect_token)) for _ in range(20)]
        done = [world.streams.end(calls[n].id, OPERATOR) for n in orders]
        assert sum(done) == len(set(orders))
        if at_once:
            for n in set(orders):
                calls[n].abandon()  # and the client goes in the same moment
        else:
            assert {await calls[n].ended() for n in set(orders)} == {grpc.StatusCode.ABORTED}
        await world.until(lambda: world.leash.calls == 20 - len(set(orders)))
        assert world.counts.ended[Cause.OPERATOR] == len(world.ended) == len(set(orders))
        assert len(world.streams) == 20 - len(set(orders))

    run(story)


def run(story: object) -> None:
    async def inside() -> None:
        with tempfile.TemporaryDirectory(prefix="lm") as folder:
            async with world_in(folder).served() as world:
                await asyncio.wait_for(story(world), 30)  # type: ignore[operator]

    uvloop.run(inside())

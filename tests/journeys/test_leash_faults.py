"""The leash killed, stopped, blocked: every stream that it held ends, and none opens until it is back."""

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from envoy_h2 import H2Client
from journey_rig import wait_until
from leash_envoy import LEDGER, LeashedRig, leashed

from limen.enforcement.leash.watchdog import EXIT_CODE, STALL_S

pytestmark = pytest.mark.envoy

GONE_S = 2.0  # a process that is gone: at once, on a busy machine
HUNG_S = 3.0 + 4.0  # Envoy's ping, its time-out (standards/envoy.md: 3 s), and a busy machine
BLOCKED_S = STALL_S + 4.0

TUNNELS = 20
BURST, PER_CONNECTION = 1_000, 100


@pytest.fixture
def rig() -> Iterator[LeashedRig]:
    with leashed(apart=True) as running:
        yield running


def tunnel(rig: LeashedRig, client: H2Client) -> int:
    return client.connect(f"{LEDGER}:443", ("authorization", f"Bearer {rig.token}"))


def opened(rig: LeashedRig, client: H2Client, count: int) -> list[int]:
    streams = [tunnel(rig, client) for _ in range(count)]
    assert {client.status(stream) for stream in streams} == {200}
    return streams


def all_cut_within(client: H2Client, streams: list[int], bound_s: float, fault: Callable[[], object]) -> None:
    began = time.monotonic()
    fault()
    for stream in streams:
        client.read_all(stream)
        assert stream in client.reset
    assert time.monotonic() - began < bound_s


def test_a_killed_leash_cuts_what_it_held_and_opens_nothing(rig: LeashedRig) -> None:
    with rig.h2(LEDGER) as client:
        streams = opened(rig, client, TUNNELS)
        all_cut_within(client, streams, GONE_S, rig.leash.process.kill)
        assert client.status(tunnel(rig, client)) == 503
        rig.run(rig.leash.close())
        rig.run(rig.leash.listen(rig.settings.leash_socket))
        wait_until("the next leash opens streams", lambda: client.status(tunnel(rig, client)) == 200)


def test_a_stopped_leash_is_found_out_by_pings(rig: LeashedRig) -> None:
    with rig.h2(LEDGER) as client:
        streams = opened(rig, client, TUNNELS)
        stop = (rig.leash.process.pid, signal.SIGSTOP)
        all_cut_within(client, streams, HUNG_S, lambda: os.kill(*stop))


def test_a_leash_whose_loop_stands_still_ends_itself(rig: LeashedRig) -> None:
    with rig.h2(LEDGER) as client:
        streams = opened(rig, client, TUNNELS)
        all_cut_within(client, streams, BLOCKED_S, lambda: rig.leash.say("block"))
        assert rig.leash.process.wait(BLOCKED_S) == EXIT_CODE
        said = (rig.folder / "leash.err").read_text()
        assert "time.sleep" in said or "_serve" in said  # where it hung


def test_a_stream_outlives_keepalive_and_silence(rig: LeashedRig) -> None:
    """Pings each second for longer than grpcio would bear by itself; meanwhile another stream is asked."""
    with rig.h2(LEDGER) as client:
        (first,) = opened(rig, client, 1)
        ends_at = time.monotonic() + 7.0
        wait_until("seven seconds of pings", lambda: time.monotonic() > ends_at)
        client.send(first, b"ping")
        assert client.read(first, 4) == b"ping"


def test_a_thousand_tunnels_open_at_once_and_end_at_once() -> None:
    with leashed() as rig:
        clients = [rig.h2(LEDGER) for _ in range(BURST // PER_CONNECTION)]
        streams = [[tunnel(rig, client) for _ in range(PER_CONNECTION)] for client in clients]
        for client, theirs in zip(clients, streams, strict=True):
            late = [stream for stream in theirs if client.status(stream) == 503]  # on a machine that is busy
            assert len(late) < PER_CONNECTION / 4
            again = [tunnel(rig, client) for _ in late]
            theirs[:] = [stream for stream in theirs if stream not in late] + again
            assert {client.status(stream) for stream in theirs} == {200}
        assert len(rig.streams()) == BURST
        assert rig.call(lambda: rig.world.leash.end_all()) == BURST
        for client, theirs in zip(clients, streams, strict=True):
            for stream in theirs:
                client.read_all(stream)
                assert stream in client.reset
        assert rig.eventually(lambda: len(rig.world.streams) == 0)

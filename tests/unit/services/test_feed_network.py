"""A bad network between gateway and control: cut each way, slow, reset; what is promised holds (F3)."""

import asyncio
from pathlib import Path

import pytest
from gateways_rig import FaultyNetwork, Rig, drive, names, until

from limen.administrator import feed_client
from limen.administrator.feed_lines import Connection
from limen.administrator.feed_wire import Hello, render_line
from limen.core.changes import GroupFact
from limen.core.errors import Unavailable

FAST = {"PING_EVERY_S": 0.02, "SILENCE_MAX_S": 0.4, "BACKOFF_S": (0.01, 0.02), "DIAL_TIMEOUT_S": 1.0}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FAST.items():
        monkeypatch.setattr(feed_client, name, value)
    monkeypatch.setattr("limen.services.feed_line.SILENCE_MAX_S", 0.4)


@pytest.mark.parametrize("direction", ["to_control", "to_gateway"])
def test_a_feed_cut_one_way_ages_is_given_up_and_comes_back_by_itself(tmp_path: Path, direction: str) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        network = FaultyNetwork(rig.server.port)
        port = await network.start()
        async with site.gateway(dial=site.dial(port)) as (client, replica):
            await client.ask()
            await until(lambda: replica.confirmed_at is not None)
            setattr(network, direction, False)
            rig.clock.advance(30)
            rig.add("eve")
            await until(lambda: not client.connected)
            await until(lambda: not rig.feed.gateways)  # control has noticed too
            rig.clock.advance(30)
            assert replica.age_s(rig.clock.boot_s()) >= 60 - 0.1
            assert names(replica) == set() or direction == "to_control"
            network.heal()
            await until(lambda: replica.age_s(rig.clock.boot_s()) < 1)
            assert names(replica) == {"eve"}
        await network.close()

    drive(tmp_path, story)


def test_the_age_counts_from_the_sending_of_a_ping_on_a_slow_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_client, "PING_EVERY_S", 8.0)  # the first ping alone
    monkeypatch.setattr(feed_client, "SILENCE_MAX_S", 60.0)
    monkeypatch.setattr("limen.services.feed_line.SILENCE_MAX_S", 60.0)

    async def story(rig: Rig) -> None:
        site = await rig.join()
        network = FaultyNetwork(rig.server.port)
        port = await network.start()
        network.delay_s = 0.05
        begun = rig.clock.boot_s()
        async with site.gateway(dial=site.dial(port)) as (client, replica):
            await until(lambda: network.accepted == 1)
            await until(lambda: client.connections == 1 or bool(rig.feed.gateways))
            rig.clock.advance(9)  # while the pong is under way
            await until(lambda: replica.confirmed_at is not None)
            assert replica.confirmed_at == begun and replica.age_s(rig.clock.boot_s()) == 9
        await network.close()

    drive(tmp_path, story)


def test_a_reset_connection_resumes_where_it_stood(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.add("ada")
        site = await rig.join()
        network = FaultyNetwork(rig.server.port)
        port = await network.start()
        async with site.gateway(dial=site.dial(port)) as (client, replica):
            await client.ask()
            for n in range(5):
                stamp = replica.stamp
                network.reset()
                await until(lambda: not client.connected)
                rig.add(f"p{n}")
                await client.ask()
                assert replica.stamp == stamp + 1  # a tail of one transaction, no snapshot
            assert len(names(replica)) == 6
        await network.close()

    drive(tmp_path, story)


def test_a_gateway_far_behind_is_given_a_snapshot_and_keeps_its_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limen.services.feed_line.LAG_MAX_CHANGES", 10)

    async def story(rig: Rig) -> None:
        site = await rig.join()
        async with site.gateway() as (client, replica):
            await client.ask()
            await until(lambda: replica.confirmed_at is not None)
            heard = []
            replica.subscribe(lambda touched: heard.append((touched.everything, replica.confirmed_at)))
            with rig.store.transaction("test", "test") as tx:
                for n in range(50):
                    tx.change("group", f"g{n}", GroupFact(f"g{n}"))
            await client.ask()
            assert len(replica.groups()) == 50
            assert [whole for whole, _ in heard] == [True] and heard[0][1] is not None
            assert client.connections == 1

    drive(tmp_path, story)


def test_a_gateway_that_does_not_read_is_left_and_nothing_piles_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limen.services.feed_line.SILENCE_MAX_S", 60.0)
    monkeypatch.setattr("limen.administrator.feed_lines.send_line.__kwdefaults__", {"stall_s": 0.3})

    async def story(rig: Rig) -> None:
        for batch in range(40):
            with rig.store.transaction("test", "test") as tx:
                for n in range(500):
                    name = f"g{batch}-{n}" + "x" * 100
                    tx.change("group", name, GroupFact(name))
        reader, writer = await asyncio.open_unix_connection(str(rig.folder / "feed.sock"), limit=1024)
        writer.write(render_line(Hello("gw", "", -1)))
        transport = reader._transport  # type: ignore[attr-defined]
        transport.pause_reading()
        await until(lambda: len(rig.feed._tasks) == 1)
        await until(lambda: not rig.feed._tasks)  # given up, with its 6 MB unsent
        writer.transport.abort()
        site = await rig.join()
        async with site.gateway() as (client, replica):
            await client.ask()
            assert len(replica.groups()) == 20_000

    drive(tmp_path, story)


def test_a_gateway_that_falls_silent_is_ended_by_control(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await asyncio.open_unix_connection(str(rig.folder / "feed.sock"))
        writer.write(render_line(Hello("gw", "", -1)))
        await until(lambda: len(rig.feed.gateways) == 1)
        await until(lambda: not rig.feed.gateways)
        await reader.read()
        assert reader.at_eof()
        writer.close()

    drive(tmp_path, story)


def test_a_control_that_is_nowhere_is_tried_at_each_address_in_turn(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        dead = await asyncio.start_server(lambda r, w: w.transport.abort(), "127.0.0.1", 0)
        from limen.services.gateway_identity import dial_tls

        addresses = (
            ("127.0.0.1", dead.sockets[0].getsockname()[1]),
            ("127.0.0.1", rig.server.port),
        )
        async with site.gateway(dial=dial_tls(addresses, site.folder)) as (client, _):
            await until(lambda: client.connected)
        dead.close()

    drive(tmp_path, story)


def test_attempts_back_off_and_spread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waits: list[float] = []
    real = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await real(0)

    async def dial() -> Connection:
        raise ConnectionRefusedError

    async def story(rig: Rig) -> None:
        site = await rig.join()
        monkeypatch.setattr(feed_client, "BACKOFF_S", (0.1, 0.2, 0.4))
        monkeypatch.setattr(feed_client.asyncio, "sleep", note)
        async with site.gateway(dial=dial) as (client, _):
            while len(waits) < 20:
                await real(0.001)
            with pytest.raises(Unavailable):
                monkeypatch.setattr(feed_client, "ASK_TIMEOUT_S", 0.01)
                await client.ask()
        monkeypatch.setattr(feed_client.asyncio, "sleep", real)
        assert all(0.2 <= wait <= 0.6 for wait in waits[2:20]) and len(set(waits[2:20])) > 10

    drive(tmp_path, story)

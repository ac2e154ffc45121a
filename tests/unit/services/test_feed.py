"""The change feed from the database to a gateway's replica, over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from limen.administrator import feed_client
from limen.administrator.active import ActiveBundle
from limen.administrator.feed_client import FeedClient, dial_unix
from limen.administrator.feed_wire import Bye, Hello, parse_from_control, render_line
from limen.administrator.replica import Replica, Touched
from limen.administrator.replica_file import ReplicaFile
from limen.core.catalogue import Catalogue
from limen.core.changes import BundleFact, GroupFact, PersonFact, SessionFact
from limen.core.clock import FakeClock
from limen.core.errors import Unavailable
from limen.services.feed import FeedServer
from limen.store.database import Store

WAIT_S = 20.0


def load(fact: BundleFact) -> ActiveBundle:
    return ActiveBundle(fact.bundle_id, Catalogue(domain="limen.test"), object(), {})  # type: ignore[arg-type]


class Rig:
    """One control, and gateways that follow it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.store = Store.open(folder / "limen.db", self.clock)
        self.seen: list[dict[str, float]] = []
        self.server: FeedServer | None = None
        self.path = folder / "feed.sock"

    async def start(self) -> FeedServer:
        self.server = FeedServer(
            self.store, self.path, on_seen=lambda seen: self.seen.append(dict(seen)), clock=self.clock
        )
        await self.server.start()
        return self.server

    def add(self, *names: str) -> None:
        with self.store.transaction("test", "test") as tx:
            for name in names:
                tx.change("person", name, PersonFact(id=name, name=name, email=""))

    def file(self, boot: str = "boot-1") -> ReplicaFile:
        return ReplicaFile(self.folder, self.clock, boot)

    @asynccontextmanager
    async def gateway(self, *, file: ReplicaFile | None = None) -> AsyncIterator[tuple[FeedClient, Replica]]:
        replica = Replica(load)
        if file is not None:
            file.load(replica)
        client = FeedClient(dial_unix(self.path), replica, self.clock, node="gw", file=file)
        task = asyncio.create_task(client.run())
        try:
            yield client, replica
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if file is not None:
                file.close()


def drive(folder: Path, story: Callable[[Rig], Awaitable[None]]) -> None:
    """Run a story against a fresh control, and stop everything after it."""

    async def run() -> None:
        rig = Rig(folder)
        await rig.start()
        try:
            await asyncio.wait_for(story(rig), WAIT_S)
        finally:
            assert rig.server is not None
            await rig.server.close()
            rig.store.close()

    asyncio.run(run())


def names(replica: Replica) -> set[str]:
    return {person.id for person in replica.people()}


def test_a_gateway_gets_the_snapshot_and_then_what_commits(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.add("ada", "bob")
        async with rig.gateway() as (client, replica):
            await client.ask()
            assert names(replica) == {"ada", "bob"} and replica.seq == rig.store.head()
            rig.add("eve")
            with rig.store.transaction("test", "test") as tx:
                tx.change("person", "bob", None)
            await client.ask()
            assert names(replica) == {"ada", "eve"} and replica.epoch == rig.store.epoch
            assert rig.server is not None
            assert [(one.node, one.position) for one in rig.server.gateways] == [("gw", replica.seq)]

    drive(tmp_path, story)


def test_a_commit_arrives_without_being_asked_for(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        async with rig.gateway() as (client, replica):
            await client.ask()
            arrived = asyncio.Event()
            replica.subscribe(lambda touched: arrived.set() if "session" in touched.kinds else None)
            await asyncio.to_thread(_start_session, rig.store)
            await arrived.wait()
            assert replica.session("s1") is not None

    drive(tmp_path, story)


def _start_session(store: Store) -> None:
    with store.transaction("test", "test") as tx:
        tx.change("session", "s1", SessionFact("s1", "ada", 1, False, (), 1.0, 1.0, 9.0))


def test_f4_after_an_ask_the_replica_has_what_was_committed_before_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        async with rig.gateway() as (client, replica):
            for n in range(30):
                rig.add(f"p{n}")
                head = rig.store.head()
                await client.ask()
                assert replica.seq >= head

    drive(tmp_path, story)


def test_the_first_ping_confirms_the_age(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        async with rig.gateway() as (client, replica):
            await client.ask()
            assert replica.confirmed_at == rig.clock.boot_s()
            rig.clock.advance(7)
            assert replica.age_s(rig.clock.boot_s()) == 7

    drive(tmp_path, story)


def test_without_control_an_ask_fails_rather_than_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_client, "ASK_TIMEOUT_S", 0.05)

    async def story(rig: Rig) -> None:
        assert rig.server is not None
        await rig.server.close()
        async with rig.gateway() as (client, _):
            with pytest.raises(Unavailable):
                await client.ask()

    drive(tmp_path, story)


def test_an_ask_survives_a_restart_of_control(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        async with rig.gateway() as (client, replica):
            await client.ask()
            assert rig.server is not None
            await rig.server.close()
            asking = asyncio.create_task(client.ask())
            rig.add("ada")
            await rig.start()
            await asking
            assert names(replica) == {"ada"} and client.connections == 2

    drive(tmp_path, story)


def test_a_gateway_resumes_where_it_stood(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.add("ada")
        async with rig.gateway(file=rig.file()) as (client, _):
            await client.ask()
        rig.add("bob")
        async with rig.gateway(file=rig.file()) as (client, replica):
            heard: list[Touched] = []
            replica.subscribe(heard.append)
            await client.ask()
            assert names(replica) == {"ada", "bob"}
            assert [touched.kinds for touched in heard] == [frozenset({"person"})]  # a tail, no snapshot

    drive(tmp_path, story)


def test_a_gateway_behind_what_is_kept_takes_a_snapshot(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.add("ada")
        async with rig.gateway(file=rig.file()) as (client, _):
            await client.ask()
        for n in range(5):
            rig.add(f"p{n}")
        rig.store.prune(keep=1)
        async with rig.gateway(file=rig.file()) as (client, replica):
            await client.ask()
            assert len(names(replica)) == 6

    drive(tmp_path, story)


def test_another_epoch_replaces_everything(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        async with rig.gateway() as (client, replica):
            replica.epoch, replica.seq = "of another database", 10_000
            rig.add("ada")
            await client.ask()
            assert replica.epoch == rig.store.epoch and names(replica) == {"ada"}

    drive(tmp_path, story)


def test_a_replica_file_serves_while_control_is_away_with_its_true_age(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.add("ada")
        file = rig.file()
        async with rig.gateway(file=file) as (client, _):
            await client.ask()
            rig.add("bob")
            await client.ask()
        rig.clock.advance(100)
        replica = Replica(load)
        assert rig.file().load(replica)
        assert names(replica) == {"ada", "bob"}
        assert replica.age_s(rig.clock.boot_s()) == 100

    drive(tmp_path, story)


def test_sessions_seen_reach_control_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_client, "PING_EVERY_S", 0.01)

    async def story(rig: Rig) -> None:
        async with rig.gateway() as (client, _):
            client.note_seen("s1", 1.0)
            client.note_seen("s1", 2.0)
            client.note_seen("s2", 3.0)
            await client.ask()
            await client.ask()
        assert rig.seen == [{"s1": 2.0, "s2": 3.0}]

    drive(tmp_path, story)


@pytest.mark.parametrize(
    "line", [b"rubbish\n", render_line(Hello("gw", "", -1)) * 2, b'{"type":"ping","n":1}\n', b"\n"]
)
def test_a_gateway_that_talks_nonsense_is_left(tmp_path: Path, line: bytes) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await asyncio.open_unix_connection(str(rig.path))
        writer.write(line)
        writer.write_eof()
        await reader.read()
        writer.close()
        rig.add("ada")
        async with rig.gateway() as (client, replica):
            await client.ask()
            assert names(replica) == {"ada"}

    drive(tmp_path, story)


def test_a_gateway_of_another_release_is_told_so(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await asyncio.open_unix_connection(str(rig.path))
        writer.write(render_line(Hello("gw", "", -1, protocol=99)))
        answer = parse_from_control(await reader.readline())
        assert isinstance(answer, Bye) and "99" in answer.reason
        writer.close()

    drive(tmp_path, story)


def test_the_socket_is_private(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        assert rig.path.stat().st_mode & 0o777 == 0o600

    drive(tmp_path, story)


def test_a_large_snapshot_arrives_whole(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        with rig.store.transaction("test", "test") as tx:
            for n in range(2_500):
                tx.change("group", f"g{n}", GroupFact(f"g{n}"))
        async with rig.gateway() as (client, replica):
            await client.ask()
            assert len(replica.groups()) == 2_500

    drive(tmp_path, story)

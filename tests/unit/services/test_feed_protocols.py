"""One release apart: lines of protocol 1 as release 0.1 sent them, in both directions."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateways_rig import Rig, drive, load, names, until

from limen.administrator.feed_client import FeedClient, dial_unix
from limen.administrator.feed_wire import Start, parse_from_control, render_line
from limen.administrator.replica import Replica
from limen.administrator.replica_file import ReplicaFile
from limen.core.clock import FakeClock

# Recorded from release 0.1.0.
GATEWAY_1 = [
    b'{"type":"hello","node":"gateway","epoch":"","seq":-1,"protocol":1}\n',
    b'{"type":"ping","n":1}\n',
    b'{"type":"ask","n":2}\n',
    b'{"type":"seen","sessions":{"ses_1":1800000000.0}}\n',
]
CONTROL_1_BYE = b'{"type":"bye","reason":"This control speaks protocol 1, not 2."}\n'
CONTROL_1 = [
    b'{"type":"start","epoch":"e","seq":1}\n',
    b'{"type":"rows","rows":[[1,{"type":"person","id":"ada","name":"Ada","email":"ada@limen.test",'
    b'"status":"active","kind":"employee","quarantined":false,"groups":["staff"],"attributes":{},'
    b'"expires_at":null}]]}\n',
    b'{"type":"ready","seq":1}\n',
    b'{"type":"tx","changes":[{"seq":2,"tx":2,"kind":"group","id":"staff","value":{"type":"group",'
    b'"id":"staff","parents":[]},"actor":"limen","reason":"x","at":1800000000.0}]}\n',
]


def test_a_gateway_of_protocol_1_is_served_and_given_no_commands(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.add("ada")
        reader, writer = await asyncio.open_unix_connection(str(rig.folder / "feed.sock"))
        writer.write(b"".join(GATEWAY_1))
        heard = [json.loads(await reader.readline()) for _ in range(5)]
        assert [one["type"] for one in heard] == ["start", "rows", "ready", "pong", "answer"]
        assert set(heard[0]) >= {"epoch", "seq"} and heard[1]["rows"][0][1]["id"] == "ada"
        assert (heard[3]["n"], heard[4]["n"]) == (1, 2)
        (one,) = rig.feed.gateways
        assert (one.node, one.protocol, one.lag, one.release) == ("gateway", 1, 0, "")
        ((_, report),) = await rig.feed.command(None, "streams.list", {})
        assert (report.ok, report.data["code"]) == (False, "GATEWAY_OLD")
        rig.add("bob")
        assert json.loads(await reader.readline())["type"] == "tx"  # and not the command
        writer.close()

    drive(tmp_path, story)


def test_a_gateway_speaks_protocol_1_with_a_control_that_knows_no_other(tmp_path: Path) -> None:
    """It is refused once, comes again at once, and says nothing that protocol 1 has no word for."""
    said: list[dict[str, object]] = []

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = json.loads(await reader.readline())
        said.append(hello)
        if hello["protocol"] != 1:
            writer.write(CONTROL_1_BYE)
            writer.close()
            return
        writer.write(b"".join(CONTROL_1))
        while line := await reader.readline():
            message = json.loads(line)
            said.append(message)
            if message["type"] in ("ping", "ask"):
                kind = {"ping": "pong", "ask": "answer"}[message["type"]]
                writer.write(json.dumps({"type": kind, "n": message["n"], "seq": 2}).encode() + b"\n")

    async def story() -> None:
        path = tmp_path / "feed.sock"
        server = await asyncio.start_unix_server(control, path=str(path))
        replica = Replica(load)
        client = FeedClient(dial_unix(path), replica, FakeClock(), node="gateway")
        following = asyncio.create_task(client.run())
        await until(lambda: client.connected)
        await client.ask()
        await until(lambda: replica.confirmed_at is not None)
        assert names(replica) == {"ada"} and replica.groups() == frozenset({"staff"})
        following.cancel()
        server.close()

    asyncio.run(asyncio.wait_for(story(), 20))
    assert [one["protocol"] for one in said if one["type"] == "hello"] == [2, 1]
    assert {one["type"] for one in said} <= {"hello", "ping", "ask", "seen"}


def test_a_kind_of_line_of_a_later_release_is_skipped_on_both_sides(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await asyncio.open_unix_connection(str(rig.folder / "feed.sock"))
        hello = b'{"type":"hello","node":"new","epoch":"","seq":-1,"protocol":2,"mood":"fine"}\n'
        writer.write(hello + b'{"type":"song","n":9}\n{"type":"ping","n":1,"extra":[1]}\n')
        heard = [json.loads(await reader.readline())["type"] for _ in range(3)]
        assert heard == ["start", "ready", "pong"]
        writer.close()

    drive(tmp_path, story)


def _with_file(tmp_path: Path, story: Callable[[Rig, ReplicaFile], Awaitable[None]]) -> None:
    async def run(rig: Rig) -> None:
        await story(rig, ReplicaFile(tmp_path, rig.clock, "boot"))

    drive(tmp_path, run)


def test_after_an_upgrade_the_file_serves_and_everything_is_asked_for_anew(tmp_path: Path) -> None:
    """Another release may have left out what it did not know, so its file cannot be continued."""

    async def story(rig: Rig, file: ReplicaFile) -> None:
        rig.add("ada")
        start = Start(rig.store.epoch, 0, "0.0.9")
        (tmp_path / "replica.feed").write_bytes(
            render_line(start) + b'{"type":"rows","rows":[]}\n' + b'{"type":"ready","seq":0}\n'
        )
        replica = Replica(load)
        assert file.load(replica) and file.foreign
        client = FeedClient(
            dial_unix(rig.folder / "feed.sock"), replica, rig.clock, node="gateway", file=file
        )
        following = asyncio.create_task(client.run())
        await client.ask()
        first = (tmp_path / "replica.feed").read_bytes().splitlines()[0]
        kept = parse_from_control(first)
        assert isinstance(kept, Start) and kept.seq == rig.store.head() and not file.foreign
        following.cancel()
        file.close()

    _with_file(tmp_path, story)

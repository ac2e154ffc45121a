"""Control with gateways of other machines, as an operator has them: by the command line."""

import asyncio
import json
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from cli_rig import Done, run
from gateways_rig import load, until

from limen.administrator.feed_client import FeedClient
from limen.administrator.gateway_ca import CONTROL_NAME
from limen.administrator.replica import Replica
from limen.console.hosts import INTERNAL_HOSTS
from limen.core.clock import SystemClock
from limen.core.errors import Refused
from limen.engine.starter import starter_files
from limen.services.control import Control, ControlOptions
from limen.services.gateway_identity import IdentityFolder, find_seat
from limen.services.state import StateDir


@pytest.fixture(autouse=True)
def logs_apart() -> Iterator[None]:
    """Control logs in this process too, and what a command prints must be its own."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.reset_defaults()


def free_ports() -> int:
    """Return a port that is free together with the next one."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = int(one.getsockname()[1])
            with suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
                return port


class Desk:
    """A running control, its command line, and the streams that its gateways are said to hold."""

    def __init__(self, folder: Path, port: int, control: Control) -> None:
        self.folder, self.port, self.control = folder, port, control
        self.erased: list[str] = []
        self.streams = [
            {"id": "a1", "subject": "ada", "session": "ses_1", "resource": "wiki", "opened_at": 5.0}
            | {"bytes_in": 1, "bytes_out": 2_500_000, "protocol": "websocket", "ip": "10.0.0.9"},
            {"id": "b2", "subject": "bob", "session": "ses_2", "resource": "db", "opened_at": 4.0}
            | {"bytes_in": 0, "bytes_out": 0, "protocol": "connect", "ip": "10.0.0.8"},
        ]

    async def limen(self, *words: str, stdin: str = "") -> Done:
        state = () if "--state" in words else ("--state", str(self.folder / "control"))
        return await asyncio.to_thread(run, *words, *state, stdin=stdin)

    async def json(self, *words: str) -> Any:
        done = await self.limen(*words, "--json")
        assert done.code == 0, done
        return json.loads(done.out)

    def commands(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        def fits(stream: Mapping[str, Any], args: Mapping[str, Any]) -> bool:
            return all(
                stream[key] == args[key] for key in ("id", "subject", "session", "resource") if key in args
            )

        def end(args: Mapping[str, Any]) -> dict[str, int]:
            assert args["reason"] == "leaves" and args["actor"]
            before = len(self.streams)
            self.streams = [one for one in self.streams if not fits(one, args)]
            return {"ended": before - len(self.streams)}

        def erase(args: Mapping[str, Any]) -> dict[str, list[str]]:
            self.erased.append(args["owner"])
            return {"keys": []}

        return {
            "streams.list": lambda args: [one for one in self.streams if fits(one, args)],
            "streams.end": end,
            "journal.erase": erase,
        }


def drive(folder: Path, story: Callable[[Desk, FeedClient], Awaitable[None]]) -> None:
    async def begin() -> None:
        for name, text in starter_files("corp.example").items():
            (folder / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "bundle" / name).write_text(text)
        port = free_ports()
        options = ControlOptions(
            state=folder / "control",
            bundle=folder / "bundle",
            public_port=8443,
            metrics=None,
            gateways=f"127.0.0.1:{port}",
        )
        control = Control(StateDir.create(folder / "control"), options)
        await control.start()
        try:
            desk = Desk(folder, port, control)
            made = await desk.limen("gateway", "token", "gw1", "--reason", "new site")
            assert made.code == 0, made
            joined = await desk.limen("gateway", "join", "--state", str(folder / "gw1"), stdin=made.out)
            assert joined.code == 0, joined
            seat = find_seat(StateDir(folder / "gw1"))
            assert seat.consoles == (("127.0.0.1", port + 1),)
            keys = StateDir(folder / "control")
            assert seat.token_key == keys.key("token") and seat.app_secret_key == keys.key("app-secrets")
            client = FeedClient(
                seat.dial, Replica(load), SystemClock(), node=seat.node, commands=desk.commands()
            )
            following = asyncio.create_task(client.run())
            await client.ask()
            await asyncio.wait_for(story(desk, client), 40)
            following.cancel()
        finally:
            await control.stop()

    asyncio.run(begin())


def test_gateways_are_listed_with_their_lag_and_removed(tmp_path: Path) -> None:
    async def story(desk: Desk, client: FeedClient) -> None:
        (row,) = await desk.json("gateway", "list")
        assert (row["node"], row["state"], row["lag"], row["local"]) == ("gw1", "following", 0, False)
        assert row["release"] and row["protocol"] == 2 and row["certificate_expires_at"] > row["seen_at"]
        (told,) = (line for line in (await desk.limen("gateway", "list")).out.splitlines() if "gw1" in line)
        assert "following" in told
        from prometheus_client import generate_latest

        assert b'limen_feed_lag_changes{node="gw1"} 0.0' in generate_latest(desk.control.registry)
        removed = await desk.limen("gateway", "remove", "gw1", "--reason", "stolen")
        assert removed.code == 0, removed
        await until(lambda: not client.connected)
        (row,) = await desk.json("gateway", "list")
        assert (row["state"], row["removed_why"]) == ("removed", "stolen")
        again = await desk.limen("gateway", "remove", "gw1", "--reason", "stolen")
        assert again.code == 1 and "no joined gateway" in again.err

    drive(tmp_path, story)


def test_streams_are_listed_shown_and_ended_everywhere(tmp_path: Path) -> None:
    async def story(desk: Desk, client: FeedClient) -> None:
        answer = await desk.json("stream", "list")
        assert [(row["id"], row["gateway"]) for row in answer["streams"]] == [("b2", "gw1"), ("a1", "gw1")]
        assert answer["unanswered"] == [] and answer["streams"][0]["age_s"] > 1e6
        assert len((await desk.json("stream", "list", "--user", "ada"))["streams"]) == 1
        table = (await desk.limen("stream", "list")).out
        assert "2.5 MB" in table and "websocket" in table
        assert (await desk.json("stream", "show", "a1"))["subject"] == "ada"
        assert (await desk.limen("stream", "show", "zz")).code == 1
        assert (await desk.limen("stream", "end", "--reason", "leaves")).code == 2
        assert (await desk.limen("stream", "end", "a1")).code == 2  # a reason is required
        assert (await desk.json("stream", "end", "a1", "--reason", "leaves"))["ended"] == 1
        ended = await desk.limen("stream", "end", "--resource", "db", "--reason", "leaves")
        assert ended.out == "Ended 1 stream.\n" and desk.streams == []
        assert (await desk.limen("stream", "end", "a1", "--reason", "leaves")).code == 1

    drive(tmp_path, story)


def test_a_gateway_that_is_away_is_named_and_not_left_out(tmp_path: Path) -> None:
    async def story(desk: Desk, client: FeedClient) -> None:
        made = await desk.limen("gateway", "token", "gw2", "--reason", "new site")
        await desk.limen("gateway", "join", "--state", str(tmp_path / "gw2"), stdin=made.out)
        answer = await desk.json("stream", "list")
        assert [one["gateway"] for one in answer["unanswered"]] == ["gw2"]
        assert "gw2 did not answer" in (await desk.limen("stream", "list")).err
        assert (await desk.limen("stream", "show", "zz")).code == 1

    drive(tmp_path, story)


def test_an_erasure_reaches_gateways_and_names_those_that_are_away(tmp_path: Path) -> None:
    async def story(desk: Desk, client: FeedClient) -> None:
        made = await desk.limen("gateway", "token", "gw2", "--reason", "new site")
        await desk.limen("gateway", "join", "--state", str(tmp_path / "gw2"), stdin=made.out)
        await desk.limen("user", "add", "ada")
        await desk.limen("user", "set", "ada", "--status", "ended")
        erased = await desk.json("subject", "erase", "ada", "--reason", "asked for it")
        assert erased["pending"] == ["gw2"]
        assert desk.erased == ['User::"ada"']

    drive(tmp_path, story)


def test_assertion_keys_of_gateways_are_published_while_they_are_joined(tmp_path: Path) -> None:
    async def story(desk: Desk, client: FeedClient) -> None:
        keys = desk.control._console_deps().jwks
        own = AssertionKeys(tmp_path)
        assert {key["kid"] for key in keys()["keys"]} == own.both
        await desk.limen("gateway", "remove", "gw1", "--reason", "stolen")
        assert {key["kid"] for key in keys()["keys"]} == {own.control}

    drive(tmp_path, story)


class AssertionKeys:
    def __init__(self, folder: Path) -> None:
        from limen.enforcement.check.assertion import AssertionSigner

        kids = [
            AssertionSigner(StateDir(folder / name).assertion_key_path.read_bytes()).public_jwk()["kid"]
            for name in ("control", "gw1")
        ]
        self.control, self.both = kids[0], set(kids)


def test_a_gateway_s_certificate_is_nobody_s_session_at_the_console(tmp_path: Path) -> None:
    async def story(desk: Desk, client: FeedClient) -> None:
        context = IdentityFolder(tmp_path / "gw1").context()

        async def get(path: str, host: str = "auth.corp.example", peer: str = "10.0.0.9") -> bytes:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", desk.port + 1, ssl=context, server_hostname=CONTROL_NAME
            )
            head = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n"
            head += f"x-limen-peer: {peer}\r\n\r\n" if peer else "\r\n"
            writer.write(head.encode())
            answer = await reader.read()
            writer.close()
            return answer

        assert b" 200 " in (await get("/.limen/static/limen.css")).split(b"\r\n")[0]
        account = await get("/account")
        assert account.split(b" ")[1] != b"200" and b"gw1" not in account
        for path in ("/v1/people", "/v1/gateways", "/v1/status", "/metrics"):  # the admin API is not there
            assert (await get(path)).split(b" ")[1] != b"200"
            for host in INTERNAL_HOSTS:  # nor is what control's own socket answers besides the pages
                assert (await get(path, host, "")).split(b" ")[1] == b"403"
                assert (await get(path, host)).split(b" ")[1] != b"200"

    drive(tmp_path, story)


def test_without_the_option_no_machine_can_join(tmp_path: Path) -> None:
    control = Control(
        StateDir.create(tmp_path / "control"),
        ControlOptions(state=tmp_path / "control", bundle=None, public_port=8443, metrics=None),
    )
    try:
        with pytest.raises(Refused) as refused:
            control._gateways.make_token("gw1", actor="t", reason="t", life_s=60, addresses=())
        assert refused.value.code == "GATEWAYS_OFF"
        assert not (tmp_path / "control" / "ca" / "gateways").exists()
    finally:
        control.close()

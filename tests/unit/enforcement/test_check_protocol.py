"""The check over its real socket: keep-alive, waiting for others, and every way a connection can go wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from check_world import KEY, LAPTOP, NOW, UNAVAILABLE, CheckWorld, Faults
from prometheus_client import CollectorRegistry, generate_latest

from limen.core.changes import AppSessionFact
from limen.core.tokens import mint_token
from limen.enforcement.check.metrics import CheckCollector, Tally
from limen.enforcement.check.server import start_check

WAIT_S = 20.0


class FakeControl(Faults):
    """Answers an ask once the test says so; then the replica has what the test commits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.called, self.released = asyncio.Event(), asyncio.Event()
        self.released.set()
        self.before_answer: Callable[[], None] = lambda: None

    async def ask(self) -> None:
        self.asked += 1
        self.called.set()
        self.pop()
        await self.released.wait()
        self.before_answer()

    def note_seen(self, session_id: str, at: float) -> None:
        pass


class Rig:
    """The check of a `CheckWorld`, served."""

    def __init__(self, folder: Path) -> None:
        self.world = CheckWorld()
        self.control = FakeControl()
        self.tally = Tally()
        self.path = folder / "check.sock"

    async def __aenter__(self) -> "Rig":
        self.server = await start_check(
            self.path,
            self.world.check,
            control=self.control,
            explainer=self.world.explainer,
            tally=self.tally,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path))


def message(target: str = "/", method: str = "GET", token: str = "", **headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "host: wiki.limen.test", "x-limen-peer: 203.0.113.7"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if token:
        lines.append(f"cookie: __Host-limen={token}")
    return "\r\n".join([*lines, "content-length: 0", "", ""]).encode()


async def answer(reader: asyncio.StreamReader, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
    block = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = block.strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    body = b"" if head else await reader.readexactly(int(headers["content-length"]))
    return int(status.split()[1]), headers, body


def drive(folder: Path, story: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Rig(folder) as rig:
            await asyncio.wait_for(story(rig), WAIT_S)

    uvloop.run(run())


def test_one_connection_asks_many_times(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await rig.connect()
        for _ in range(3):
            writer.write(message(token=rig.world.token))
            status, headers, body = await answer(reader)
            assert (status, body) == (200, b"") and headers["x-limen-assertion"] == "assertion-1"
        writer.write(message())
        assert (await answer(reader))[0] == 401
        assert rig.tally.answers == {"allow": 3, "no_session": 1}
        writer.close()

    drive(tmp_path, story)


def test_a_request_may_come_in_pieces(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await rig.connect()
        for byte in message("/page?q=1", token=rig.world.token):
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await answer(reader))[0] == 200
        assert rig.world.journal.decisions[0].path == "/page"
        writer.close()

    drive(tmp_path, story)


def test_two_requests_in_one_piece_are_answered_in_order(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await rig.connect()
        writer.write(message(token=rig.world.token) + message())
        assert [(await answer(reader))[0] for _ in range(2)] == [200, 401]
        writer.close()

    drive(tmp_path, story)


def test_an_answer_to_head_leaves_the_connection_in_step(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await rig.connect()
        writer.write(message(method="HEAD"))
        assert (await answer(reader, head=True))[0] == 401
        writer.write(message(token=rig.world.token))
        assert (await answer(reader))[0] == 200
        writer.close()

    drive(tmp_path, story)


def test_a_repeated_header_is_joined(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await rig.connect()
        lines = message(token=rig.world.token).replace(b"content-length", b"cookie: b=2\r\ncontent-length")
        writer.write(lines)
        assert (await answer(reader))[0] in (302, 401)  # the joined value is nobody's token
        writer.close()

    drive(tmp_path, story)


@pytest.mark.parametrize("data", [b"rubbish\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01" * 50])
def test_what_is_not_http_ends_the_connection_unanswered(tmp_path: Path, data: bytes) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await rig.connect()
        writer.write(data)
        assert await reader.read() == b""
        writer.close()

    drive(tmp_path, story)


def test_an_upgrade_is_refused_and_the_connection_ends(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await rig.connect()
        writer.write(message(token=rig.world.token, connection="Upgrade", upgrade="websocket"))
        assert (await answer(reader))[0] == 403
        writer.close()

    drive(tmp_path, story)


def test_connection_close_is_honoured(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await rig.connect()
        writer.write(message(token=rig.world.token, connection="close"))
        assert (await answer(reader))[0] == 200
        assert await reader.read() == b""
        writer.close()

    drive(tmp_path, story)


def test_a_login_that_the_replica_has_not_seen_waits_for_control_once(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        world, token = rig.world, mint_token(KEY, 101)[0].reveal()
        session = AppSessionFact(world.hash_of(token), "s1", "wiki", NOW + 60)
        rig.control.before_answer = lambda: world.commit(session)
        reader, writer = await rig.connect()
        for _ in range(2):
            writer.write(message(token=token))
            assert (await answer(reader))[0] == 200
        assert rig.control.asked == 1
        writer.close()

    drive(tmp_path, story)


def test_with_control_away_a_new_login_is_503_and_no_redirect(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.control.fail(UNAVAILABLE)
        reader, writer = await rig.connect()
        writer.write(message(token=mint_token(KEY, 101)[0].reveal(), sec_fetch_mode="navigate"))
        assert (await answer(reader))[0] == 503
        writer.write(message(token=rig.world.token))
        assert (await answer(reader))[0] == 200
        writer.close()

    drive(tmp_path, story)


def test_others_are_answered_while_one_waits(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.control.released.clear()
        slow_reader, slow = await rig.connect()
        slow.write(message(token=mint_token(KEY, 101)[0].reveal()))
        reader, writer = await rig.connect()
        writer.write(message(token=rig.world.token))
        assert (await answer(reader))[0] == 200
        rig.control.released.set()
        assert (await answer(slow_reader))[0] == 401
        slow.close()
        writer.close()

    drive(tmp_path, story)


def test_a_second_request_while_one_waits_ends_the_connection(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.control.released.clear()
        reader, writer = await rig.connect()
        writer.write(message(token=mint_token(KEY, 101)[0].reveal()) + message(token=rig.world.token))
        assert await reader.read() == b""
        assert rig.world.journal.decisions == []
        writer.close()

    drive(tmp_path, story)


def test_a_client_that_leaves_while_waiting_is_forgotten(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.control.released.clear()
        _, writer = await rig.connect()
        writer.write(message(token=mint_token(KEY, 101)[0].reveal()))
        await writer.drain()
        writer.close()
        reader, other = await rig.connect()
        other.write(message(token=rig.world.token))
        assert (await answer(reader))[0] == 200
        other.close()

    drive(tmp_path, story)


def test_a_denied_navigation_waits_for_its_explanation(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.world.engine.deny()
        rig.world.explainer.cures(LAPTOP)
        reader, writer = await rig.connect()
        writer.write(message(token=rig.world.token, sec_fetch_mode="navigate"))
        status, headers, body = await answer(reader)
        assert status == 403 and b"denied.html" in body
        assert headers["x-limen-decision-id"] == rig.world.journal.decisions[0].id
        writer.close()

    drive(tmp_path, story)


def test_an_explainer_that_breaks_gives_503(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.world.engine.deny()
        rig.world.explainer.fail(RuntimeError("a bug"), after=1)
        reader, writer = await rig.connect()
        writer.write(message(token=rig.world.token))
        assert (await answer(reader))[0] == 503
        writer.close()

    drive(tmp_path, story)


def test_an_allow_that_cannot_be_recorded_is_503(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        reader, writer = await rig.connect()
        writer.write(message(token=rig.world.token))
        assert (await answer(reader))[0] == 200
        rig.world.journal.fail(UNAVAILABLE, after=2)
        writer.write(message(token=rig.world.token))
        assert (await answer(reader))[0] == 503
        assert rig.tally.answers == {"allow": 1, "outage": 1}
        writer.close()

    drive(tmp_path, story)


def test_closing_lets_waiting_answers_leave(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.control.released.clear()
        reader, writer = await rig.connect()
        writer.write(message(token=mint_token(KEY, 101)[0].reveal()))
        await rig.control.called.wait()
        closing = asyncio.create_task(rig.server.close())
        await asyncio.sleep(0)
        rig.control.released.set()
        assert (await answer(reader))[0] == 401
        await closing
        assert await reader.read() == b""
        writer.close()

    drive(tmp_path, story)


def test_the_socket_is_private(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        assert rig.path.stat().st_mode & 0o777 == 0o600

    drive(tmp_path, story)


def test_metrics_tell_kinds_and_latency() -> None:
    tally, registry = Tally(), CollectorRegistry()
    registry.register(CheckCollector(tally, {"limen_replica_seq": ("Position.", lambda: 7)}))
    tally.note("allow", 0.000_03)
    tally.note("allow", 0.002)
    tally.note("deny", 99.0)
    text = generate_latest(registry).decode()
    assert 'limen_check_answers_total{kind="allow"} 2.0' in text
    assert 'limen_check_seconds_bucket{le="5e-05"} 1.0' in text
    assert 'limen_check_seconds_bucket{le="+Inf"} 3.0' in text
    assert "limen_replica_seq 7.0" in text

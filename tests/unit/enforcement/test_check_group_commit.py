"""What is answered in one turn of the loop is recorded with one write, before any of it leaves (C1)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import uvloop
from check_world import UNAVAILABLE, CheckWorld, request

from limen.core.errors import Invalid
from limen.core.record import DecisionRecord, Record
from limen.enforcement.check.case import Reply
from limen.enforcement.check.metrics import Tally
from limen.enforcement.check.server import start_check
from limen.journal.writer import Once

WAIT_S = 20.0
Items = Sequence[Record | Once]


def replies(world: CheckWorld, *paths: str) -> list[Reply]:
    found = [world.ask(request(path, token=world.token)) for path in paths]
    assert all(isinstance(one, Reply) for one in found)
    return found  # type: ignore[return-value]


def watch(world: CheckWorld, before: Callable[[Items], None]) -> list[int]:
    """Call `before` with what is appended; return a list that holds the number of decisions of each write."""
    sizes: list[int] = []
    append_many = world.journal.append_many

    def watched(items: Items, *, urgent: bool = False) -> object:
        before(items)
        sizes.append(sum(isinstance(item, DecisionRecord) for item in items))
        return append_many(items, urgent=urgent)

    world.journal.append_many = watched  # type: ignore[method-assign]
    return sizes


def test_the_replies_of_one_turn_are_one_write() -> None:
    world = CheckWorld()
    sizes = watch(world, lambda items: None)
    answers = world.check.settle_many(replies(world, "/a", "/b", "/c"))
    assert [one.status for one in answers] == [200, 200, 200]
    assert sizes == [3]
    assert [record.path for record in world.journal.decisions] == ["/a", "/b", "/c"]


def test_when_nothing_can_be_recorded_nobody_is_let_in() -> None:
    world = CheckWorld()
    asked = replies(world, "/a", "/b")

    def fail(items: Items) -> None:
        raise UNAVAILABLE

    watch(world, fail)
    assert [one.status for one in world.check.settle_many(asked)] == [503, 503]
    assert world.journal.decisions == []


@pytest.mark.parametrize(
    "fault", [Invalid("too large", code="RECORD_TOO_LARGE"), UnicodeError("half a character")]
)
def test_one_that_cannot_be_recorded_takes_no_other_with_it(fault: Exception) -> None:
    world = CheckWorld()

    def refuse(items: Items) -> None:
        if any(isinstance(item, DecisionRecord) and item.path == "/b" for item in items):
            raise fault

    watch(world, refuse)
    answers = world.check.settle_many(replies(world, "/a", "/b", "/c"))
    assert [one.status for one in answers] == [200, 503, 200]
    assert [record.path for record in world.journal.decisions] == ["/a", "/c"]


def serve(folder: Path, story: Callable[[CheckWorld, Path], Awaitable[None]]) -> CheckWorld:
    world, path = CheckWorld(), folder / "check.sock"

    async def run() -> None:
        server = await start_check(
            path,
            world.check,
            control=None,  # type: ignore[arg-type]  # nobody is asked
            explainer=world.explainer,
            tally=Tally(),
        )
        await asyncio.wait_for(story(world, path), WAIT_S)
        await server.close()

    uvloop.run(run())
    return world


def get(target: str, token: str) -> bytes:
    return (
        f"GET {target} HTTP/1.1\r\nhost: wiki.limen.test\r\nx-limen-peer: 203.0.113.7\r\n"
        f"cookie: __Host-limen={token}\r\n\r\n"
    ).encode()


def test_over_the_socket_no_byte_leaves_before_the_write_of_its_turn(tmp_path: Path) -> None:
    order: list[str] = []

    async def story(world: CheckWorld, path: Path) -> None:
        sizes = watch(world, lambda items: order.append("written"))
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(get("/a", world.token) + get("/b", world.token))  # read in one turn
        for _ in range(2):
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            order.append("heard")
        assert sizes == [2]
        writer.close()

    serve(tmp_path, story)
    assert order == ["written", "heard", "heard"]


def test_an_answer_that_is_due_leaves_before_its_connection_is_ended(tmp_path: Path) -> None:
    async def story(world: CheckWorld, path: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(get("/a", world.token) + b"rubbish\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        writer.close()

    world = serve(tmp_path, story)
    assert len(world.journal.decisions) == 1

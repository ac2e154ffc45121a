"""What control may have a gateway do to its streams: list them, end those chosen; a slip ends nothing."""

import msgspec
import pytest
from reassess_world import ReassessWorld

from limen.administrator.streams import Cause
from limen.core.errors import Invalid
from limen.services.gateway_commands import stream_commands


@pytest.fixture
def world() -> ReassessWorld:
    return ReassessWorld()


def test_streams_are_listed_in_plain_values(world: ReassessWorld) -> None:
    wiki, chat = world.open(), world.open("chat.limen.test", "/", token="c2")
    listed = stream_commands(world.streams)["streams.list"]
    assert [one["id"] for one in listed({})] == [wiki.id, chat.id]
    assert [one["id"] for one in listed({"resource": "chat", "subject": "ada", "session": ""})] == [chat.id]
    assert listed({"subject": "eve"}) == []
    assert msgspec.json.decode(msgspec.json.encode(listed({}))) == listed({})


@pytest.mark.parametrize(
    ("chosen", "ended"),
    [
        ({"subject": "ada"}, 2),
        ({"session": "s1"}, 2),
        ({"resource": "chat"}, 1),
        ({"resource": "chat", "subject": "eve"}, 0),
        ({"id": "dec_none"}, 0),
    ],
)
def test_chosen_streams_are_ended_with_their_reason(
    world: ReassessWorld, chosen: dict[str, str], ended: int
) -> None:
    world.open()
    world.open("chat.limen.test", "/", token="c2")
    end = stream_commands(world.streams)["streams.end"]
    assert end({**chosen, "reason": "laptop lost", "actor": "root"}) == {"ended": ended}
    assert len(world.closed) == ended
    assert len(world.streams) == 2 - ended
    for ending in world.closed.values():
        assert ending.cause is Cause.OPERATOR
        assert "laptop lost" in ending.sentence


def test_one_stream_is_ended_by_its_id(world: ReassessWorld) -> None:
    stays, goes = world.open(), world.open()
    assert stream_commands(world.streams)["streams.end"]({"id": goes.id}) == {"ended": 1}
    assert world.is_live(stays)
    assert not world.is_live(goes)


@pytest.mark.parametrize("args", [{}, {"reason": "x"}, {"subject": ""}, {"all": "yes"}])
def test_no_choice_ends_nothing(world: ReassessWorld, args: dict[str, str]) -> None:
    stream = world.open()
    with pytest.raises(Invalid):
        stream_commands(world.streams)["streams.end"](args)
    assert world.is_live(stream)

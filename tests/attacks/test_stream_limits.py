"""Attacks on the limits of live streams, and on the memory of why one was cut."""

from reassess_world import NOW

from limen.administrator.streams import Cause, Ending, LiveStream, Streams
from limen.core.catalogue import StreamLimits
from limen.core.clock import FakeClock
from limen.core.decision import AccessRequest, Code, Network
from limen.core.ids import DecisionId, EntityRef

CUT = Ending(Cause.OPERATOR, "An operator ended it.")
OPEN, CLOSED = EntityRef("Route", "wiki/open"), EntityRef("App", "wiki")
LIMITS = StreamLimits(per_session=100, per_subject=100, per_resource=10)


def a_stream(name: str, subject: str | None = None) -> LiveStream:
    who, session = (None, None) if subject is None else (EntityRef("User", subject), f"s-{subject}")
    resource = OPEN if subject is None else CLOSED
    asked = AccessRequest(DecisionId(name), NOW, who, "read", resource, session, "GET", "h", "/p", "::1")
    return LiveStream(
        question=asked,
        network=Network(),
        app="wiki",
        token_hash="",
        token_kind="",
        staleness_max_s=300.0,
        protocol="sse",
        opened_at=NOW,
        max_at=NOW + 60,
        close=lambda _ending: None,
    )


def test_strangers_at_a_public_path_do_not_take_the_places_of_people_who_are_signed_in() -> None:
    streams = Streams(FakeClock(NOW))

    def refused(subject: str | None) -> Code | None:
        who, session = (None, None) if subject is None else (EntityRef("User", subject), f"s-{subject}")
        return streams.refusal(session, who, OPEN if subject is None else CLOSED, LIMITS)

    opened = 0
    while refused(None) is None:
        streams.add(a_stream(f"stranger{opened}"))
        opened += 1
    assert opened == 5 and refused("ada") is None
    for number in range(5):
        streams.add(a_stream(f"ada{number}", "ada"))
    assert refused("ada") is Code.STREAM_LIMIT
    for number in range(opened):
        streams.remove(f"stranger{number}")
    for number in range(5):
        streams.remove(f"ada{number}")
    assert refused(None) is None and not streams._resources, "nothing is counted that is gone"


def test_a_flood_of_streams_that_end_by_themselves_forgets_no_cut() -> None:
    streams = Streams(FakeClock(NOW), ended_max=10)
    streams.add(a_stream("victim", "ada"))
    streams.end("victim", CUT)
    for number in range(100):
        streams.add(a_stream(f"flood{number}"))
        streams.remove(f"flood{number}")
    ended = streams.ended("victim")
    assert ended is not None and ended.cause is Cause.OPERATOR

"""Parts of the leash alone: messages, records of endings, live streams from openings."""

from collections.abc import Callable

import msgspec
import pytest
from check_world import NOW, CheckWorld, connect, request
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from leash_rig import http_headers

from limen.administrator.streams import FINISHED, Cause, Ending
from limen.core.catalogue import CONNECT_APP
from limen.core.errors import Invalid
from limen.enforcement.check.answer import Answer
from limen.enforcement.leash.opening import live_stream
from limen.enforcement.leash.pace import Pace
from limen.enforcement.leash.records import ended_record, was_live
from limen.enforcement.leash.wire import parse_message, read_request, render_allowed, render_denied


def stream_of(protocol: str = "connect") -> object:
    world = CheckWorld()
    opening = world.leashed(connect(token=world.sign_in(CONNECT_APP, "token"))).opening
    assert opening is not None
    return live_stream(opening, protocol, lambda ending: None)


def test_a_request_arrives_as_the_plain_check_sees_it() -> None:
    sent = request("/a?b=c", "POST", token="t", accept="*/*")
    assert read_request(http_headers(sent)) == msgspec.structs.replace(sent, headers=dict(sent.headers))


def test_repeated_headers_are_joined_by_a_comma() -> None:
    headers = http_headers(request())
    for value in (b"a=1", b"b=2"):
        headers.headers.headers.add(key="cookie", raw_value=value)
    assert read_request(headers).headers[b"cookie"] == b"a=1,b=2"


def test_a_forged_host_header_does_not_count() -> None:
    headers = http_headers(request(host="wiki.limen.test"))
    headers.headers.headers.add(key="host", raw_value=b"old.limen.test")
    assert read_request(headers).headers[b"host"] == b"wiki.limen.test"


@pytest.mark.parametrize("missing", [":method", ":authority"])
def test_a_request_without_a_pseudo_header_is_refused(missing: str) -> None:
    headers = pb.HttpHeaders()
    for header in http_headers(request()).headers.headers:
        if header.key != missing:
            headers.headers.headers.add(key=header.key, raw_value=header.raw_value)
    with pytest.raises(Invalid):
        read_request(headers)


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\x12"])
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid):
        parse_message(raw)


def test_a_cookie_that_is_set_goes_to_the_client() -> None:
    answer = Answer(200, (("x-limen-decision-id", "d"), ("set-cookie", "a=1"), ("set-cookie", "b=2")))
    allowed = render_allowed(answer, request(), "http")
    now, later = (pb.ProcessingResponse.FromString(raw) for raw in allowed)
    set_now = [o.header.key for o in now.request_headers.response.header_mutation.set_headers]
    set_later = [o.header.raw_value for o in later.response_headers.response.header_mutation.set_headers]
    assert set_now == ["x-limen-decision-id"] and set_later == [b"a=1", b"b=2"]


def test_a_denial_without_a_sentence_has_one_for_grpc() -> None:
    raw = render_denied(Answer(302), request(content_type="application/grpc"))
    immediate = pb.ProcessingResponse.FromString(raw).immediate_response
    assert immediate.grpc_status.status == 2 and immediate.body


def test_the_record_of_an_end_says_who_what_and_how_long() -> None:
    stream = stream_of()
    ending = Ending(Cause.DENIED, "Suspended.", decision_id="d1")
    record = ended_record(stream, ending, NOW + 1.5, "gw")  # type: ignore[arg-type]
    assert (record.kind, record.actor, record.node) == ("stream.ended", "ada", "gw")
    assert record.reason == "Suspended."
    assert record.data == {
        "cause": "denied",
        "resource": 'Service::"ledger-db"',
        "session": "s1",
        "protocol": "connect",
        "bytes_in": 0,
        "bytes_out": 0,
        "duration_ms": 1_500,
        "decision_id": "d1",
    }


@pytest.mark.parametrize(
    ("protocol", "cause", "age_s", "live"),
    [
        ("connect", Cause.FINISHED, 0.1, True),
        ("websocket", Cause.FINISHED, 0.1, True),
        ("http", Cause.FINISHED, 0.1, False),
        ("grpc", Cause.FINISHED, 0.1, False),
        ("sse", Cause.FINISHED, 6.0, True),
        ("sse", Cause.DENIED, 0.1, True),
    ],
)
def test_a_request_that_ended_at_once_was_no_live_stream(
    protocol: str, cause: Cause, age_s: float, live: bool
) -> None:
    stream = stream_of(protocol)
    ending = FINISHED if cause is Cause.FINISHED else Ending(cause, "x")
    assert was_live(stream, ending, NOW + age_s) is live  # type: ignore[arg-type]


def test_many_ends_leave_turns_of_the_loop_to_others() -> None:
    done: list[int] = []
    turns: list[Callable[[], None]] = []
    pace = Pace(turns.append, per_turn=3)
    for n in range(8):
        pace.run(lambda n=n: done.append(n))  # type: ignore[misc]
    assert done == [0, 1, 2] and len(turns) == 1
    turns.pop()()
    assert done == [0, 1, 2, 3, 4, 5]
    turns.pop()()
    pace.run(lambda: done.append(8))
    assert done == list(range(9))
    turns.pop()()
    assert turns == []
    pace.run(lambda: done.append(9))
    assert done[-1] == 9 and len(turns) == 1

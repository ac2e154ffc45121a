"""The pure parts: frames against `h2`, sentences against terminals, addresses against the network."""

import string
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given
from hypothesis import strategies as st

from limen.connect.frames import (
    FrameSplitter,
    GoAway,
    Other,
    Payload,
    ReceiveWindow,
    WireError,
    render_data,
    render_window_update,
)
from limen.connect.outcomes import Cut, Finished, Lost, Refused
from limen.connect.plain import plain
from limen.connect.problem import parse_refusal
from limen.connect.serve import parse_listen
from limen.connect.why import End, explain_outcome
from limen.core.errors import LimenError


def no_question(stream_id: str) -> End:
    raise AssertionError(stream_id)


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 40), st.booleans())
def test_n4_the_splitter_gives_what_was_sent_however_it_is_cut(
    messages: list[bytes], step: int, ends: bool
) -> None:
    server = H2Connection(H2Configuration(client_side=False))
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    server.initiate_connection()
    client.send_headers(1, [(":method", "CONNECT"), (":authority", "x:1")])
    server.receive_data(client.data_to_send())
    server.send_headers(1, [(":status", "200")])
    for number, message in enumerate(messages):
        server.send_data(1, message, pad_length=3 if number % 2 else None)
        server.ping(bytes(8))
    if ends:
        server.end_stream(1)
    sent = server.data_to_send()
    splitter, got, events = FrameSplitter(lambda stream: stream == 1, 16_384), b"", []
    for at in range(0, len(sent), step):
        for piece in splitter.feed(sent[at : at + step]):
            if isinstance(piece, Payload):
                got += b"".join(piece.parts)
            elif isinstance(piece, Other):
                events += [type(event).__name__ for event in client.receive_data(piece.data)]
    assert got == b"".join(messages)
    assert events.count("PingReceived") == len(messages) and ("StreamEnded" in events) is ends


def test_the_frames_that_are_made_are_what_h2_reads() -> None:
    client, server = (
        H2Connection(H2Configuration(client_side=True)),
        H2Connection(H2Configuration(client_side=False)),
    )
    client.initiate_connection()
    client.send_headers(1, [(":method", "CONNECT"), (":authority", "x:1")])
    server.receive_data(client.data_to_send())
    data = bytes(range(256)) * 100
    read = server.receive_data(render_data(1, memoryview(data), 16_384))
    assert b"".join(event.data for event in read) == data  # type: ignore[union-attr,misc]
    before = server.local_flow_control_window(1)
    server.send_headers(1, [(":status", "200")])
    server.receive_data(render_window_update(1, 7) + render_window_update(0, 7))
    assert server.local_flow_control_window(1) == before + 7


@pytest.mark.parametrize(
    "frame",
    [b"\1\0\0\0\0\0\0\0\1", b"\0\0\3\7\0\0\0\0\0abc", b"\0\0\2\0\x08\0\0\0\1\7x", b"\0\0\0\0\x08\0\0\0\1"],
)
def test_frames_that_lie_are_refused(frame: bytes) -> None:
    with pytest.raises(WireError):
        list(FrameSplitter(lambda _: True, 16_384).feed(frame + bytes(20)))


def test_a_goaway_is_read() -> None:
    frame = b"\0\0\x0a\7\0\0\0\0\0" + (5).to_bytes(4, "big") + (2).to_bytes(4, "big") + b"hi"
    assert list(FrameSplitter(lambda _: True, 100).feed(frame)) == [GoAway(5, 2)]


@given(st.lists(st.integers(1, 50), max_size=60))
def test_n3_a_window_never_grows_beyond_its_size(taken: list[int]) -> None:
    window, allowed = ReceiveWindow(100), 100
    for count in taken:
        if count > allowed:
            with pytest.raises(WireError):
                window.take(count)
            return
        window.take(count)
        allowed += window.give(count) - count
        assert 50 <= allowed <= 100


@given(st.text(alphabet=st.characters(), max_size=600))
def test_n5_plain_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable() or all(mark.isprintable() or mark == " " for mark in shown)
    assert len(shown) <= 500


@pytest.mark.parametrize("said", [None, 7, [], {"a": 1}, b"x"])
def test_what_is_no_text_is_nothing(said: Any) -> None:
    assert plain(said) == ""


def test_a_problem_document_is_told_whole() -> None:
    body = {
        "detail": "Health data opens only from a compliant device.",
        "remedies": ["compliant-device", "posture:disk_encrypted", {"id": "later", "sentence": "Wait."}, 7],
        "decision_id": "0" * 32,
    }
    assert parse_refusal(403, body).lines("limen login u") == (
        "Health data opens only from a compliant device.",
        "Use a device that meets your organisation's rules.",
        "Your device must pass: disk encrypted.",
        "Wait.",
        f"Decision {'0' * 32}",
    )


def test_a_step_up_says_what_to_run() -> None:
    lines = parse_refusal(401, {"detail": "Prove more.", "cure": "passkey"}).lines("limen login u")
    assert lines[-1] == "Run: limen login u --need passkey"
    assert parse_refusal(401, {"cure": "x; rm"}).lines("limen login u")[-1] == "Run: limen login u"


@given(
    st.integers(0, 999),
    st.dictionaries(
        st.sampled_from(["detail", "title", "remedies", "remedy", "cure", "decision_id"]),
        st.recursive(st.none() | st.text(string.printable + "\x1b\x9b\u202e") | st.integers(), st.lists),
    ),
)
def test_n5_no_problem_document_reaches_the_terminal_raw(status: int, body: dict[str, Any]) -> None:
    lines = parse_refusal(status, body).lines("limen login u")
    assert lines[0] and len(lines) < 20
    assert all(mark.isprintable() for line in lines for mark in line)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Finished(), 0),
        (Refused(403, {}, b"\xff not json"), 1),
        (Refused(0, {}, b""), 1),
        (Lost("gone"), 1),
        (Cut(""), 3),
    ],
)
def test_each_outcome_has_its_exit_code(outcome: Any, code: int) -> None:
    end = explain_outcome(outcome, "db", "limen login u", no_question)
    assert end.exit_code == code and bool(end.lines) is (code != 0)


def test_a_sign_in_that_ended_stops_the_program() -> None:
    end = explain_outcome(Refused(401, {}, b"{}"), "db", "limen login u", no_question)
    assert end.signed_out and "Run: limen login u" in end.lines


@pytest.mark.parametrize("text", ["127.0.0.1:0", "localhost:5433", "[::1]:80", ":9", "127.9.9.9:1"])
def test_this_machine_may_be_listened_on(text: str) -> None:
    assert parse_listen(text, anyone=False)


@pytest.mark.parametrize(
    "text", ["0.0.0.0:1", "[::]:1", "192.168.1.4:80", "example.com:1", "5433", "x:y", "::1"]
)
def test_no_other_machine_may_unless_it_is_said(text: str) -> None:
    with pytest.raises(LimenError):
        parse_listen(text, anyone=False)


def test_the_network_may_when_it_is_said() -> None:
    assert parse_listen("0.0.0.0:1", anyone=True).host == "0.0.0.0"

"""Live streams through the real Envoy: what passes, and what must not."""

import hashlib
from collections.abc import Iterator
from http.client import HTTPResponse
from threading import Event
from time import monotonic

import grpc
import pytest
from envoy_leash import Verdict
from envoy_peers import frame, pieces, read_head
from envoy_rig import DOMAIN
from envoy_streams import (
    GRPC,
    HANDSHAKE,
    KEY,
    LIVE,
    SIZE,
    SMUGGLED,
    Streams,
    is_over,
    running_streams,
    says,
)

from limen.core.record import MAX_DURATION

pytestmark = pytest.mark.envoy


@pytest.fixture(scope="module")
def shared() -> Iterator[Streams]:
    with running_streams() as streams:
        yield streams


@pytest.fixture
def rig(shared: Streams) -> Streams:
    return shared.fresh()


def test_a_websocket_over_http_1_is_decided_by_the_leash_and_ends_on_command(rig: Streams) -> None:
    rig.leash.verdict = lambda headers: Verdict(
        headers=(("x-limen-assertion", "true"), ("x-limen-decision-id", "d-ws")), remove=("cookie",)
    )
    connection = rig.websocket()
    assert says(connection, b"hello")
    assert rig.eventually(lambda: rig.leash.held[0].answer is not None)
    assert not rig.check.seen
    seen, head = rig.leash.held[0].headers, rig.app.heads[0]
    assert (seen["upgrade"], seen[":authority"], seen["x-limen-http"]) == ("websocket", LIVE, "HTTP/1.1")
    assert (seen["x-limen-peer"], seen["cookie"], seen["x-limen-first-cookie"]) == ("127.0.0.1", "a=b", "a=b")
    assert b"x-limen-assertion: true" in head
    for gone in (b"cookie", b"x-limen-peer", b"x-limen-http", b"x-limen-first-cookie"):
        assert gone not in head
    rig.leash.held[0].cut()
    assert is_over(connection)
    assert rig.eventually(lambda: any(o.id == "d-ws" for o in rig.outcomes))
    outcome = next(o for o in rig.outcomes if o.id == "d-ws")
    assert (outcome.bytes_in, outcome.bytes_out) == (11, 7)
    assert outcome.details.startswith("ext_proc_error")


def test_a_websocket_over_http_2_reaches_a_server_of_http_1_and_its_siblings_live(rig: Streams) -> None:
    rig.leash.verdict = lambda headers: Verdict(headers=(KEY,))
    with rig.h2(LIVE) as client:
        assert client.knows_extended_connect()
        first, second = client.websocket(LIVE, "/a"), client.websocket(LIVE, "/b")
        for stream in (first, second):
            assert client.status(stream) == 200
            client.send(stream, frame(b"over two"))
            assert client.read(stream, 10)[2:] == b"over two"
        assert rig.leash.held[0].headers["x-limen-http"] == "HTTP/2"
        rig.leash.held[0].cut()
        client.read_all(first)
        assert first in client.reset
        client.send(second, frame(b"still"))
        assert client.read(second, 7)[2:] == b"still"


def test_a_denied_upgrade_gets_the_leashs_own_answer(rig: Streams) -> None:
    rig.leash.verdict = lambda headers: Verdict(403, (("content-type", "text/plain"),), b"the leash says no")
    reply = rig.raw(HANDSHAKE.format(path="/", host=LIVE, to="websocket").encode(), LIVE)
    assert (reply.status, reply.body) == (403, b"the leash says no")
    with rig.h2(LIVE) as client:
        stream = client.websocket(LIVE, "/")
        assert (client.status(stream), client.read_all(stream)) == (403, b"the leash says no")
    assert not rig.app.heads


@pytest.mark.parametrize("status", [400, 401, 404, 421, 429, 502, 503, 504])
def test_no_answer_of_the_leash_is_replaced_by_a_page_of_envoys(rig: Streams, status: int) -> None:
    rig.leash.verdict = lambda headers: Verdict(status, (("x-limen-decision-id", "d"),), b"own")
    reply = rig.get("/", ("Accept", "text/event-stream, text/html"), host=LIVE)
    assert (reply.status, reply.body, reply.get("x-limen-decision-id")) == (status, b"own", "d")


def test_events_go_on_beyond_the_clock_of_other_requests(rig: Streams) -> None:
    connection = rig.connect(LIVE)
    connection.sendall(f"GET /sse HTTP/1.1\r\nHost: {LIVE}\r\nAccept: text/event-stream\r\n\r\n".encode())
    response = HTTPResponse(connection)
    response.begin()
    assert response.read(11) == b"data: one\n\n"
    began = monotonic()
    assert not rig.eventually(lambda: rig.leash.open == 0, timeout_s=2.5), "max_stream_duration is 2 s here"
    rig.call(rig.app.released.set)
    assert response.read() == b"data: two\n\n"
    assert monotonic() - began > 2.0
    assert not rig.check.seen


def test_a_response_that_no_one_leashed_is_cut_by_the_clock_and_says_so(rig: Streams) -> None:
    rig.allow(("x-limen-decision-id", "d-cut"))
    connection = rig.connect(LIVE)
    connection.sendall(f"GET /sse HTTP/1.1\r\nHost: {LIVE}\r\n\r\n".encode())
    read_head(connection)
    while connection.recv(65_536):
        pass
    assert rig.eventually(lambda: any(o.id == "d-cut" for o in rig.outcomes))
    assert next(o for o in rig.outcomes if o.id == "d-cut").details == MAX_DURATION
    assert not rig.leash.held


def test_a_long_poll_on_a_streaming_route_waits(rig: Streams) -> None:
    connection = rig.connect(LIVE)
    connection.sendall(f"GET /poll HTTP/1.1\r\nHost: {LIVE}\r\n\r\n".encode())
    assert not rig.eventually(lambda: rig.leash.open == 0 and len(rig.leash.held) > 0, timeout_s=2.5)
    rig.call(rig.app.released.set)
    response = HTTPResponse(connection)
    response.begin()
    assert (response.status, response.read()) == (200, b"done")
    assert rig.eventually(lambda: rig.leash.open == 0)


@pytest.mark.parametrize(
    ("method", "path", "leashed"),
    [
        ("GET", "/any/x/events", True),
        ("GET", "/any/x/events/1/2?q=/any", True),
        ("POST", "/any/x/events", False),
        ("GET", "/any/x/y/events", False),
        ("GET", "/any/x/eventss", False),
    ],
)
def test_streaming_routes_are_matched_as_the_bundle_says(
    rig: Streams, method: str, path: str, leashed: bool
) -> None:
    assert rig.request(method, path, body=b"" if method == "POST" else None).status == 200
    assert (len(rig.leash.held), len(rig.check.seen)) == ((1, 0) if leashed else (0, 1))


def test_a_preflight_for_a_streaming_route_asks_nobody(rig: Streams) -> None:
    asked = (("Origin", "https://x.example"), ("Access-Control-Request-Method", "GET"))
    reply = rig.request("OPTIONS", "/any/x/events", *asked)
    assert (reply.status, reply.get("access-control-allow-origin")) == (200, "https://x.example")
    assert not rig.leash.held


def test_200_mb_pass_unmodified_both_ways(rig: Streams) -> None:
    expected = hashlib.sha256()
    for piece in pieces(SIZE):
        expected.update(piece)
    connection = rig.connect(LIVE)
    head = f"PUT /big HTTP/1.1\r\nHost: {LIVE}\r\nContent-Length: {SIZE}\r\nX-Send: {SIZE}\r\n\r\n"
    connection.sendall(head.encode())
    for piece in pieces(SIZE):
        connection.sendall(piece)
    response = HTTPResponse(connection)
    response.begin()
    got, digest = 0, hashlib.sha256()
    while data := response.read(1 << 18):
        digest.update(data)
        got += len(data)
    assert (response.status, got) == (200, SIZE)
    assert digest.hexdigest() == rig.app.received == expected.hexdigest()
    assert len(rig.leash.held) == 1


def test_a_declared_body_above_the_apps_limit_is_refused_on_streaming_routes_too(rig: Streams) -> None:
    head = f"PUT /big HTTP/1.1\r\nHost: {LIVE}\r\nContent-Length: {SIZE + 1}\r\n\r\n"
    assert rig.raw(head.encode(), LIVE).status == 413
    assert not rig.app.heads


def channel(rig: Streams) -> grpc.Channel:
    roots = rig.certificates.ca_file.read_bytes()
    options = (("grpc.ssl_target_name_override", GRPC), ("grpc.default_authority", GRPC))
    credentials = grpc.ssl_channel_credentials(roots)
    return grpc.secure_channel(f"127.0.0.1:{rig.port}", credentials, options=options)


def test_grpc_streams_with_trailers_and_is_cut_on_command(rig: Streams) -> None:
    with channel(rig) as client:
        count = client.unary_stream("/demo/Count")
        call = count(b"500", timeout=10)
        assert list(call) == [str(n).encode() for n in range(500)]
        assert dict(call.trailing_metadata())["counted"] == "500"
        assert call.code() is grpc.StatusCode.OK
        assert rig.eventually(lambda: rig.leash.held[0].ended.is_set())
        assert rig.leash.held[0].trailers
        over = Event()
        waiting = client.stream_stream("/demo/Echo")(one_and_wait(over), timeout=10)
        assert next(waiting) == b"first"
        rig.leash.held[1].cut()
        with pytest.raises(grpc.RpcError) as cut:
            next(waiting)
        over.set()
        assert cut.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    assert not rig.check.seen


def one_and_wait(over: Event) -> Iterator[bytes]:
    yield b"first"
    over.wait(10)


@pytest.mark.parametrize("to", ["websocket", "tcp"])
def test_nothing_is_smuggled_behind_an_upgrade_that_the_app_does_not_take(rig: Streams, to: str) -> None:
    connection = rig.connect(LIVE)
    connection.sendall(HANDSHAKE.format(path="/refuse", host=LIVE, to=to).encode() + SMUGGLED)
    assert read_head(connection).startswith(b"HTTP/1.1 200")
    while connection.recv(65_536):
        pass
    assert rig.app.early == b""
    assert len(rig.app.heads) == 1


def test_silence_ends_a_stream_by_the_apps_own_limit(rig: Streams) -> None:
    connection = rig.websocket(f"quiet.{DOMAIN}")
    assert says(connection, b"a")
    assert is_over(connection)
    assert rig.eventually(lambda: rig.leash.open == 0)

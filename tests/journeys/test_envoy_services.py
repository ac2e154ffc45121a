"""TCP services through the real Envoy: CONNECT over HTTP/2 and nothing else."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from envoy_leash import Verdict
from envoy_peers import TcpEcho
from envoy_rig import DOMAIN
from envoy_streams import DB, LIVE, Streams, running_streams

pytestmark = pytest.mark.envoy


@pytest.fixture(scope="module")
def shared() -> Iterator[Streams]:
    with running_streams() as streams:
        yield streams


@pytest.fixture
def rig(shared: Streams) -> Streams:
    return shared.fresh()


def test_connect_reaches_the_service_and_both_ends_may_finish_in_turn(rig: Streams) -> None:
    rig.leash.verdict = lambda headers: Verdict(headers=(("x-limen-decision-id", "d-tcp"),))
    with rig.h2(DB) as client:
        stream = client.connect(f"{DB}:443", ("authorization", "Bearer t"))
        assert client.status(stream) == 200
        client.send(stream, b"x" * 300_000)
        assert client.read(stream, 300_000) == b"x" * 300_000
        client.send(stream, b"", end=True)
        assert client.read_all(stream) == TcpEcho.FAREWELL
        seen = rig.leash.held[0].headers
        assert (seen[":method"], seen[":authority"], seen["authorization"]) == (
            "CONNECT",
            f"{DB}:443",
            "Bearer t",
        )
        assert rig.eventually(lambda: any(o.id == "d-tcp" and o.bytes_in == 300_000 for o in rig.outcomes))
        other = client.connect(f"{DB}:443")
        assert client.status(other) == 200
        rig.leash.held[1].cut()
        client.read_all(other)
        assert other in client.reset


def test_a_denied_connect_opens_no_connection_and_shows_why(rig: Streams) -> None:
    rig.leash.verdict = lambda headers: Verdict(403, (("content-type", "application/problem+json"),), b"{}")
    with rig.h2(DB) as client:
        for _ in range(2):  # the client's connection lives on
            stream = client.connect(f"{DB}:443")
            assert (client.status(stream), client.read_all(stream)) == (403, b"{}")


@pytest.mark.parametrize("host", [LIVE, f"nope.{DOMAIN}", f"auth.{DOMAIN}", "127.0.0.1"])
def test_connect_to_anything_but_a_service_is_refused_and_asks_nobody(rig: Streams, host: str) -> None:
    with rig.h2(DB) as client:
        stream = client.connect(f"{host}:443")
        assert client.status(stream) == 403
        assert b"STREAM_REFUSED" in client.read_all(stream)
        assert client.status(client.get(DB, "/")) == 404, "the connection is of use still"
    assert not rig.leash.held
    assert not rig.check.seen


def test_connect_over_http_1_is_refused_clearly(rig: Streams) -> None:
    reply = rig.raw(f"CONNECT {DB}:443 HTTP/1.1\r\nHost: {DB}:443\r\n\r\n".encode(), DB)
    assert (reply.status, reply.get("connection")) == (505, "close")
    assert "limen connect db" in reply.text
    assert not rig.leash.held


def test_a_services_host_says_what_it_is(rig: Streams) -> None:
    for accept in ("text/html", "*/*"):
        reply = rig.get("/", ("Accept", accept), host=DB)
        assert reply.status == 404
        assert "limen connect db" in reply.text
    with rig.h2(DB) as client:
        stream = client.websocket(DB, "/.well-known/masque/udp/10.0.0.1/53/", protocol="connect-udp")
        with suppress(Exception):  # h2 reads nothing after GOAWAY
            assert client.status(stream) in (403, 404)
    assert not rig.leash.held


def test_the_leash_itself_tells_how_a_stream_ended(rig: Streams) -> None:
    rig.leash.verdict = lambda headers: Verdict(
        200, (("content-type", "application/json"),), b'{"cause": "x"}'
    )
    reply = rig.get("/.limen/ended/1", host=DB)
    assert (reply.status, reply.body) == (200, b'{"cause": "x"}')
    rig.leash.verdict = lambda headers: Verdict()
    assert rig.get("/.limen/ended/1", host=DB).status == 404

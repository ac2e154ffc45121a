"""A second request hidden behind the first of a stream, and odd ways to ask for one, on the wire."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from envoy_h2 import H2Client
from envoy_peers import read_head
from envoy_streams import LIVE, SMUGGLED, Streams, running_streams
from h2.exceptions import ProtocolError

pytestmark = pytest.mark.envoy

LENGTH = len(SMUGGLED)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (LENGTH, SMUGGLED)
ASKED = f"GET /refuse HTTP/1.1\r\nHost: {LIVE}\r\nSec-WebSocket-Version: 13\r\n"
HANDSHAKE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"


@pytest.fixture(scope="module")
def running() -> Iterator[Streams]:
    with running_streams() as streams:
        yield streams


@pytest.fixture
def rig(running: Streams) -> Streams:
    return running.fresh()


@pytest.mark.parametrize(
    ("more", "body"),
    [
        (f"Content-Length: {LENGTH}\r\n", SMUGGLED),
        ("Transfer-Encoding: chunked\r\n", CHUNKED),
        ("Content-Length: 0\r\n", SMUGGLED),
        ("Expect: 100-continue\r\n", SMUGGLED),
    ],
    ids=["length", "chunked", "no length", "expect"],
)
def test_a_handshake_with_a_body_hides_no_request(rig: Streams, more: str, body: bytes) -> None:
    connection = rig.connect(LIVE)
    connection.settimeout(2)
    connection.sendall(f"{ASKED}{HANDSHAKE}{more}\r\n".encode() + body)
    with suppress(OSError):
        read_head(connection)
        while connection.recv(65_536):
            pass
    assert b"evil" not in rig.app.early and not any(b"/evil" in head for head in rig.app.heads)


def test_a_handshake_over_http2_hides_no_request(rig: Streams) -> None:
    """Bytes that follow at once, before anybody could say whether the app takes the handshake."""
    with rig.h2(LIVE) as client:
        stream = client.websocket(LIVE, "/refuse")
        client.send(stream, SMUGGLED)
        client.status(stream)
        client.read_all(stream)
    assert b"evil" not in rig.app.early and len(rig.app.heads) == 1


@pytest.mark.parametrize("protocol", ["h2c", "websocket, h2c", "connect-udp", "connect-ip", "HTTP/1.1", ""])
def test_extended_connect_for_anything_else_reaches_no_app(rig: Streams, protocol: str) -> None:
    connection = rig.connect(LIVE, alpn="h2")
    connection.settimeout(5)
    client = H2Client(connection)
    with suppress(ProtocolError):
        assert client.status(client.websocket(LIVE, "/refuse", protocol=protocol)) != 200
    assert not rig.app.heads and not rig.leash.held


def test_a_wish_to_upgrade_that_no_proxy_heeds_is_a_plain_request(rig: Streams) -> None:
    """Without `Connection: Upgrade` it is none: the check decides, and nothing is a stream."""
    connection = rig.connect(LIVE)
    head = ASKED.replace("/refuse", "/x") + "Upgrade: websocket\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode())
    read_head(connection)
    assert len(rig.check.seen) == 1 and not rig.leash.held
    assert b"upgrade" not in rig.app.heads[0].lower()

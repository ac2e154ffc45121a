"""Sizes, streams and protocols beyond what the gateway takes."""

import asyncio
import ssl
from contextlib import suppress

import h2.config
import h2.connection
import h2.events
import pytest
from envoy_rig import DOMAIN, Answer, Rig

pytestmark = pytest.mark.envoy

WIKI = f"Host: wiki.{DOMAIN}\r\n".encode()
LIMIT = 100_000  # the wiki's


def chunked(size: int) -> bytes:
    chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    head = b"POST / HTTP/1.1\r\n" + WIKI + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + chunk * (size // 10_000) + b"0\r\n\r\n"


def http2(rig: Rig, authority: str, *headers: tuple[str, str], method: str = "GET", sni: str = "wiki") -> int:
    """One HTTP/2 request; return the status, or 0 if the stream was reset."""
    with rig.connect(f"{sni}.{DOMAIN}", "h2") as sock:
        config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        fields = [(":method", method), (":authority", authority), (":scheme", "https"), (":path", "/")]
        if method == "CONNECT":
            fields = fields[:2]
        connection.send_headers(1, [*fields, *headers], end_stream=True)
        sock.sendall(connection.data_to_send())
        while True:
            data = sock.recv(65_536)
            if not data:
                return 0
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    return int(dict(event.headers)[b":status"])
                if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return 0
            sock.sendall(connection.data_to_send())


def test_http2_serves_an_app(wire: Rig) -> None:
    assert http2(wire, f"wiki.{DOMAIN}") == 200


def test_http2_coalescing_does_not_carry_the_sign_in_host_over_an_apps_connection(wire: Rig) -> None:
    assert http2(wire, f"auth.{DOMAIN}") == 421
    assert http2(wire, f"wiki.{DOMAIN}", sni="auth") == 421
    assert not wire.control.seen
    assert not wire.reached


def test_http2_parts_of_one_cookie_header_are_one_cookie_header(wire: Rig) -> None:
    assert http2(wire, f"wiki.{DOMAIN}", ("cookie", "a=1"), ("cookie", "b=2")) == 200
    seen = wire.check.seen[0]
    assert seen.get("cookie") == seen.get("x-limen-first-cookie") == "a=1; b=2"


@pytest.mark.parametrize(
    "header",
    [
        ("x_limen_peer", "forged"),
        ("X-Limen-Peer", "forged"),
        ("connection", "upgrade"),
        ("transfer-encoding", "chunked"),
        (":path", "/other"),
        ("x-a", "b\r\nx-limen-peer: forged"),
    ],
)
def test_http2_malformed_header_never_reaches_the_app(wire: Rig, header: tuple[str, str]) -> None:
    assert http2(wire, f"wiki.{DOMAIN}", header) in (0, 400)
    assert not wire.reached


def test_http2_host_header_does_not_override_the_authority(wire: Rig) -> None:
    status = http2(wire, f"wiki.{DOMAIN}", ("host", f"files.{DOMAIN}"))
    assert status in (0, 200, 400)
    assert all(seen.get("host") == f"wiki.{DOMAIN}" for seen in (*wire.check.seen, *wire.app.seen))


def test_http2_connect_is_refused(wire: Rig) -> None:
    assert http2(wire, f"wiki.{DOMAIN}:443", method="CONNECT") in (0, 403, 404)
    assert not wire.reached


@pytest.mark.parametrize("target", [f"wiki.{DOMAIN}:443", "db.internal:5432"])
def test_connect_is_refused(wire: Rig, target: str) -> None:
    reply = wire.raw(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode(), method="CONNECT")
    assert reply.status == 403
    assert "STREAM_REFUSED" in reply.text
    assert not wire.check.seen
    assert not wire.reached


@pytest.mark.parametrize("value", ["tls/1.0", "websocket, h2c", "websocket2"])
def test_an_upgrade_that_the_app_does_not_have_is_refused_with_a_reason(wire: Rig, value: str) -> None:
    reply = wire.get("/", ("Connection", "Upgrade"), ("Upgrade", value), ("Accept", "text/event-stream"))
    assert reply.status == 403
    assert "STREAM_REFUSED" in reply.text
    assert "apps.wiki.upgrades" in reply.text
    assert not wire.reached
    assert not wire.leash.held


@pytest.mark.parametrize("target", ["wiki.limen.localhost", "10.0.0.1", "auth.limen.localhost"])
def test_a_proxy_for_udp_is_not_open(wire: Rig, target: str) -> None:
    """Envoy takes the host of such a request from its path (RFC 9298)."""
    path = f"/.well-known/masque/udp/{target}/443/"
    reply = wire.get(path, ("Connection", "Upgrade"), ("Upgrade", "connect-udp"))
    assert reply.status == 403
    assert not wire.reached
    assert not wire.leash.held
    assert not wire.check.seen


@pytest.mark.parametrize("path", ["/.limen/callback", "/.limen/x"])
def test_an_upgrade_does_not_reach_limen_itself(wire: Rig, path: str) -> None:
    reply = wire.get(path, ("Connection", "Upgrade"), ("Upgrade", "websocket"))
    assert reply.status == 403
    assert not wire.control.seen


def test_an_upgrade_to_http2_is_not_passed_on(wire: Rig) -> None:
    wire.get("/", ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMA"))
    assert all(seen.get("upgrade") is None for seen in wire.app.seen)


def test_oversized_headers_are_431(wire: Rig) -> None:
    assert wire.get("/", ("X-A", "a" * 70_000)).status == 431
    assert wire.get("/", *((f"X-{n}", "a") for n in range(150))).status == 431
    assert wire.get("/", ("Cookie", "; ".join(f"c{n}={'x' * 400}" for n in range(200)))).status == 431
    assert not wire.check.seen


@pytest.mark.parametrize("size", [1_000, 30_000])
def test_a_large_cookie_passes_within_the_limit(wire: Rig, size: int) -> None:
    assert wire.get("/", ("Cookie", "a=" + "x" * size)).status == 200


def test_headers_that_would_outgrow_the_limit_on_their_way_are_431_too(wire: Rig) -> None:
    wire.allow(("x-limen-assertion", "x" * 1_000))
    for headers in ([("Cookie", "a=" + "x" * 40_000)], [(f"X-{n}", "a") for n in range(115)]):
        reply = wire.get("/", *headers)
        assert (reply.status, '"code":"HEADERS_TOO_LARGE"' in reply.text) == (431, True)
    assert not wire.reached


def test_a_flood_of_rubbish_cookies_within_the_limit_is_for_the_check_to_judge(wire: Rig) -> None:
    wire.deny(401)
    assert (
        wire.get("/", ("Cookie", "; ".join(f"__Host-limen=rubbish{n}" for n in range(1_000)))).status == 401
    )
    assert not wire.reached


def test_a_body_as_large_as_allowed_passes(wire: Rig) -> None:
    assert wire.request("POST", "/", body=b"x" * LIMIT).status == 200
    assert len(wire.app.seen[0].body) == LIMIT


def test_a_body_larger_than_allowed_is_413(wire: Rig) -> None:
    assert wire.request("POST", "/", body=b"x" * (LIMIT + 1)).status == 413
    assert not wire.reached


def test_a_chunked_body_larger_than_allowed_is_413(wire: Rig) -> None:
    assert wire.raw(chunked(400_000)).status == 413
    assert not wire.reached


@pytest.mark.parametrize("size", [10_000, 90_000, 200_000])
def test_a_chunked_body_passes_however_slow_the_check_is(wire: Rig, size: int) -> None:
    slow = wire.call(asyncio.Event)
    wire.check.answer = lambda seen: Answer(wait=slow)
    wire.later(0.2, slow.set)
    assert wire.raw(chunked(size)).status == 200
    assert len(wire.app.seen[0].body) == size


def test_an_oversized_body_of_a_stranger_is_not_read(wire: Rig) -> None:
    wire.deny(401, ("www-authenticate", "Limen"))
    assert wire.request("POST", "/", body=b"x" * (LIMIT + 1)).status == 401


def test_an_oversized_body_for_control_is_413(wire: Rig) -> None:
    for host in ("wiki", "auth"):
        reply = wire.request("POST", "/.limen/x", host=f"{host}.{DOMAIN}", body=b"x" * 300_000)
        assert reply.status == 413
    assert not wire.control.seen


def test_a_denial_arrives_whole_after_a_large_upload(wire: Rig) -> None:
    wire.deny(403, body=b"because")
    for _ in range(5):
        assert wire.request("POST", "/", body=b"x" * 90_000).body == b"because"


def test_http_1_0_is_refused(wire: Rig) -> None:
    assert wire.raw(b"GET / HTTP/1.0\r\n" + WIKI + b"\r\n").status == 426


def test_plain_http_gets_no_answer(wire: Rig) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", wire.port), 5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + WIKI + b"\r\n")
        with suppress(ConnectionResetError):
            assert b"200" not in sock.recv(1000)
    assert not wire.check.seen


def test_tls_below_1_2_is_refused(wire: Rig) -> None:
    import socket

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    plain = socket.create_connection(("127.0.0.1", wire.port), 5)
    with pytest.raises((ssl.SSLError, ConnectionResetError)), plain:
        context.wrap_socket(plain, server_hostname=f"wiki.{DOMAIN}")

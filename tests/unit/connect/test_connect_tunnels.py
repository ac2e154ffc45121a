"""Tunnels through a fake gateway: what arrives, how it ends, and what a hostile gateway can do."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from connect_gateway import DOMAIN, STREAM_ID, FakeGateway, fake_gateway, make_certificate

from limen.connect.gateway import ServiceGateway
from limen.connect.network import Place, make_tls_context
from limen.connect.outcomes import Cut, Finished, Lost, Outcome, Refused
from limen.connect.serve import ListenAddress, serve_port
from limen.core.secret import Secret

TOKEN = Secret("the-token")
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


@pytest.fixture
def gateway(tmp_path: Path) -> Any:
    with fake_gateway(tmp_path) as running:
        yield running


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = b"hello") -> bytes:
    """Send, stop sending, and return what came until the end."""
    writer.write(data)
    writer.write_eof()
    return await reader.read()


async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"reset"


def through(gateway: FakeGateway, talk: Talk, **more: Any) -> tuple[bytes, Outcome]:
    """Run one local connection through the gateway; return what it got, and the outcome."""

    async def run() -> tuple[bytes, Outcome]:
        context = more.get("context") or make_tls_context(gateway.ca_file, "h2")
        way = ServiceGateway(Place(f"db.{DOMAIN}", gateway.port), TOKEN, context)
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[ListenAddress] = loop.create_future()
        ended: asyncio.Future[Outcome] = loop.create_future()

        async def on_end(outcome: Outcome) -> bool:
            ended.set_result(outcome)
            return False

        serving = asyncio.create_task(
            serve_port(ListenAddress("127.0.0.1", 0), way.carry, on_end, ready.set_result)
        )
        reader, writer = await asyncio.open_connection(*(await ready))
        async with asyncio.timeout(20):
            got = await talk(reader, writer)
            outcome = await ended
        writer.close()
        serving.cancel()
        return got, outcome

    return asyncio.run(run())


def test_bytes_and_both_ends_go_through(gateway: FakeGateway) -> None:
    assert through(gateway, echo) == (b"hello", Finished())
    asked = gateway.requests[0]
    assert asked[":method"] == "CONNECT" and asked[":authority"] == f"db.{DOMAIN}:443"
    assert asked["authorization"] == "Bearer the-token" and ":path" not in asked


@pytest.mark.parametrize("behaviour", ["echo", "padded", "draining"])
@pytest.mark.parametrize("window", [65_535, 1_000])
def test_megabytes_arrive_unchanged(tmp_path: Path, behaviour: str, window: int) -> None:
    data = bytes(range(256)) * (8_192 if window > 1_000 else 512)
    with fake_gateway(tmp_path, window=window) as gateway:
        gateway.behaviours.append(behaviour)
        got, outcome = through(gateway, lambda reader, writer: echo(reader, writer, data))
    assert got == data and outcome == Finished()


def test_a_local_program_that_reads_late_loses_nothing(gateway: FakeGateway) -> None:
    data = b"\0\1\2\3" * 500_000

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        reading = writer.transport
        assert isinstance(reading, asyncio.Transport)
        reading.pause_reading()
        writer.write(data)
        writer.write_eof()
        await writer.drain()
        reading.resume_reading()
        return await reader.read()

    got, outcome = through(gateway, late)
    assert got == data and outcome == Finished()


def test_a_refusal_is_told_with_its_body(gateway: FakeGateway) -> None:
    gateway.behaviours.append("refuse")
    gateway.body = b'{"detail":"no"}'
    got, outcome = through(gateway, listen_only)
    assert isinstance(outcome, Refused) and outcome.status == 403 and outcome.body == gateway.body
    assert got == b"reset"


def test_a_cut_is_not_an_end(gateway: FakeGateway) -> None:
    gateway.behaviours.append("cut")
    got, outcome = through(gateway, listen_only)
    assert outcome == Cut(STREAM_ID) and got == b"reset"


def test_a_reset_after_everything_was_said_is_a_good_end(gateway: FakeGateway) -> None:
    gateway.behaviours.append("all said")
    got, outcome = through(gateway, listen_only)
    assert (got, outcome) == (b"all", Finished())


@pytest.mark.parametrize("behaviour", ["leaving", "never looked"])
def test_what_the_gateway_never_looked_at_is_tried_again(gateway: FakeGateway, behaviour: str) -> None:
    gateway.behaviours.append(behaviour)
    assert through(gateway, echo) == (b"hello", Finished())
    assert gateway.connections == 2


def test_a_gateway_that_always_leaves_is_left(gateway: FakeGateway) -> None:
    gateway.behaviours.extend(["leaving"] * 9)
    assert through(gateway, listen_only)[1] == Lost("The gateway takes no new connections now.")
    assert gateway.connections == 3


@pytest.mark.parametrize("behaviour", ["garbage", "oversize", "huge headers", "drop"])
def test_a_broken_gateway_ends_the_tunnel_as_a_loss(gateway: FakeGateway, behaviour: str) -> None:
    gateway.behaviours.append(behaviour)
    got, outcome = through(gateway, listen_only)
    assert isinstance(outcome, Lost) and got == b"reset"


def test_a_refusal_without_end_is_read_to_a_limit(gateway: FakeGateway) -> None:
    gateway.behaviours.append("flood")
    _, outcome = through(gateway, listen_only)
    assert isinstance(outcome, Refused) and len(outcome.body) <= 65_536


def test_a_local_program_that_goes_away_ends_its_stream(gateway: FakeGateway) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"x")
        await reader.readexactly(1)
        writer.transport.abort()
        return b""

    assert through(gateway, leave)[1] == Finished()


def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    with fake_gateway(tmp_path, pem=make_certificate(tmp_path, "elsewhere.example")) as gateway:
        context = make_tls_context(gateway.pem.with_suffix(".crt"), "h2")
        _, outcome = through(gateway, listen_only, context=context)
    assert isinstance(outcome, Lost) and "not trusted" in outcome.sentence
    assert gateway.requests == []


def test_an_unknown_ca_is_refused(gateway: FakeGateway) -> None:
    _, outcome = through(gateway, listen_only, context=make_tls_context(None, "h2"))
    assert isinstance(outcome, Lost) and "not trusted" in outcome.sentence
    assert gateway.requests == []


def test_a_server_without_http2_gets_no_token(tmp_path: Path) -> None:
    with fake_gateway(tmp_path, alpn=[]) as gateway:
        _, outcome = through(gateway, listen_only)
    assert isinstance(outcome, Lost) and "HTTP/2" in outcome.sentence
    assert gateway.requests == []


def test_old_tls_is_not_spoken(gateway: FakeGateway) -> None:
    context = make_tls_context(gateway.ca_file, "h2")
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname

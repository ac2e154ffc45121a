"""The leash behind the real Envoy: what is opened is held, and ends alone, at once, when it must."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from envoy_h2 import H2Client
from journey_rig import wait_until
from leash_envoy import LEDGER, WIKI, LeashedRig, leashed

from limen.administrator.streams import Cause, Ending

pytestmark = pytest.mark.envoy

SUSPENDED = Ending(Cause.DENIED, "Your account is suspended.", decision_id="d1")
AT_ONCE_S = 2.0  # a bound for a busy machine; performance is measured elsewhere


@pytest.fixture(scope="module")
def rig() -> Iterator[LeashedRig]:
    with leashed() as running:
        yield running


@pytest.fixture(autouse=True)
def _clean(rig: LeashedRig) -> Iterator[None]:
    yield
    rig.call(lambda: rig.world.leash.end_all())
    assert rig.eventually(lambda: len(rig.world.streams) == 0)


def cookie(rig: LeashedRig) -> tuple[str, str]:
    return ("cookie", f"__Host-limen={rig.world.token}")


def bearer(rig: LeashedRig) -> tuple[str, str]:
    return ("authorization", f"Bearer {rig.token}")


def own_origin(rig: LeashedRig) -> tuple[str, str]:
    return ("origin", f"https://{WIKI}:{rig.port}")


def cut(rig: LeashedRig, stream_id: str) -> None:
    assert rig.call(lambda: rig.world.streams.end(stream_id, SUSPENDED))


def open_websocket(rig: LeashedRig, client: H2Client) -> int:
    stream = client.websocket(f"{WIKI}:{rig.port}", "/ws", cookie(rig), own_origin(rig))
    assert client.status(stream) == 200
    return stream


def echoes(client: H2Client, stream: int) -> bool:
    client.send(stream, b"ping")
    return client.read(stream, 4) == b"ping"


def test_a_websocket_over_http1_is_held_and_cut(rig: LeashedRig) -> None:
    connection, head = rig.websocket_h1(own_origin(rig))
    assert head.startswith(b"HTTP/1.1 101"), head
    connection.sendall(b"ping")
    assert connection.recv(100) == b"ping"
    (stream,) = rig.streams()
    assert (stream.protocol, stream.question.path) == ("websocket", "/ws")
    began = time.monotonic()
    cut(rig, stream.id)
    with suppress(ConnectionError, OSError):
        assert connection.recv(100) == b""
    assert time.monotonic() - began < AT_ONCE_S
    upstream = rig.wiki.heads[-1].lower()
    assert b"x-limen-assertion: assertion-" in upstream and b"__host-limen" not in upstream
    assert b"sec-websocket-key: dghlihnhbxbszsbub25jzq==" in upstream


def test_a_websocket_over_http2_gets_a_key_and_is_cut_without_its_sibling(rig: LeashedRig) -> None:
    with rig.h2(WIKI) as client:
        first, second = (open_websocket(rig, client) for _ in range(2))
        assert echoes(client, first) and echoes(client, second)
        assert b"sec-websocket-key: " in rig.wiki.heads[-1].lower()
        assert {stream.protocol for stream in rig.streams()} == {"websocket"}
        assert {stream.question.method for stream in rig.streams()} == {"GET"}
        cut(rig, rig.streams()[0].id)
        client.read_all(first)
        assert first in client.reset and echoes(client, second)
        assert [stream.id for stream in rig.streams()] != []


def test_a_tunnel_is_held_cut_and_its_client_told_why(rig: LeashedRig) -> None:
    with rig.h2(LEDGER) as client:
        tunnel = client.connect(f"{LEDGER}:443", bearer(rig))
        assert client.status(tunnel) == 200
        assert echoes(client, tunnel)
        (live,) = rig.streams()
        assert client.headers[tunnel]["x-limen-decision-id"] == live.id
        began = time.monotonic()
        cut(rig, live.id)
        client.read_all(tunnel)
        assert tunnel in client.reset and time.monotonic() - began < AT_ONCE_S
        why = client.get(LEDGER, f"/.limen/ended/{live.id}", bearer(rig))
        assert client.status(why) == 200
        told = json.loads(client.read_all(why))
        assert (told["cause"], told["sentence"], told["decision_id"]) == (
            "denied",
            "Your account is suspended.",
            "d1",
        )
        stranger = client.get(LEDGER, f"/.limen/ended/{live.id}")
        assert client.status(stranger) == 404


def test_events_are_held_and_cut(rig: LeashedRig) -> None:
    with rig.h2(WIKI) as client:
        for path, more in (("/events", (("accept", "text/event-stream"),)), ("/feed", ())):
            stream = client.get(f"{WIKI}:{rig.port}", path, cookie(rig), *more)
            assert client.status(stream) == 200 and client.read(stream, 6) == b"data:\n"
            (live,) = rig.streams()
            assert live.protocol == ("sse" if more else "http")
            cut(rig, live.id)
            client.read_all(stream)
            assert stream in client.reset


def test_a_client_that_leaves_ends_its_stream(rig: LeashedRig) -> None:
    with rig.h2(LEDGER) as client:
        tunnel = client.connect(f"{LEDGER}:443", bearer(rig))
        assert client.status(tunnel) == 200 and len(rig.streams()) == 1
        live = rig.streams()[0]
        client.send(tunnel, b"", end=True)
        client.read_all(tunnel)
    assert rig.eventually(lambda: len(rig.world.streams) == 0)
    ended = rig.world.streams.ended(live.id)
    assert ended is not None and ended.cause is Cause.FINISHED


def test_a_leashed_request_with_a_short_answer_leaves_nothing_live(rig: LeashedRig) -> None:
    with rig.h2(WIKI) as client:
        stream = client.get(f"{WIKI}:{rig.port}", "/x", cookie(rig), ("content-type", "application/grpc"))
        assert client.status(stream) == 200 and client.read_all(stream) == b"short"
    assert rig.eventually(lambda: len(rig.world.streams) == 0)


def test_an_app_that_refuses_to_upgrade_answers_like_any_other(rig: LeashedRig) -> None:
    with rig.h2(WIKI) as client:
        stream = client.websocket(f"{WIKI}:{rig.port}", "/refuses", cookie(rig), own_origin(rig))
        assert client.status(stream) == 400
    assert rig.eventually(lambda: len(rig.world.streams) == 0)


def test_denials_reach_the_client_as_they_are(rig: LeashedRig) -> None:
    with rig.h2(LEDGER) as client:
        tunnel = client.connect(f"{LEDGER}:443")
        assert client.status(tunnel) == 401
        assert client.headers[tunnel]["content-type"] == "application/problem+json"
        assert json.loads(client.read_all(tunnel))["code"] == "NO_SESSION"
    asked = rig.get("/events", ("Accept", "text/event-stream"), host=WIKI)
    challenges = asked.all("www-authenticate")
    assert asked.status == 401 and [one.split()[0] for one in challenges] == ["Bearer", "Basic"]
    with rig.h2(WIKI) as client:
        page = client.get(f"{WIKI}:{rig.port}", "/feed", ("sec-fetch-mode", "navigate"))
        assert client.status(page) == 302
        assert client.headers[page]["location"].startswith(
            f"https://auth.{WIKI.partition('.')[2]}:{rig.port}"
        )


def test_a_new_connection_is_taken_when_the_leash_is_back(rig: LeashedRig) -> None:
    with rig.h2(LEDGER) as client:
        first = client.connect(f"{LEDGER}:443", bearer(rig))
        assert client.status(first) == 200
        rig.run(rig.leash.close())
        client.read_all(first)
        assert first in client.reset
        denied = client.connect(f"{LEDGER}:443", bearer(rig))
        assert client.status(denied) == 503
        rig.run(rig.leash.listen(rig.settings.leash_socket))
        wait_until("the new leash opens streams", lambda: _opens(rig))


def _opens(rig: LeashedRig) -> bool:
    with rig.h2(LEDGER) as client:
        return client.status(client.connect(f"{LEDGER}:443", bearer(rig))) == 200

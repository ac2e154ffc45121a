"""Live HTTP without a browser, through a whole system: events, long polls, gRPC, 200 MB, and their limits.

Here a request that no leash holds lives for seconds, not for five minutes.
"""

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import yaml
from demo_rig import Demo, running_demo
from envoy_peers import GrpcApp, StreamApp, pieces
from journey_rig import add_apps, apply_bundle, make_token, new_person, program_environment, wait_until
from live_rig import Refused, WebSocket, curl, events, ordered, wait_streams

from limen.core.record import MAX_DURATION

pytestmark = pytest.mark.envoy

MAX_S = 3.0
SIZE = 200 * 1000 * 1000
EVENTS = ("--header", "Accept: text/event-stream")
HEADINGS = "STREAM USER RESOURCE PROTOCOL AGE IN OUT SESSION FROM GATEWAY"
COUNT, ECHO = "/demo/Count", "/demo/Echo"


class Rig(NamedTuple):
    """A system with two live apps, and tokens of lena, who is of staff."""

    demo: Demo
    app: StreamApp
    url: str
    token: str
    grpc_host: str
    grpc_token: str
    env: dict[str, str]

    def curl(self, path: str, *arguments: str) -> Any:
        return curl(self.env, "--oauth2-bearer", self.token, *arguments, f"{self.url}{path}")

    def release(self) -> None:
        """Have the app say its last word to everybody who waits for it."""
        loop = self.app._server.get_loop()  # type: ignore[union-attr]
        loop.call_soon_threadsafe(self.app.released.set)

    def fresh(self) -> None:
        self.app.released.clear()


@pytest.fixture(scope="module")
def app() -> Iterator[StreamApp]:
    loop, app = asyncio.new_event_loop(), StreamApp()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(app.listen(), loop).result(10)
    yield app
    asyncio.run_coroutine_threadsafe(app.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)


@pytest.fixture(scope="module")
def short_lived() -> Iterator[Demo]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMEN_STREAM_MAX_S", str(MAX_S))
        with running_demo() as demo:
            yield demo


@pytest.fixture(scope="module")
def running(short_lived: Demo, app: StreamApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    demo, rpc = short_lived, GrpcApp()
    live = {
        "upstream": f"http://127.0.0.1:{app.port}",
        "allow": ["group:staff"],
        "max_body_bytes": "250MB",
        "streams": {"per_session": 2},
        "routes": [
            {"name": "poll", "path": "/poll", "streaming": True},
            {"name": "big", "path": "/big", "streaming": True},
        ],
    }
    calls = {"upstream": f"http://127.0.0.1:{rpc.port}", "allow": ["group:staff"], "http2": True}
    urls = add_apps(demo, {"lively": live, "rpc": calls})
    lena = new_person(demo, "lena", "staff")
    tokens = [make_token(demo, lena, name) for name in ("lively", "rpc")]
    env = program_environment(demo, tmp_path_factory.mktemp("live"))
    yield Rig(demo, app, urls["lively"], tokens[0], urls["rpc"].partition("//")[2], tokens[1], env)
    rpc.close()


@pytest.fixture
def rig(running: Rig) -> Rig:
    running.fresh()
    return running


def older_than(rig: Rig, seconds: float, resource: str) -> None:
    """Wait until the one live stream to `resource` is so old, which the clock for others would not allow."""
    wait_until(
        "the stream is old", lambda: wait_streams(rig.demo, 1, resource=resource)[0]["age_s"] > seconds
    )


def test_events_go_on_for_curl_beyond_the_clock_of_other_requests(rig: Rig) -> None:
    with rig.curl("/sse", *EVENTS) as held:
        held.wait_for(b"data: one\n\n")
        older_than(rig, MAX_S + 0.5, "lively")
        rig.release()
        assert held.finish() == (0, b"data: two\n\n")


def test_a_long_poll_on_a_streaming_route_waits(rig: Rig) -> None:
    with rig.curl("/poll") as held:
        older_than(rig, MAX_S + 0.5, "lively/poll")
        rig.release()
        assert held.finish() == (0, b"done")


def test_what_the_clock_cuts_says_which_line_lets_it_live_and_that_line_does(rig: Rig) -> None:
    with rig.curl("/feed.d/live") as held:
        held.wait_for(b"data: one\n\n")
        code, rest = held.finish()
        assert code != 0 and b"two" not in rest
    rows: list[dict[str, Any]] = []

    def told() -> bool:
        rows[:] = rig.demo.decisions(subject="lena", text="/feed.d/live")
        return bool(rows) and "cut" in rows[-1]

    wait_until("the outcome is told", told)
    row = rows[-1]
    assert row["details"] == MAX_DURATION
    cut = row["cut"]
    assert (cut["file"], cut["under"]) == ("limen.yaml", "apps.lively.routes")
    for command in (("show", row["id"]), ("search", "--text", "/feed.d/live")):
        shown = rig.demo.limen("decisions", *command).stdout
        assert "- {name: feed-d-live, path: /feed.d/live, streaming: true}" in shown, shown
        assert "to limen.yaml under apps.lively.routes" in shown

    def add_line(content: dict[str, Any]) -> None:
        content["apps"]["lively"]["routes"] += yaml.safe_load(cut["line"])

    apply_bundle(rig.demo, add_line)

    def known() -> bool:
        with rig.curl("/feed.d/live") as held:
            held.wait_for(b"data: one\n\n")
            return bool(rig.demo.admin.get("/v1/streams", resource="lively/feed-d-live")["streams"])

    wait_until("Envoy knows the route", known)
    wait_streams(rig.demo, 0, resource="lively")
    with rig.curl("/feed.d/live") as held:
        held.wait_for(b"data: one\n\n")
        older_than(rig, MAX_S + 0.5, "lively/feed-d-live")
        rig.release()
        assert held.finish() == (0, b"data: two\n\n")


def test_grpc_streams_to_a_real_client_and_ends_with_the_reason_for_it(rig: Rig) -> None:
    credentials = grpc.ssl_channel_credentials(rig.demo.ca_file.read_bytes())
    host = rig.grpc_host.partition(":")[0]
    options = (("grpc.ssl_target_name_override", host), ("grpc.default_authority", rig.grpc_host))
    bearer = (("authorization", f"Bearer {rig.grpc_token}"),)
    said = threading.Event()

    def saying() -> Iterator[bytes]:
        yield b"hello"
        said.wait(60)

    with grpc.secure_channel(f"127.0.0.1:{rig.demo.port}", credentials, options) as channel:
        count = channel.unary_stream(COUNT)(b"5", metadata=bearer)
        assert [int(number) for number in count] == [0, 1, 2, 3, 4]
        assert ("counted", "5") in count.trailing_metadata()
        with pytest.raises(grpc.RpcError) as nobody:
            next(iter(channel.unary_stream(COUNT)(b"5")))
        assert nobody.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]

        echo = channel.stream_stream(ECHO)(saying(), metadata=bearer)
        assert next(echo) == b"hello"
        older_than(rig, MAX_S + 0.5, "rpc")
        assert wait_streams(rig.demo, 1, resource="rpc")[0]["protocol"] == "grpc"
        ends: list[float] = []
        echo.add_done_callback(lambda _: ends.append(time.time()))
        ordered(rig.demo, "user", "quarantine", "lena", "--reason", "a test")
        with pytest.raises(grpc.RpcError):
            next(echo)
        wait_until("the call is over", lambda: bool(ends))
        said.set()
    (quarantine,) = events(rig.demo, "person.quarantined", target="lena")
    print(f"gRPC: ended {1000 * (ends[0] - quarantine['at']):.0f} ms after the commit")
    assert ends[0] - quarantine["at"] < 1.0
    ordered(rig.demo, "user", "release", "lena", "--reason", "a test")
    wait_until("she is let in", lambda: is_open(rig))


def is_open(rig: Rig) -> bool:
    with rig.curl("/sse", *EVENTS, "--include") as held:
        assert held.process.stdout is not None
        return b" 200" in held.process.stdout.readline()


def test_200_mb_pass_both_ways_unmodified(rig: Rig, tmp_path: Path) -> None:
    digest, file = hashlib.sha256(), tmp_path / "big"
    with file.open("wb") as out:
        for piece in pieces(SIZE):
            digest.update(piece)
            out.write(piece)
    began = time.monotonic()
    with rig.curl("/big", "--header", f"X-Send: {SIZE}", "--output", str(tmp_path / "got")) as held:
        assert held.finish() == (0, b"")
    got = time.monotonic()
    with (tmp_path / "got").open("rb") as come:
        assert hashlib.file_digest(come, "sha256").hexdigest() == digest.hexdigest()
    put_at = time.monotonic()
    with rig.curl("/big", "--upload-file", str(file), "--header", "X-Send: 0") as held:
        assert held.finish() == (0, b"")
    print(f"200 MB down in {got - began:.1f} s, up in {time.monotonic() - put_at:.1f} s")
    assert rig.app.received == digest.hexdigest()


def test_one_stream_too_many_is_answered_429_with_the_limit_that_it_met(rig: Rig) -> None:
    wait_streams(rig.demo, 0, resource="lively")
    socket = rig.url.replace("https:", "wss:") + "/socket"
    bearer = {"Authorization": f"Bearer {rig.token}"}
    with rig.curl("/sse", *EVENTS) as held, WebSocket(rig.demo, socket, bearer) as talk:
        held.wait_for(b"data: one\n\n")
        talk.send("hello")
        assert talk.receive() == "hello"
        with rig.curl("/sse", *EVENTS, "--write-out", "\n%{http_code}") as third:
            code, output = third.finish()
        assert code == 0
        body, _, status = output.rpartition(b"\n")
        with pytest.raises(Refused) as refused:
            WebSocket(rig.demo, socket, bearer)
        for told, answer in ((int(status), body), (refused.value.status, refused.value.body)):
            problem = json.loads(answer)
            assert (told, problem["code"], problem["limit"]) == (429, "STREAM_LIMIT", "per_session")
            assert problem["detail"].startswith("This session has 2 live connections already")
        talk.send("still here")
        assert talk.receive() == "still here"
    wait_streams(rig.demo, 0, resource="lively")


def test_an_operator_sees_a_stream_ends_it_and_the_journal_says_who_and_why(rig: Rig) -> None:
    socket = rig.url.replace("https:", "wss:") + "/socket"
    with WebSocket(rig.demo, socket, {"Authorization": f"Bearer {rig.token}"}) as talk:
        talk.send("hello")
        assert talk.receive() == "hello"
        (row,) = wait_streams(rig.demo, 1, user="lena")
        assert (row["protocol"], row["gateway"], row["ip"]) == ("websocket", "gateway", "127.0.0.1")

        def counted() -> bool:
            (now,) = wait_streams(rig.demo, 1, user="lena")
            return now["bytes_in"] > 0 and now["bytes_out"] > 0

        wait_until("its bytes are told while it is open", counted)
        table = rig.demo.limen("stream", "list", "--user", "lena").stdout.splitlines()
        assert " ".join(table[0].split()) == HEADINGS
        assert table[1].split()[:4] == [row["id"], "lena", "lively", "websocket"]
        shown = rig.demo.limen("stream", "show", row["id"]).stdout
        assert f"{rig.url.partition('//')[2].partition(':')[0]}/socket" in shown
        ordered(rig.demo, "stream", "end", row["id"], "--reason", "the demo is over")
        assert talk.receive() is None
    (ended,) = events(rig.demo, "stream.ended", target=row["id"])
    assert ended["actor"] == "lena"
    assert "the demo is over" in ended["reason"]
    assert (ended["data"]["cause"], ended["data"]["protocol"]) == ("operator", "websocket")
    assert ended["data"]["bytes_in"] > 0 and ended["data"]["duration_ms"] > 0
    (asked,) = events(rig.demo, "streams.end_asked", target=row["id"])
    assert asked["actor"].startswith("host-operator:uid=")
    assert asked["reason"] == "the demo is over"
    listed = rig.demo.limen("event", "list", "--kind", "stream", "--target", row["id"])
    assert [line.split()[2] for line in listed.stdout.splitlines()[1:]] == [
        "streams.end_asked",
        "stream.ended",
    ]
    assert "cause=operator" in listed.stdout and "host-operator" in listed.stdout
    gone = rig.demo.limen("stream", "end", row["id"], "--reason", "again")
    assert gone.returncode == 1 and "There is no live stream" in gone.stderr

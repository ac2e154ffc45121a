"""A check that is dead, slow, stopped, or talks rubbish: 503, never the app."""

import asyncio
import signal
import subprocess
import sys
from contextlib import suppress
from http.client import HTTPException

import pytest
from envoy_rig import DOMAIN, Answer, Rig

pytestmark = pytest.mark.envoy

RUBBISH = {
    "not HTTP": b"good morning\r\n\r\n",
    "nothing": b"",
    "a header and no end": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    "a body that ends early": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    "an interim answer only": b"HTTP/1.1 100 Continue\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\n",
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
}


def assert_outage(wire: Rig) -> None:
    page = wire.get("/", ("Accept", "text/html,*/*"))
    assert page.status == 503
    assert page.get("content-type") == "text/html; charset=utf-8"
    assert "Access cannot be decided right now" in page.text
    assert page.get("retry-after") == "5"
    assert page.get("cache-control") == "no-store"
    assert "default-src 'none'" in (page.get("content-security-policy") or "")
    document = wire.get("/", ("Accept", "application/json"))
    assert document.status == 503
    assert document.get("content-type") == "application/problem+json"
    assert '"code":"CHECK_UNAVAILABLE"' in document.text
    assert wire.reached == 0


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_a_check_that_talks_rubbish_is_an_outage(wire: Rig, rubbish: str) -> None:
    wire.check.answer = lambda seen: Answer(raw=RUBBISH[rubbish])
    assert_outage(wire)


@pytest.mark.parametrize(
    "line", [b"101 Switching Protocols", b"20000 OK", b"2 OK", b"-200 OK", b"200200 OK", b"200"]
)
def test_an_answer_that_is_almost_200_lets_nothing_pass(wire: Rig, line: bytes) -> None:
    wire.check.answer = lambda seen: Answer(raw=b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n")
    with suppress(HTTPException, TimeoutError):  # what the visitor gets may be as odd
        wire.get("/")
    assert len(wire.check.seen) == 1
    assert wire.reached == (1 if line == b"200" else 0), "RFC 9112 section 4: the reason phrase is optional"


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 599])
def test_a_check_that_fails_is_an_outage(wire: Rig, status: int) -> None:
    wire.deny(status)
    assert_outage(wire)


@pytest.mark.parametrize("status", [201, 202, 204, 206, 226, 301, 304, 400, 401, 403, 404, 418, 429])
def test_only_200_lets_a_request_pass(wire: Rig, status: int) -> None:
    wire.deny(status, body=b"" if status in (204, 304) else b"no")
    assert wire.get("/").status == status
    assert wire.reached == 0


def test_a_check_that_is_slow_is_an_outage(wire: Rig) -> None:
    never = wire.call(asyncio.Event)
    wire.check.answer = lambda seen: Answer(wait=never)
    assert_outage(wire)
    wire.call(never.set)


def test_a_check_that_is_dead_is_an_outage_and_comes_back(wire: Rig) -> None:
    wire.run(wire.check.close())
    try:
        assert_outage(wire)
    finally:
        wire.run(wire.check.listen(path=wire.settings.check_socket))
    assert wire.get("/").status == 200


def test_a_check_whose_socket_is_gone_is_an_outage(wire: Rig) -> None:
    wire.run(wire.check.close())
    wire.settings.check_socket.unlink(missing_ok=True)
    try:
        assert_outage(wire)
    finally:
        wire.run(wire.check.listen(path=wire.settings.check_socket))


ALWAYS_YES = """
import asyncio, sys
async def serve(reader, writer):
    while await reader.readuntil(b"\\r\\n\\r\\n"):
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
async def main():
    server = await asyncio.start_unix_server(serve, sys.argv[1])
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def test_a_check_that_is_stopped_is_an_outage(wire: Rig) -> None:
    wire.run(wire.check.close())
    wire.settings.check_socket.unlink(missing_ok=True)
    command = [sys.executable, "-c", ALWAYS_YES, str(wire.settings.check_socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert wire.get("/").status == 200
            wire.app.seen.clear()
            process.send_signal(signal.SIGSTOP)
            assert_outage(wire)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
    wire.run(wire.check.listen(path=wire.settings.check_socket))


def test_a_denial_keeps_its_status_headers_and_body(wire: Rig) -> None:
    headers = (
        ("location", "https://auth.limen.localhost/authorize?app=wiki"),
        ("set-cookie", "a=1; Path=/"),
        ("set-cookie", "b=2; Path=/"),
        ("www-authenticate", "Bearer"),
        ("www-authenticate", "Basic"),
        ("retry-after", "7"),
        ("access-control-allow-origin", "https://x.example"),
        ("content-security-policy", "default-src 'none'"),
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-limen-decision-id", "d1"),
    )
    wire.deny(302, *headers, body=b"<p>over there")
    reply = wire.get("/", ("Accept", "text/html"))
    assert reply.status == 302
    assert reply.body == b"<p>over there"
    assert [pair for pair in reply.headers if pair in headers] == list(headers)
    assert {key for key, _ in reply.headers} - {key for key, _ in headers} <= {"content-length", "date"}


@pytest.mark.parametrize("status", [400, 403, 404, 413, 421])
def test_a_denial_is_never_replaced_by_envoys_own_page(wire: Rig, status: int) -> None:
    wire.deny(status, ("content-type", "text/html"), body=b"the check's own words")
    assert wire.get("/", ("Accept", "text/html")).body == b"the check's own words"


def test_the_checks_answer_cannot_change_where_a_request_goes(wire: Rig) -> None:
    wire.allow(("host", "evil.example"), ("content-type", "text/evil"), ("date", "never"))
    wire.get("/")
    seen = wire.app.seen[0]
    assert (seen.get("host"), seen.get("content-type"), seen.get("date")) == (f"wiki.{DOMAIN}", None, None)


def test_the_outcome_of_a_request_is_told_by_its_decision(wire: Rig) -> None:
    wire.allow(("x-limen-decision-id", "allowed-1"))
    wire.get("/", ("X-Limen-Decision-Id", "forged-1"))
    wire.deny(403, ("x-limen-decision-id", "denied-1"))
    wire.get("/")
    wire.request("POST", "/", ("X-Limen-Decision-Id", "forged-2"), body=b"abc")
    told = {"allowed-1": 200, "denied-1": 403}
    assert wire.eventually(lambda: told.keys() <= {outcome.id for outcome in wire.outcomes})
    for outcome in wire.outcomes:
        assert not outcome.id.startswith("forged")
        assert told.get(outcome.id, outcome.status) == outcome.status


def test_envoys_own_pages_speak_to_people_and_to_programs(wire: Rig) -> None:
    page = wire.get("/", ("Accept", "text/html"), host="nobody.example", sni=f"wiki.{DOMAIN}")
    assert (page.status, "There is no such app" in page.text) == (404, True)
    document = wire.get("/", host="nobody.example", sni=f"wiki.{DOMAIN}")
    assert document.get("content-type") == "application/problem+json"


def test_a_dead_app_is_told_from_a_dead_check(wire: Rig) -> None:
    wire.app.answer = lambda seen: Answer(raw=b"")
    reply = wire.request("POST", "/", body=b"x")
    assert (reply.status, '"code":"APP_UNAVAILABLE"' in reply.text) == (503, True)

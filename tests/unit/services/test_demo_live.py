"""The wiki's live page, its stream and its WebSocket, and the ledger: as plain servers, with no gateway."""

import json
import socket
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limen.services.demo.coffee import LIVE_CSP, moment
from limen.services.demo.ledger import HELLO, Ledger, LedgerServer
from limen.services.demo.web import AppServer
from limen.services.demo.websocket import TEXT_BYTES_MAX, WebSocket, accept_key
from limen.services.demo.wiki import Wiki

STAFF = {"remote-user": "ada", "host": "wiki.limen.localhost:8443"}
MASK = b"\x01\x02\x03\x04"


def frame(first: int, data: bytes) -> bytes:
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes([first]) + size + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    server = AppServer(Wiki(tmp_path).answer).start()
    yield server.url
    server.stop()


def test_the_live_page_shows_a_moment_by_itself_and_goes_on_with_its_script(served: str) -> None:
    with httpx.Client(base_url=served, headers=STAFF) as client:
        page = client.get("/live")
        assert page.headers["content-security-policy"] == LIVE_CSP
        assert "unsafe-inline" not in LIVE_CSP.partition("script-src")[2], "no inline script runs"
        assert "<noscript>" in page.text and "°C" in page.text
        assert '<a href="/live" aria-current=page>live</a>' in page.text
        script = client.get("/live/live.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert client.get("/live/nothing").status_code == 404
        assert client.get("/live/words").status_code == 426
        with client.stream("GET", "/live/ticks") as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            line = next(line for line in stream.iter_lines() if line)
    told = json.loads(line.removeprefix("data: "))
    assert set(told) == set(moment(0.0))
    assert all(f'id="{name}"' in page.text for name in told), "each part has its place on the page"
    assert httpx.get(f"{served}/live/ticks").status_code == 401, "nobody comes round the gateway"


def test_the_display_repeats_what_it_is_told(served: str) -> None:
    # RFC 6455 section 1.3 has this key and its answer.
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    with socket.create_connection(("127.0.0.1", int(served.rpartition(":")[2])), 10) as plain:
        reader = plain.makefile("rb")
        head = (
            "GET /live/words HTTP/1.1\r\nHost: x\r\nRemote-User: ada\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        plain.sendall(head.encode())
        assert reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        lines = set(iter(reader.readline, b"\r\n"))
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in lines
        plain.sendall(frame(0x81, b"two  cups") + frame(0x89, b"?") + frame(0x88, b""))
        assert reader.read() == b"\x81\x08two cups" + b"\x8a\x01?" + b"\x88\x02\x03\xe8"


@settings(deadline=None)
@given(st.text(max_size=TEXT_BYTES_MAX // 4))
def test_every_text_that_fits_arrives(text: str) -> None:
    sent = BytesIO()
    WebSocket(BytesIO(), sent).send(text)
    assert WebSocket(BytesIO(frame(0x81, text.encode())), BytesIO()).receive() == text
    assert sent.getvalue().endswith(text.encode())


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (frame(0x82, b"bytes"), 1003),
        (frame(0x01, b"a part"), 1003),
        (b"\x81\xff" + struct.pack(">Q", 1 << 40), 1009),
        (frame(0x81, bytes(TEXT_BYTES_MAX + 1)), 1009),
        (b"\x81", None),
        (b"", None),
    ],
    ids=["bytes", "part", "endless", "long", "half", "nothing"],
)
def test_what_it_does_not_take_ends_the_conversation(raw: bytes, status: int | None) -> None:
    sent = BytesIO()
    assert WebSocket(BytesIO(raw), sent).receive() is None
    assert sent.getvalue() == (b"" if status is None else b"\x88\x02" + struct.pack(">H", status))


def test_the_ledger_answers_line_by_line() -> None:
    ledger = Ledger()
    assert ledger.answer("balance") == "12460 EUR"
    assert ledger.answer("add -60 two cups") == "Noted: -60 EUR, two cups"
    assert ledger.answer("balance") == "12400 EUR"
    assert (ledger.answer("list") or "").splitlines()[-1].split() == ["-60", "EUR", "two", "cups"]
    for line in ("add x y", "add 99999999 y", "add 1", "drop", "add ² y"):
        assert (ledger.answer(line) or "").startswith("Not understood"), line
    assert ledger.answer("quit") is None


def test_the_ledger_is_served_to_whoever_connects() -> None:
    server = LedgerServer().start()
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as client:
        client.sendall(b"balance\nquit\n")
        assert client.makefile().read() == f"{HELLO}\n12460 EUR\n"
    server.stop()

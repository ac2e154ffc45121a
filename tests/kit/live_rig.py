"""Clients of live streams through a whole system: WebSockets by hand, curl that goes on, what is shown."""

import base64
import os
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from demo_rig import Demo
from journey_rig import wait_until

WAIT_S = 30.0
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class Refused(Exception):
    """The handshake was answered with something else than 101."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body[:300]!r}")
        self.status, self.body = status, body


class WebSocket:
    """A WebSocket over HTTP/1.1, as a program opens one. Reads wait for `WAIT_S` at most."""

    def __init__(self, demo: Demo, url: str, headers: Mapping[str, str] = {}) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        context = ssl.create_default_context(cafile=str(demo.ca_file))
        plain = socket.create_connection(("127.0.0.1", demo.port), WAIT_S)
        self._socket = context.wrap_socket(plain, server_hostname=parts.hostname)
        self._read = self._socket.makefile("rb")
        lines = {
            "Host": parts.netloc,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **headers,
        }
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._socket.sendall(f"GET {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
        self._shake_hands()

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self._read.close()
        self._socket.close()

    def send(self, text: str) -> None:
        self._frame(TEXT, text.encode())

    def receive(self) -> str | None:
        """Return the next message; None once the connection is over."""
        parts = []
        with suppress(ConnectionError, ssl.SSLError, struct.error):
            while True:
                first, second = struct.unpack("BB", self._read.read(2))
                size = second & 0x7F
                if size > 125:
                    form = ">H" if size == 126 else ">Q"
                    (size,) = struct.unpack(form, self._read.read(struct.calcsize(form)))
                data = self._read.read(size)
                if first & 0xF == CLOSE:
                    return None
                if first & 0xF == PING:
                    self._frame(PONG, data)
                elif first & 0xF != PONG:
                    parts.append(data)
                    if first & 0x80:
                        return b"".join(parts).decode()
        return None

    def read_to_end(self) -> float:
        """Read until the connection is over; return when that was."""
        while self.receive() is not None:
            continue
        return time.time()

    def _shake_hands(self) -> None:
        status = int(self._read.readline().split()[1])
        headers = {}
        while (line := self._read.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        if status != 101:
            raise Refused(status, self._read.read(int(headers.get(b"content-length", b"0"))))

    def _frame(self, kind: int, data: bytes) -> None:
        mask = os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self._socket.sendall(bytes([0x80 | kind]) + size + mask + masked)


class Held:
    """A program whose output is read while it runs."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    def wait_for(self, text: bytes) -> None:
        """Read until `text` has come."""
        seen = b""
        assert self.process.stdout is not None
        while text not in seen:
            piece = self.process.stdout.read1(65_536)  # type: ignore[attr-defined]
            assert piece, f"ended with {seen!r}"
            seen += piece

    def finish(self) -> tuple[int, bytes]:
        """Wait for its end; return its exit code and what came."""
        rest, _ = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, rest


@contextmanager
def curl(env: Mapping[str, str], *arguments: str) -> Iterator[Held]:
    """Run curl without buffering."""
    command = ["curl", "--silent", "--show-error", "--no-buffer", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(env))
    try:
        yield Held(process)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_streams(demo: Demo, count: int, **filters: str) -> list[dict[str, Any]]:
    """Wait until there are so many live streams (of `user`, `session`, `resource`); return them."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = demo.admin.get("/v1/streams", **filters)["streams"]
        return len(found) == count

    wait_until(f"{count} streams of {filters}", look, WAIT_S)
    return found


def events(demo: Demo, kind: str, **filters: str) -> list[dict[str, Any]]:
    """Return what the journal tells of one kind (of `actor`, `target`), the newest last."""
    return list(demo.admin.get("/v1/events", kind=kind, since_s=600, **filters))


def ordered(demo: Demo, *command: str) -> None:
    """Run a command of an operator's that must succeed."""
    done = demo.limen(*command)
    assert done.returncode == 0, done.stderr

"""What stands behind the gateway during a conformance run: an app and a service that never stop talking.

Run as a process of its own (`python -m limen.services.conformance.origin`), so that measuring and being
measured do not share a loop. It prints one JSON line with its ports, and ends when its standard input does.

    GET /tick                  an answer at once
    GET /events?every_ms=10    server-sent events
    GET /ws?every_ms=10        a WebSocket (RFC 6455) that sends; what comes in is read and forgotten
    TCP: `10\\n`               a line each 10 ms
"""

import asyncio
import base64
import hashlib
import json
import re
import sys
from collections.abc import Callable

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_REQUEST = re.compile(rb"GET (/\w+)(?:\?every_ms=(\d{1,6}))? HTTP/1\.1\r\n")
_KEY = re.compile(rb"(?im)^sec-websocket-key:[ \t]*(\S+)[ \t]*\r?$")
HEAD_MAX_BYTES = 64 * 1024
WS_TICK = b"\x81\x04tick"
SSE_TICK = b"data: tick\n\n"
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
MISSING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


class _Talker(asyncio.Protocol):
    """A connection that, once it is asked to, repeats itself."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fall silent."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def write(self, data: bytes) -> None:
        """Send, if somebody is there."""
        if self._transport is not None:
            self._transport.write(data)

    def repeat(self, data: bytes, every_ms: int) -> None:
        """Send `data` now, and again and again."""
        if self._transport is None:
            return
        self.write(data)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(every_ms / 1000, self.repeat, data, every_ms)


class HttpTalker(_Talker):
    """One HTTP/1.1 connection of the app."""

    def __init__(self) -> None:
        super().__init__()
        self._head = b""
        self._talking = False

    def data_received(self, data: bytes) -> None:
        """Read requests; once it talks, nothing more."""
        if self._talking:
            return
        self._head += data
        while not self._talking and (end := self._head.find(b"\r\n\r\n")) >= 0:
            request, self._head = self._head[: end + 2], self._head[end + 4 :]
            self._answer(request)
        if len(self._head) > HEAD_MAX_BYTES and self._transport is not None:
            self._transport.close()

    def _answer(self, request: bytes) -> None:
        found = _REQUEST.match(request)
        path, every_ms = (found[1], int(found[2] or 1000)) if found else (b"", 1000)
        if path == b"/tick":
            self.write(PLAIN)
        elif path == b"/events":
            self._talking = True
            self.write(SSE_HEAD)
            self.repeat(SSE_TICK, every_ms)
        elif path == b"/ws" and (key := _KEY.search(request)):
            self._talking = True
            accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
            self.write(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                b"sec-websocket-accept: " + accept + b"\r\n\r\n"
            )
            self.repeat(WS_TICK, every_ms)
        else:
            self.write(MISSING)


class TcpTalker(_Talker):
    """One connection of the service."""

    def data_received(self, data: bytes) -> None:
        """The first line says how often to talk."""
        if self._timer is None:
            line = data.split(b"\n")[0].strip()
            self.repeat(b"tick\n", int(line) if line.isdigit() else 1000)


async def serve(out: Callable[[str], object] = print) -> None:
    """Serve on two free ports of the loopback interface until standard input ends."""
    loop = asyncio.get_running_loop()
    http = await loop.create_server(HttpTalker, "127.0.0.1", 0, backlog=1024)
    tcp = await loop.create_server(TcpTalker, "127.0.0.1", 0, backlog=1024)
    ports = {"http": http.sockets[0].getsockname()[1], "tcp": tcp.sockets[0].getsockname()[1]}
    out(json.dumps(ports))
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())

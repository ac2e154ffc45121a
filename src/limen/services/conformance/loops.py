"""A person who keeps asking: one request after the other on one connection, each noted.

As a process of its own (`python -m limen.services.conformance.loops`) it measures the gateway, and not how
busy the run is that holds a thousand streams: told where and as whom on the first line of its input, it
asks until that ends, and then prints what it saw.
"""

import asyncio
import contextlib
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPResponse

import msgspec

from limen.services.conformance.streams import Door

PAUSE_S = 0.005
AGAIN_S = 0.05  # after a connection that broke, or was refused
ANSWER_TIMEOUT_S = 10.0
ALLOWED = 200
BROKEN = 0


class Asked(msgspec.Struct, frozen=True):
    """One request: when it was sent, when it was answered, and how. Status 0: the connection broke."""

    sent_at: float
    answered_at: float
    status: int


class KeepAliveLoop:
    """Asks `/tick` until it is stopped, on a fresh connection where one broke.

    Attributes:
        asked: all of it, in order.
    """

    def __init__(self, door: Door, cookie: str) -> None:
        host = door.authority(door.app_host)
        self.door = door
        self.asked: list[Asked] = []
        self._news = asyncio.Event()
        self._request = f"GET /tick HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\n\r\n".encode()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, and return once the first request was answered."""
        self._task = asyncio.create_task(self._run())
        await self.until(lambda: bool(self.asked), ANSWER_TIMEOUT_S)

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def until(self, true: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until what was answered makes something true; return whether it has, in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not true():
                    self._news.clear()
                    await self._news.wait()
                return True
        return False

    @property
    def denied(self) -> Asked | None:
        """The first request that was answered with a no."""
        return next((one for one in self.asked if one.status not in (ALLOWED, BROKEN)), None)

    async def _run(self) -> None:
        while True:
            sent_at = time.time()
            try:
                reader, writer = await asyncio.open_connection(
                    self.door.address,
                    self.door.port,
                    ssl=self.door.contexts["http/1.1"],
                    server_hostname=self.door.app_host,
                )
            except OSError:
                self._note(Asked(sent_at, time.time(), BROKEN))
                await asyncio.sleep(AGAIN_S)
                continue
            try:
                await self._talk(reader, writer)
            finally:
                writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ask on one connection until it broke, or the gateway wants another."""
        while True:
            sent_at = time.time()
            status, last = await self._ask(reader, writer)
            self._note(Asked(sent_at, time.time(), status))
            await asyncio.sleep(AGAIN_S if status == BROKEN else PAUSE_S)
            if last:
                return

    def _note(self, asked: Asked) -> None:
        self.asked.append(asked)
        self._news.set()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bool]:
        """Return the status, and whether this connection has served."""
        try:
            writer.write(self._request)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, StopIteration):
            return BROKEN, True
        return int(head[9:12]), b"\r\nconnection: close\r\n" in head


class _Errand(msgspec.Struct, frozen=True):
    """What a process of its own is told. The cookie is a secret, so it comes by its input, not its name."""

    address: str
    port: int
    app_host: str
    service_host: str
    ca_file: str
    cookie: str


class LoopApart:
    """A `KeepAliveLoop` in a process of its own."""

    def __init__(self, door: Door, cookie: str) -> None:
        self._errand = _Errand(
            door.address, door.port, door.app_host, door.service_host, door.ca_file, cookie
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begin, and return once the first request was answered."""
        program = (sys.executable, "-m", "limen.services.conformance.loops")
        pipe = asyncio.subprocess.PIPE
        process = self._process = await asyncio.create_subprocess_exec(
            *program, stdin=pipe, stdout=pipe, limit=1 << 26
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(msgspec.json.encode(self._errand) + b"\n")
        await process.stdout.readline()

    async def stop(self) -> tuple[Asked, ...]:
        """End it, and return what it saw."""
        process = self._process
        assert process is not None, "start() comes first"
        told, _ = await process.communicate(b"")
        return msgspec.json.decode(told, type=tuple[Asked, ...])


def _ask_apart() -> None:
    """Ask until the input ends, on a thread that does nothing else."""
    errand = msgspec.json.decode(sys.stdin.readline(), type=_Errand)
    ended = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    context = ssl.create_default_context(cafile=errand.ca_file or None)
    host = errand.app_host if errand.port == 443 else f"{errand.app_host}:{errand.port}"
    request = f"GET /tick HTTP/1.1\r\nhost: {host}\r\ncookie: {errand.cookie}\r\n\r\n".encode()
    asked: list[Asked] = []
    while not ended.is_set():
        with contextlib.suppress(OSError, ValueError):
            plain = socket.create_connection((errand.address, errand.port), ANSWER_TIMEOUT_S)
            with context.wrap_socket(plain, server_hostname=errand.app_host) as line:
                _talk_apart(line, request, asked, ended)
        if not ended.is_set():
            asked.append(Asked(time.time(), time.time(), BROKEN))
    sys.stdout.buffer.write(msgspec.json.encode(asked))


def _talk_apart(line: ssl.SSLSocket, request: bytes, asked: list[Asked], ended: threading.Event) -> None:
    while not ended.is_set():
        sent_at = time.time()
        line.sendall(request)
        answer = HTTPResponse(line)
        answer.begin()
        answer.read()
        asked.append(Asked(sent_at, time.time(), answer.status))
        if len(asked) == 1:
            print("asking", flush=True)
        ended.wait(PAUSE_S)


if __name__ == "__main__":
    _ask_apart()

"""A person who keeps asking: one request after the other on one connection, each noted."""

import asyncio
import contextlib
import time
from collections.abc import Callable

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

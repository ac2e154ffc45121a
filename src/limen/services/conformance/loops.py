"""A person who keeps asking: one request after the other on one connection, each noted."""

import asyncio
import contextlib
import time

import msgspec

from limen.services.conformance.streams import Door

PAUSE_S = 0.005
ANSWER_TIMEOUT_S = 10.0


class Asked(msgspec.Struct, frozen=True):
    """One request: when it was sent, when it was answered, and how. Status 0: the connection broke."""

    sent_at: float
    answered_at: float
    status: int


class KeepAliveLoop:
    """Asks `/tick` until it is stopped, or denied when `until_denied`."""

    def __init__(self, door: Door, cookie: str, *, until_denied: bool) -> None:
        host = door.authority(door.app_host)
        self.door = door
        self.asked: list[Asked] = []
        self._until_denied = until_denied
        self._request = f"GET /tick HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\n\r\n".encode()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and begin."""
        reader, writer = await asyncio.open_connection(
            self.door.address,
            self.door.port,
            ssl=self.door.contexts["http/1.1"],
            server_hostname=self.door.app_host,
        )
        self._task = asyncio.create_task(self._run(reader, writer))

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def wait(self, timeout_s: float) -> None:
        """Wait until it has ended by itself, for so long at most."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=timeout_s)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                sent_at = time.time()
                status = await self._ask(reader, writer)
                self.asked.append(Asked(sent_at, time.time(), status))
                if status == 0 or (self._until_denied and status != 200):
                    return
                await asyncio.sleep(PAUSE_S)
        finally:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        try:
            writer.write(self._request)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, StopIteration):
            return 0
        return int(head[9:12])

"""Lines of the change feed on a connection: read and written within bounds of bytes and of silence.

Silence is measured in bytes and not in lines, so that a large transaction on a slow network is no
silence. What is sent waits in the connection's own small buffer and nowhere else: who does not take it
is left, and resumes where it stood.
"""

import asyncio
from typing import NamedTuple

from limen.core.errors import Invalid, Unavailable

READ_BYTES = 256 * 1024
BUFFER_BYTES = 256 * 1024  # of asyncio's own reader, before it stops the sender
STALL_MAX_S = 10.0
"""A peer that takes not one byte for so long is left."""


class Connection(NamedTuple):
    """Both ends of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class LineReader:
    """Reads lines. `max_bytes` and `silence_s` may be changed between two lines."""

    def __init__(self, reader: asyncio.StreamReader, *, max_bytes: int, silence_s: float) -> None:
        self._reader = reader
        self._held = bytearray()
        self.max_bytes = max_bytes
        self.silence_s = silence_s

    async def line(self) -> bytes:
        """Return the next line, its end included.

        Raises:
            Invalid: it is too long (`FEED_BROKEN`).
            Unavailable: the other side is silent (`FEED_SILENT`), or has ended the connection (`FEED_ENDED`).
        """
        looked = 0
        while True:
            end = self._held.find(b"\n", looked)
            if (end if end >= 0 else len(self._held)) > self.max_bytes:
                raise Invalid("A line of the change feed is too long.", code="FEED_BROKEN")
            if end >= 0:
                line = bytes(self._held[: end + 1])
                del self._held[: end + 1]
                return line
            looked = len(self._held)
            self._held += await self._more()

    async def _more(self) -> bytes:
        try:
            async with asyncio.timeout(self.silence_s):
                read = await self._reader.read(READ_BYTES)
        except TimeoutError:
            raise Unavailable(
                f"The other side has been silent for {self.silence_s:g} s.", code="FEED_SILENT"
            ) from None
        if not read:
            raise Unavailable("The other side ended the connection.", code="FEED_ENDED")
        return read


async def send_line(writer: asyncio.StreamWriter, line: bytes, *, stall_s: float = STALL_MAX_S) -> None:
    """Send a line and wait until the connection's buffer is small again.

    Raises:
        Unavailable: the peer took nothing for `stall_s` (`FEED_SLOW`).
    """
    writer.write(line)
    while True:
        waiting = writer.transport.get_write_buffer_size()
        try:
            async with asyncio.timeout(stall_s):
                await writer.drain()
        except TimeoutError:
            if writer.transport.get_write_buffer_size() >= waiting:
                raise Unavailable(
                    f"The other side took nothing for {stall_s:g} s.", code="FEED_SLOW"
                ) from None
        else:
            return


def drop(writer: asyncio.StreamWriter) -> None:
    """End a connection now, whatever still waits in its buffer."""
    writer.transport.abort()

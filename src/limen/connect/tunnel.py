"""The near end of a tunnel: one local TCP connection, as asyncio sees it.

Bytes from here go to a `Way` (a stream at the gateway) as soon as it is open; nothing is read before.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from typing import Protocol, cast

LOCAL_BUFFER_BYTES = 262_144
_RESET_ON_CLOSE = struct.pack(
    "hh" if sys.platform == "win32" else "ii", 1, 0
)  # linger for no time: the peer sees a reset, not an end


class Way(Protocol):
    """Where the bytes of a tunnel go."""

    def send(self, data: bytes) -> None:
        """Take bytes. It calls `Tunnel.hold` when it wants no more."""

    def end(self) -> None:
        """Take note that no more bytes come."""

    def stall(self) -> None:
        """Bring no more bytes: the local side does not take them (law N3)."""

    def flow(self) -> None:
        """Bring bytes again."""

    def abandon(self) -> None:
        """Take note that the local side is gone."""


class Tunnel(asyncio.Protocol):
    """One local connection. `on_open` is called once it is there."""

    def __init__(self, on_open: Callable[["Tunnel"], None]) -> None:
        self._on_open = on_open
        self._local: asyncio.Transport | None = None
        self._way: Way | None = None
        self._gone = False

    # -- the local side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait until the way is open before anything is read."""
        self._local = cast("asyncio.Transport", transport)
        self._local.pause_reading()
        self._local.set_write_buffer_limits(high=LOCAL_BUFFER_BYTES)
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        """Send on what the local program wrote."""
        if self._way is not None:
            self._way.send(data)

    def eof_received(self) -> bool:
        """Send on that the local program writes no more; it may still read (law N4)."""
        if self._way is not None:
            self._way.end()
        return True

    def pause_writing(self) -> None:
        """The local program does not read: take no more from the gateway."""
        if self._way is not None:
            self._way.stall()

    def resume_writing(self) -> None:
        """Take from the gateway again."""
        if self._way is not None:
            self._way.flow()

    def connection_lost(self, exc: Exception | None) -> None:
        """The local program is gone."""
        self._gone = True
        if self._way is not None:
            way, self._way = self._way, None
            way.abandon()

    # -- the gateway's side

    @property
    def gone(self) -> bool:
        """Whether the local side is closed."""
        return self._gone

    def open(self, way: Way) -> None:
        """Begin: read from the local side."""
        self._way = way
        if not self._gone:
            self.release()

    def write(self, data: bytes) -> None:
        """Hand bytes to the local side."""
        if self._local is not None and not self._gone:
            self._local.write(data)

    def write_eof(self) -> None:
        """The far side writes no more."""
        if not self._gone and self._local is not None:
            self._local.write_eof()

    def hold(self) -> None:
        """Read no more until `release`."""
        if self._local is not None and not self._gone:
            self._local.pause_reading()

    def release(self) -> None:
        """Read again."""
        if self._local is not None and not self._gone:
            self._local.resume_reading()

    def close(self) -> None:
        """End it in good order: what was written is delivered."""
        self._way = None
        if self._local is not None:
            self._local.close()

    def break_off(self) -> None:
        """End it so that the local program knows that bytes are missing (law N4)."""
        self._way = None
        if self._local is None:
            return
        sock = self._local.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._local.abort()

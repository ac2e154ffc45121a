"""The bytes of HTTP/2 around `h2`: DATA frames of open tunnels go past it, all others through it.

`h2` spends 60 to 90 µs on each DATA frame of 16 kB, which is 1.0 s for 200 MB; a tunnel is nothing but
DATA frames. So they are taken out of the byte stream here, and put into it, in 2 µs each; their flow
control is counted here too. Everything else (settings, header compression, stream states, errors) is `h2`'s.

A GOAWAY is taken out as well: after one, `h2` refuses every frame, but a gateway that drains says GOAWAY
and lets its streams live (RFC 9113 §6.8).

Pure: no sockets, no clock.
"""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from limen.core.errors import LimenError

HEADER_BYTES = 9  # RFC 9113 §4.1
DATA, GOAWAY, WINDOW_UPDATE = 0x0, 0x7, 0x8  # RFC 9113 §6
END_STREAM, PADDED = 0x1, 0x8
STREAM_MASK = 0x7FFF_FFFF

_HEADER = struct.Struct(">HBBBI")  # length as 16 + 8 bits, type, flags, stream
_WINDOW_UPDATE = struct.Struct(">HBBBII")
_GOAWAY = struct.Struct(">II")


class WireError(LimenError):
    """The gateway does not speak HTTP/2 as it must."""

    code = "GATEWAY_GARBLED"


class Payload(NamedTuple):
    """Bytes of one open tunnel, in order. They are views: copy them before the next `feed`.

    `size` is what flow control counts: padding too (RFC 9113 §6.1).
    """

    stream_id: int
    parts: list[memoryview]
    size: int


class Other(NamedTuple):
    """Bytes that `h2` must see."""

    data: bytes


class GoAway(NamedTuple):
    """The gateway takes no new streams; those above `last_stream_id` were never looked at."""

    last_stream_id: int
    error_code: int


Piece = Payload | Other | GoAway


class FrameSplitter:
    """Cuts the bytes that a gateway sends into pieces.

    `is_open` says whether a stream is an open tunnel; it is asked at each DATA frame, after all earlier
    pieces but payload were taken. `frame_max` is the SETTINGS_MAX_FRAME_SIZE that was announced.
    """

    def __init__(self, is_open: Callable[[int], bool], frame_max: int) -> None:
        self._is_open = is_open
        self._frame_max = frame_max
        self._start = b""  # of a header that has not come whole
        self._left = 0  # bytes of the current frame still to come
        self._tunnel = 0  # whose frame it is, if it goes past h2
        self._ends = False
        self._whole: bytearray | None = None  # of a frame that is looked at only when all is there

    def feed(self, data: bytes | memoryview) -> Iterator[Piece]:
        """Return the pieces of the next bytes.

        Raises:
            WireError: a frame is longer than was announced, or a GOAWAY is none.
        """
        owner, size = 0, 0
        parts: list[memoryview] = []
        for stream_id, piece in self._cut(data):
            if owner and stream_id != owner:
                yield Payload(owner, parts, size)
                owner, parts, size = 0, [], 0
            if isinstance(piece, memoryview):
                owner = stream_id
                parts.append(piece)
                size += len(piece)
            elif isinstance(piece, int):
                owner = stream_id
                size += piece
            else:
                yield piece
        if owner:
            yield Payload(owner, parts, size)

    def _cut(self, data: bytes | memoryview) -> Iterator[tuple[int, memoryview | int | Other | GoAway]]:
        """Return payload, and counts of padding, with their stream; what is neither with 0."""
        if self._start:
            data, self._start = b"".join((self._start, data)), b""
        view, at, size = memoryview(data), 0, len(data)
        while at < size:
            if self._left == 0:
                if size - at < HEADER_BYTES:
                    self._start = bytes(view[at:])
                    return
                at += self._begin(*_HEADER.unpack_from(view, at))
            end = min(size, at + self._left)
            taken, at, self._left = view[at:end], end, self._left - (end - at)
            if self._whole is not None:
                self._whole += taken
                if self._left == 0:
                    yield from self._read_whole()
            elif self._tunnel:
                if taken:
                    yield self._tunnel, taken
            else:
                yield 0, Other(bytes(taken))
            if self._left == 0 and self._tunnel and self._ends:
                yield 0, Other(_HEADER.pack(0, 0, DATA, END_STREAM, self._tunnel))

    def _begin(self, high: int, low: int, kind: int, flags: int, stream_id: int) -> int:
        """Note a frame's header; return how many bytes of it are not for `h2`."""
        length, stream_id = high << 8 | low, stream_id & STREAM_MASK
        if length > self._frame_max:
            raise WireError(
                f"The gateway sent a frame of {length} bytes, more than it was told to.",
                remedy="Is this the address of a Limen gateway?",
            )
        self._left, self._tunnel = length, 0
        if kind == DATA and self._is_open(stream_id):
            self._tunnel, self._ends = stream_id, bool(flags & END_STREAM)
        elif kind != GOAWAY:
            self._left += HEADER_BYTES
            return 0
        if not self._tunnel or flags & PADDED:
            self._whole = bytearray()
        return HEADER_BYTES

    def _read_whole(self) -> Iterator[tuple[int, memoryview | int | GoAway]]:
        """Read a GOAWAY, or a DATA frame with padding."""
        said, self._whole = bytes(self._whole or b""), None
        if self._tunnel:
            padding = said[0] + 1 if said else 1
            if padding > len(said):
                raise WireError("The gateway sent a frame with more padding than bytes.", remedy="Try again.")
            yield self._tunnel, memoryview(said)[1 : len(said) - padding + 1]
            yield self._tunnel, padding
            return
        if len(said) < _GOAWAY.size:
            raise WireError("The gateway sent a GOAWAY that is too short.", remedy="Try again.")
        last, code = _GOAWAY.unpack_from(said)
        yield 0, GoAway(last & STREAM_MASK, code)


def render_data(stream_id: int, payload: memoryview, frame_max: int) -> bytes:
    """Return DATA frames that carry these bytes."""
    pieces: list[bytes | memoryview] = []
    for at in range(0, len(payload), frame_max):
        part = payload[at : at + frame_max]
        pieces.append(_HEADER.pack(len(part) >> 8, len(part) & 0xFF, DATA, 0, stream_id))
        pieces.append(part)
    return b"".join(pieces)


def render_window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return _WINDOW_UPDATE.pack(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


class ReceiveWindow:
    """How many bytes the gateway may still send (law N3), and how many it must be told are free again."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._owed = 0

    def take(self, count: int) -> None:
        """Note bytes that came.

        Raises:
            WireError: they are more than the gateway was allowed.
        """
        self._left -= count
        if self._left < 0:
            raise WireError("The gateway sent more than it was allowed to.", remedy="Try again.")

    def give(self, count: int) -> int:
        """Note bytes that went on; return what to tell the gateway now, 0 for nothing yet."""
        self._owed += count
        if self._owed * 2 < self._size:
            return 0
        told, self._owed = self._owed, 0
        self._left += told
        return told

"""The frame around each record: versioned, numbered, checksummed. Pure functions of bytes.

Layout, little endian:

    0   2  mark     FF FE
    2   1  version  1
    3   1  kind     `Kind`
    4   4  length   of the payload, bytes
    8   8  position among the records of one boot of one node
    16  4  crc32    of the 16 bytes above and the payload
    20  …  payload  UTF-8 (JSON)

FF never occurs in UTF-8, so nothing that a payload carries can pass for the start of a frame: after
damage, reading goes on at the next mark whose checksum holds, and no requester can forge one.

Laws:
    J1 whole. What was framed is read back, equal and in order.
    J2 found. A torn end and any flipped bit are noticed; every frame outside the damage is read.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from limen.core.errors import Invalid

MARK = b"\xff\xfe"
VERSION = 1
PAYLOAD_BYTES_MAX = 16 * 1024 * 1024  # a bundle with all its files; more is refused when written

_HEAD = struct.Struct("<2sBBIQ")
_CRC = struct.Struct("<I")
WHOLE = struct.Struct("<2sBBIQI")
HEAD_BYTES = WHOLE.size


class Kind(IntEnum):
    """What a frame holds, readable without decoding the payload. Numbers are for ever."""

    DECISION = 1
    INPUTS = 2
    BUNDLE = 3
    OUTCOME = 4
    EVENT = 5
    HEADER = 64  # first frame of a segment
    SEAL = 65  # last frame of a segment


class Frame(NamedTuple):
    """One frame whose checksum holds. `offset` and `end` are its place in the bytes scanned."""

    kind: int
    position: int
    payload: bytes
    offset: int
    end: int


class Damage(NamedTuple):
    """Bytes that are no frame: torn, or changed since they were written."""

    offset: int
    end: int


def encode_frame(kind: int, position: int, payload: bytes) -> bytes:
    """Frame one payload.

    Raises:
        Invalid: the payload is larger than `PAYLOAD_BYTES_MAX`.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Invalid(
            f"A journal record of {len(payload)} bytes is larger than {PAYLOAD_BYTES_MAX}.",
            remedy="Make the bundle or the record smaller.",
            code="RECORD_TOO_LARGE",
        )
    head = _HEAD.pack(MARK, VERSION, kind, len(payload), position)
    return head + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def scan(data: bytes | memoryview, offset: int = 0) -> Iterator[Frame | Damage]:
    """Yield every frame from `offset` on, and the damage between them, in the order of the bytes.

    Raises:
        Invalid: a sound frame of a version that this release does not know (`JOURNAL_NEWER`).
    """
    size = len(data)
    while offset < size:
        frame = parse_frame(data, offset)
        if frame is not None:
            yield frame
            offset = frame.end
            continue
        end = _next_frame(data, offset + 1)
        yield Damage(offset, end)
        offset = end


def parse_frame(data: bytes | memoryview, offset: int) -> Frame | None:
    """Return the frame that starts at `offset`, or None when there is no sound one."""
    start = offset + HEAD_BYTES
    if start > len(data):
        return None
    mark, version, kind, length, position, crc = WHOLE.unpack_from(data, offset)
    end = start + length
    if mark != MARK or length > PAYLOAD_BYTES_MAX or end > len(data):
        return None
    payload = bytes(data[start:end])
    if zlib.crc32(payload, zlib.crc32(data[offset : offset + _HEAD.size])) != crc:
        return None
    if version != VERSION:
        raise Invalid(
            f"The journal holds frames of version {version}; this release reads version {VERSION}.",
            remedy="Use the release of Limen that wrote it, or a newer one.",
            code="JOURNAL_NEWER",
        )
    return Frame(kind, position, payload, offset, end)


def _next_frame(data: bytes | memoryview, offset: int) -> int:
    """Return where the next sound frame starts, or the end of the data."""
    raw = bytes(data[offset:])
    found = raw.find(MARK)
    while found >= 0:
        if parse_frame(raw, found) is not None:
            return offset + found
        found = raw.find(MARK, found + 1)
    return len(data)

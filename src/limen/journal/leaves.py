"""Reading a segment's records into the tree of its boot, fast: no JSON, nothing copied that is not hashed."""

import mmap
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from hashlib import sha256
from itertools import chain
from typing import NamedTuple, Protocol

from limen.journal import stored
from limen.journal.columns import misfits, read_frames
from limen.journal.frame import HEAD_BYTES, MARK, VERSION, WHOLE, Damage, Kind, parse_frame, scan
from limen.journal.merkle import Frontier
from limen.journal.segments import Seal, SegmentHeader, SegmentName, read_header, read_seal
from limen.journal.stored import StoredFrame

Inspect = Callable[[int, int, bytes | None], None]
"""Told kind, position and payload of each record; the payload is None when retention removed it."""


class Stop(Enum):
    """Why reading stopped."""

    REACHED = "the position that was asked for"
    END = "the end, without a seal"
    SEAL = "the seal"
    UNSOUND = "bytes that are not the next frame"


class Unsound(NamedTuple):
    """What is there in place of the next frame, and the position of the frame after it, if there is one."""

    offset: int
    size: int
    position: int | None
    text: bytes = b""


class Reading(Protocol):
    """A segment that is being read.

    Attributes:
        position: of the next record.
        grows: it may still be written to, so that its end may be torn.
    """

    header: SegmentHeader | None
    seal: Seal | None
    position: int
    grows: bool

    def advance(self, tree: Frontier | None, until: int, inspect: Inspect) -> Stop:
        """Read on to the record `until`, into `tree` if there is one."""
        ...

    def skip(self) -> Unsound:
        """Pass over what is unsound, to the next sound frame."""
        ...

    def has_sound_bytes(self) -> bool:
        """Whether the seal says of the file what it is."""
        ...

    def misfits(self) -> Iterator[int]:
        """Yield the positions of records of which the file says elsewhere something else."""
        ...


class Bytes:
    """A segment, or a piece of one, by its bytes."""

    def __init__(self, data: bytes | mmap.mmap, offset: int = 0, position: int = 0) -> None:
        self.header: SegmentHeader | None = None
        self.seal: Seal | None = None
        self.offset, self.position, self.grows = offset, position, True
        self._data = data

    @classmethod
    def whole(cls, view: memoryview) -> "Bytes":
        """Read a whole segment, from its header on."""
        data = view.obj
        assert isinstance(data, bytes | mmap.mmap)
        segment = cls(data)
        segment.header, segment.seal = read_header(view), read_seal(view)
        segment.grows = segment.seal is None
        first = parse_frame(view, 0)
        if first is not None and segment.header is not None:
            segment.offset, segment.position = first.end, first.position
        return segment

    def advance(self, tree: Frontier | None, until: int, inspect: Inspect) -> Stop:
        """Read on to the record `until`, into `tree` if there is one."""
        data, offset, position, end = self._data, self.offset, self.position, len(self._data)
        unpack, crc32, add = WHOLE.unpack_from, zlib.crc32, tree.add if tree is not None else None
        stop = Stop.REACHED
        while position < until:
            start = offset + HEAD_BYTES
            if start > end:
                stop = Stop.END if offset == end else Stop.UNSOUND
                break
            mark, version, kind, length, number, crc = unpack(data, offset)
            after = start + length
            if mark != MARK or number != position or after > end or version != VERSION:
                stop = Stop.UNSOUND
                break
            payload = data[start:after]
            if crc32(payload, crc32(data[offset : start - 4])) != crc:
                stop = Stop.UNSOUND
                break
            if kind >= Kind.HEADER:
                stop = Stop.SEAL if kind == Kind.SEAL and after == end else Stop.UNSOUND
                break
            if add is not None:
                add(sha256(b"\x00" + payload).digest())
            inspect(kind, position, payload)
            position, offset = position + 1, after
        self.offset, self.position = offset, position
        return stop

    def skip(self) -> Unsound:
        """Pass over what is unsound, to the next sound frame."""
        start = self.offset
        for part in scan(memoryview(self._data), start):
            if isinstance(part, Damage):
                continue
            at_end = part.kind == Kind.SEAL and part.end == len(self._data)
            if part.kind < Kind.HEADER or (at_end and part.position == self.position) or part.offset > start:
                self.offset, self.position = part.offset, part.position
                return Unsound(start, part.offset - start, part.position, self._data[start : part.offset])
            self.offset = part.end  # a frame that does not belong here is passed over like damage
        self.offset = len(self._data)
        return Unsound(start, self.offset - start, None, self._data[start : self.offset])

    def has_sound_bytes(self) -> bool:
        """Whether the seal says of the file what it is."""
        seal = self.seal
        if seal is None or seal.size != self.offset:
            return False
        crc, step = 0, 1 << 20
        for start in range(0, seal.size, step):
            crc = zlib.crc32(self._data[start : min(start + step, seal.size)], crc)
        return crc == seal.crc

    def misfits(self) -> Iterator[int]:
        """Yield nothing: bytes say everything once."""
        return iter(())


class Rows:
    """A compacted segment."""

    def __init__(self, name: SegmentName) -> None:
        self._path = stored.compacted_path(name)
        self.header, self.seal = stored.header(name), stored.seal(name)
        self.position, self.grows = self.header.first if self.header else 0, False
        self._parts: Iterator[StoredFrame | Damage] = read_frames(self._path)
        if self.header is not None:
            next(self._parts, None)

    def advance(self, tree: Frontier | None, until: int, inspect: Inspect) -> Stop:
        """Read on to the record `until`, into `tree` if there is one."""
        while self.position < until:
            part = next(self._parts, None)
            if part is None:
                return Stop.END
            sealed = isinstance(part, StoredFrame) and part.kind == Kind.SEAL
            right = isinstance(part, StoredFrame) and part.position == self.position
            if isinstance(part, Damage) or not right or (part.kind >= Kind.HEADER and not sealed):
                self._parts = chain((part,), self._parts)
                return Stop.UNSOUND
            if sealed:
                return Stop.SEAL if next(self._parts, None) is None else Stop.UNSOUND
            if tree is not None:
                tree.add(part.leaf)
            inspect(part.kind, part.position, part.payload)
            self.position += 1
        return Stop.REACHED

    def skip(self) -> Unsound:
        """Pass over what is unsound, to the next sound frame."""
        size = 0
        for part in self._parts:
            if isinstance(part, StoredFrame) and part.kind < Kind.HEADER:
                self._parts, self.position = chain((part,), self._parts), part.position
                return Unsound(0, size, part.position)
            size += part.end - part.offset if isinstance(part, Damage) else 0
        return Unsound(0, size, None)

    def has_sound_bytes(self) -> bool:
        """Whether the seal says of the file what it is: of rows, the tree says it."""
        return self.seal is not None

    def misfits(self) -> Iterator[int]:
        """Yield the positions of records that would be searched as something that they are not."""
        return misfits(self._path)


@contextmanager
def reading(name: SegmentName) -> Iterator[Reading]:
    """Open a segment in whichever form it has. One that is gone reads as one without a header."""
    with stored.opened(name) as view:
        if view is not None:
            yield Bytes.whole(view)
        elif stored.compacted_path(name).exists():
            yield Rows(name)
        else:
            yield Bytes(b"")

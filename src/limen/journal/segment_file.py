"""One open segment: frames go in, whole or not at all."""

import errno
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from limen.core.ids import Instant
from limen.journal.frame import Kind, encode_frame
from limen.journal.segments import Seal, SegmentHeader, segment_path

Write = Callable[[int, bytes], int]


class SegmentFile:
    """A segment that is being written. `size` is its length, `end` the position of its next record."""

    def __init__(self, directory: Path, header: SegmentHeader, write: Write = os.write) -> None:
        self.header = header
        self.path = segment_path(directory, header.boot, header.number)
        self.size = 0
        self.end = header.first
        self._crc = 0
        self._write = write
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o600)
        try:
            self._put(encode_frame(Kind.HEADER, self.end, msgspec.json.encode(header)))
        except OSError:
            os.close(self._file)
            self.path.unlink()
            raise

    @property
    def records(self) -> int:
        """How many records the segment holds."""
        return self.end - self.header.first

    def append(self, kind: Kind, payload: bytes) -> int:
        """Write one record and return its position. Raises as `append_many`."""
        return self.append_many(((kind, payload),))

    def append_many(self, entries: Sequence[tuple[Kind, bytes]]) -> int:
        """Write records with one write, and return the position of the first.

        Raises:
            OSError: none was written; what had been written of them is gone again (law J4).
            Invalid: one is too large; none was written.
        """
        first = self.end
        frames = [encode_frame(kind, first + n, payload) for n, (kind, payload) in enumerate(entries)]
        self._put(frames[0] if len(frames) == 1 else b"".join(frames))
        self.end = first + len(frames)
        return first

    def seal(self, now: Instant, frontier: tuple[str, ...]) -> None:
        """Write the last frame. A seal that does not fit is left to the next start."""
        seal = Seal(self.size, self._crc, self.end, now, frontier=frontier)
        self._put(encode_frame(Kind.SEAL, self.end, msgspec.json.encode(seal)))

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _put(self, frames: bytes) -> None:
        try:
            written = self._write(self._file, frames)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        if written != len(frames):  # a regular file takes less only when the disk or a quota is full
            os.ftruncate(self._file, self.size)
            raise OSError(errno.ENOSPC, "the records were written in part")
        self.size += written
        self._crc = zlib.crc32(frames, self._crc)


def sync_directory(directory: Path) -> None:
    """Wait until the names of new files are on the disk."""
    file = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)

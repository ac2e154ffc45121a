"""Growing a node's tree from its segments, a slice at a time, from where it was left.

What was read is not read again: a `Place` keeps the tree and the byte behind its last leaf.
"""

import os
from collections.abc import Callable
from pathlib import Path

from limen.core.errors import Invalid
from limen.journal import stored
from limen.journal.frame import parse_frame
from limen.journal.leaves import Bytes, Stop
from limen.journal.merkle import Frontier
from limen.journal.segments import SUFFIX, BootTree, SegmentHeader, SegmentName, read_header

SLICE_BYTES = 256 * 1024  # some 400 records, 2 ms of the interpreter
_SLICE_BYTES_MAX = 32 * 1024 * 1024  # holds the largest frame
_HEAD_BYTES = 64 * 1024  # holds the header frame


class Inconsistent(Invalid):
    """Segments are not what was signed."""

    code = "JOURNAL_INCONSISTENT"


class Place:
    """How far one boot of one node was read. Grows; copy it to try."""

    def __init__(self, directory: Path, boot: str, tree: Frontier, number: int, offset: int) -> None:
        self.directory, self.boot, self.tree = directory, boot, tree
        self._number, self._offset = number, offset

    @classmethod
    def at(cls, directory: Path, boot: str, size: int) -> "Place":
        """Begin at the segment of a boot that holds the leaf before `size`, with the tree that it states.

        Raises:
            Inconsistent: there is none, or it was written without proofs.
        """
        found: tuple[SegmentName, SegmentHeader, int] | None = None
        for name in _of_boot(directory, boot):
            header, start = _head(name)
            if found is not None and (header is None or header.first > size):
                break
            if header is not None:
                found = (name, header, start)
        if found is None or found[1].first > size:
            raise Inconsistent(f"The records before {size} of boot {boot} are gone.")
        name, header, start = found
        try:
            tree = Frontier.parse(header.first, header.frontier or ())
        except ValueError:
            raise Inconsistent(f"{name.path.name} does not say what it goes on from.") from None
        return cls(directory, boot, tree, name.number, start)

    @classmethod
    def at_start(cls, directory: Path, boot: str) -> "Place":
        """Begin at the oldest segment of a boot that is there.

        Raises:
            Inconsistent: there is none, or it was written without proofs.
        """
        for name in _of_boot(directory, boot)[:1]:
            header, _ = _head(name)
            return cls.at(directory, boot, header.first if header else 0)
        raise Inconsistent(f"Boot {boot} was signed for and is not there.")

    def ended(self) -> BootTree:
        """Return the tree of a boot that was read to its end."""
        return BootTree(self.boot, self.tree.size, self.tree.root().hex())

    def copy(self) -> "Place":
        """Return a place that grows by itself from here."""
        return Place(self.directory, self.boot, self.tree.copy(), self._number, self._offset)

    def grow(self, until: int, pause: Callable[[], None]) -> None:
        """Read on until the tree has `until` leaves. Calls `pause` between slices.

        Raises:
            Inconsistent: the records end before that, or are damaged.
        """
        while self.tree.size < until:
            if not self._grow_in_segment(until, pause) and not self._next_segment():
                raise Inconsistent(
                    f"The records of boot {self.boot} end at {self.tree.size}; {until} were signed for."
                )

    def grow_to_end(self, pause: Callable[[], None]) -> None:
        """Read on to the last record of the boot.

        Raises:
            Inconsistent: a record is damaged.
        """
        while self._grow_in_segment(1 << 62, pause) or self._next_segment():
            pass

    def _grow_in_segment(self, until: int, pause: Callable[[], None]) -> bool:
        """Read on in this segment. Returns whether the tree has `until` leaves."""
        name = SegmentName(0, self.boot, self._number, self._path(SUFFIX))
        try:
            file = os.open(name.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return self._grow_in_rows(name, until, pause)
        try:
            return self._grow_in_bytes(file, until, pause)
        finally:
            os.close(file)

    def _grow_in_bytes(self, file: int, until: int, pause: Callable[[], None]) -> bool:
        wanted = SLICE_BYTES
        while self.tree.size < until:
            data = os.pread(file, wanted, self._offset)
            piece = Bytes(data, 0, self.tree.size)
            stop = piece.advance(self.tree, until, _ignore)
            self._offset += piece.offset
            if stop is Stop.SEAL or not data:
                pause()
                return False
            if stop is Stop.UNSOUND and piece.offset == 0:
                if len(data) < wanted or wanted > _SLICE_BYTES_MAX:
                    return False  # not written to its end; or damaged: then what was signed is not reached
                wanted *= 4
                continue
            wanted = SLICE_BYTES
            pause()
        return True

    def _grow_in_rows(self, name: SegmentName, until: int, pause: Callable[[], None]) -> bool:
        for frame in stored.frames(name, self.tree.size):
            if frame.position != self.tree.size:
                raise Inconsistent(f"{name.path.name}: record {self.tree.size} is not there.")
            if self.tree.size == until:
                return True
            self.tree.add(frame.leaf)
            if self.tree.size % 500 == 0:
                pause()
        return self.tree.size >= until

    def _next_segment(self) -> bool:
        """Go to the next segment of the boot, which must go on from this tree."""
        name = SegmentName(0, self.boot, self._number + 1, self._path(SUFFIX, self._number + 1))
        header, start = _head(name)
        if header is None:
            return False
        if (header.first, header.frontier) != (self.tree.size, self.tree.render()):
            raise Inconsistent(f"{name.path.name} does not go on from record {self.tree.size} before it.")
        self._number, self._offset = name.number, start
        return True

    def _path(self, suffix: str, number: int | None = None) -> Path:
        return self.directory / f"{self.boot}-{number or self._number:08d}{suffix}"


def boots_between(directory: Path, after: str, until: str) -> tuple[str, ...]:
    """Return the boots behind one and up to another, in order."""
    boots = dict.fromkeys(name.boot for name in stored.list_stored(directory))
    return tuple(boot for boot in boots if after < boot <= until)


def first_header(directory: Path, boot: str) -> SegmentHeader | None:
    """Return the header of a boot's first segment, if that is there."""
    for name in _of_boot(directory, boot):
        return _head(name)[0] if name.number == 1 else None
    return None


def _of_boot(directory: Path, boot: str) -> tuple[SegmentName, ...]:
    return tuple(name for name in stored.list_stored(directory) if name.boot == boot)


def _head(name: SegmentName) -> tuple[SegmentHeader | None, int]:
    """Return the header of a segment, and where its first record begins (0 where rows are, not bytes)."""
    try:
        with name.path.with_suffix(SUFFIX).open("rb") as file:
            data = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return stored.header(name), 0
    frame = parse_frame(data, 0)
    return read_header(data), frame.end if frame else 0


def _ignore(_kind: int, _position: int, _payload: bytes | None) -> None:
    return

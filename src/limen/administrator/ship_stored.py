"""What control's copy of a journal holds already: where it ends, and which record stands where."""

import os
from pathlib import Path
from typing import NamedTuple

from limen.administrator.ship_checks import frontier_of
from limen.journal import stored
from limen.journal.frame import Kind
from limen.journal.merkle import Frontier
from limen.journal.segments import SegmentName, assess_segment, checksum, mapped, read_seal


class End(NamedTuple):
    """The last segment of a copy, and its end.

    Attributes:
        tree: of the boot, at the end; None when it is not known.
        whole: nothing is missing in the segment.
    """

    boot: str
    number: int
    path: Path
    end: int
    sealed: bool
    size: int
    crc: int
    tree: Frontier | None
    whole: bool


def find_end(directory: Path) -> End | None:
    """Return where a copy ends, once what control's death left of an unfinished write is cut off."""
    for name in reversed(stored.list_stored(directory)):
        found = _end_compacted(name) if name.path.suffix == stored.COMPACTED else _end(name)
        if found is not None:
            return found
        name.path.unlink()  # control died before its first frame was there: nobody was told of it
    return None


def _end(name: SegmentName) -> End | None:
    """Return where a segment ends; None when there is not one sound frame in it."""
    with mapped(name.path) as data:
        found, seal, length = assess_segment(name.path, data), read_seal(data), len(data)
        crc = checksum(data[: found.good_end])
    if found.good_end == 0:
        return None
    if seal is None:
        os.truncate(name.path, found.good_end)
    whole = all(loss.offset + loss.size >= length for loss in found.losses)
    sealed = seal is not None
    return End(name.boot, name.number, name.path, found.end, sealed, found.good_end, crc, found.tree, whole)


def _end_compacted(name: SegmentName) -> End:
    seal = stored.seal(name)
    end, size, roots = (seal.end, seal.size, seal.frontier) if seal else (0, 0, None)
    return End(name.boot, name.number, name.path, end, True, size, 0, frontier_of(end, roots), True)


class Leaves:
    """The leaves of one stored segment at a time: costly, and no honest gateway needs them often.

    Attributes:
        read_bytes: what was read for them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._of: tuple[tuple[str, int], int] = (("", 0), -1)
        self._leaves: dict[tuple[int, int], bytes] = {}
        self.read_bytes = 0

    def leaf(self, segment: tuple[str, int], kind: int, position: int, size: int) -> bytes | None:
        """Return the leaf of what is stored; `size` is that of a segment that grows."""
        if self._of != (segment, size):
            names = [name for name in stored.list_stored(self._directory) if name[1:3] == segment]
            self.read_bytes += sum(name.path.stat().st_size for name in names)
            self._leaves = {
                _spot(part.kind, part.position): part.leaf
                for name in names
                for part in stored.parts(name)
                if isinstance(part, stored.StoredFrame)
            }
            self._of = (segment, size)
        return self._leaves.get(_spot(kind, position))


def _spot(kind: int, position: int) -> tuple[int, int]:
    """Return the key of a frame in its segment: header and seal share a position with a record."""
    return (kind if kind >= Kind.HEADER else 0, position)

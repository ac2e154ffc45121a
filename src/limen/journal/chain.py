"""The chain of segments that one boot of one node writes, and the older ones that retention removes."""

import secrets
import threading
from pathlib import Path

import structlog

from limen.core.clock import Clock
from limen.journal.frame import Kind
from limen.journal.merkle import Frontier, leaf_hash
from limen.journal.retention import Retention, expired_segments
from limen.journal.segment_file import SegmentFile, Write, sync_directory
from limen.journal.segments import (
    SegmentHeader,
    list_segments,
    mapped,
    read_seal,
)

SEGMENT_AGE_MAX_S = 86_400  # a quiet node's segments close daily too, so that retention by age bites

log = structlog.get_logger("limen.journal")


class Chain:
    """The open segment and its closed predecessors.

    Attributes:
        boot: name of this opening.
        tree: the Merkle tree of all records of this boot.
        lock: held by the writer for everything but `sync` and `tend`, which must not keep it waiting.
    """

    def __init__(self, directory: Path, clock: Clock, segment_bytes: int, write: Write) -> None:
        self._directory, self._clock, self._segment_bytes = directory, clock, segment_bytes
        self._write = write
        self._retired: list[SegmentFile] = []
        self.lock = threading.RLock()
        self._dirty = self._rotate_due = self._prune_due = False
        names = list_segments(directory)
        self.boot = f"{names[-1].boot_number + 1 if names else 1:08d}-{secrets.token_hex(4)}"
        self.tree = Frontier()
        previous, end = "", 0
        if names:
            with mapped(names[-1].path) as data:
                seal = read_seal(data)
            previous, end = names[-1].path.name, seal.end if seal else 0
        self._open = self._new_segment(1, 0, previous, end)
        sync_directory(directory)

    @property
    def node(self) -> str:
        """The node whose chain this is."""
        return self._directory.name

    def append(self, kind: Kind, payload: bytes) -> int:
        """Write one record and return its position. Raises OSError when it was not written (law J4)."""
        position = self._open.append(kind, payload)
        self.tree.add(leaf_hash(payload))
        self._dirty = True
        return position

    def rotate_if_due(self) -> bool:
        """Start the next segment when this one is full or a day old. Returns whether it did."""
        old = self._open
        if old.size < self._segment_bytes and not self._rotate_due:
            return False
        try:
            self._open = self._new_segment(old.header.number + 1, old.end, old.path.name, old.end)
        except OSError as error:  # no room: the old one goes on
            log.warning("journal.not_rotated", why=error.strerror)
            return False
        self._rotate_due, self._prune_due = False, True
        self._seal(old)
        self._retired.append(old)
        return True

    def sync(self) -> None:
        """Wait until all that was appended is on the disk. Raises OSError when the disk did not take it."""
        with self.lock:
            retired, self._retired = self._retired, []
            segment, dirty, self._dirty = self._open, self._dirty, False
        try:
            for old in retired:
                old.sync()
            if dirty:
                segment.sync()
            if retired:
                sync_directory(self._directory)
        finally:
            for old in retired:
                old.close()

    def tend(self, retention: Retention) -> None:
        """Apply retention after a new segment; make the next one due when this one is a day old."""
        if self._prune_due:
            self._prune_due = False
            self.prune(retention)
        header = self._open.header
        if self._open.end > header.first and self._clock.now() - header.at > SEGMENT_AGE_MAX_S:
            self._rotate_due = True

    def prune(self, retention: Retention) -> None:
        """Remove the segments that retention no longer keeps."""
        for name in expired_segments(list_segments(self._directory), retention, self._clock.now()):
            name.path.unlink()
            name.path.with_suffix(".cut").unlink(missing_ok=True)
            log.info("journal.segment_removed", segment=name.path.name)

    def close(self) -> None:
        """Close the open segment. Seal and sync it before."""
        self._open.close()

    def seal(self) -> None:
        """Write the last frame of the open segment."""
        self._seal(self._open)
        self._dirty = True

    def _seal(self, segment: SegmentFile) -> None:
        try:
            segment.seal(self._clock.now())
        except OSError as error:  # the next start seals it
            log.warning("journal.not_sealed", why=error.strerror)

    def _new_segment(self, number: int, first: int, previous: str, previous_end: int) -> SegmentFile:
        frontier = tuple(root.hex() for root in self.tree.roots)
        header = SegmentHeader(
            self.node, self.boot, number, first, self._clock.now(), previous, previous_end, frontier
        )
        return SegmentFile(self._directory, header, self._write)

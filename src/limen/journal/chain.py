"""The chain of segments that one boot of one node writes, and the older ones that retention removes."""

import secrets
import threading
from collections.abc import Sequence
from pathlib import Path

import structlog

from limen.core.clock import Clock
from limen.journal.checkpoints import CheckpointWriter
from limen.journal.frame import Kind
from limen.journal.merkle import Frontier, leaf_hash
from limen.journal.note import Signer
from limen.journal.removals import state_removal
from limen.journal.retention import Retention, expired_segments
from limen.journal.segment_file import SegmentFile, Write, sync_directory
from limen.journal.segments import (
    BootTree,
    SegmentHeader,
    SegmentName,
    list_segments,
    mapped,
    read_header,
    tree_at_end,
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

    def __init__(
        self, directory: Path, clock: Clock, segment_bytes: int, write: Write, signer: Signer | None = None
    ) -> None:
        """Begin a boot after those that are there. With a `signer`, its checkpoints are written."""
        self._directory, self._clock, self._segment_bytes = directory, clock, segment_bytes
        self._write = write
        self._retired: list[SegmentFile] = []
        self.lock = threading.RLock()
        self._dirty = self._rotate_due = self._prune_due = False
        names = list_segments(directory)
        self.boot = f"{names[-1].boot_number + 1 if names else 1:08d}-{secrets.token_hex(4)}"
        self.tree = Frontier()
        self._durable = Frontier()
        after = tree_at_end(names[-1]) if names else None
        previous, end = (names[-1].path.name, after.size) if after else ("", 0)
        self._open = self._new_segment(1, 0, previous, end, after)
        sync_directory(directory)
        self._signer, self._sealed = signer, False
        self._checkpoints = signer and CheckpointWriter(directory, signer, clock, self.boot, after)

    @property
    def directory(self) -> Path:
        """The folder of this node's segments."""
        return self._directory

    @property
    def node(self) -> str:
        """The node whose chain this is."""
        return self._directory.name

    def append(self, kind: Kind, payload: bytes) -> int:
        """Write one record and return its position. Raises OSError when it was not written (law J4)."""
        return self.append_many(((kind, payload),))

    def append_many(self, entries: Sequence[tuple[Kind, bytes]]) -> int:
        """Write records with one write; return the first one's position. OSError: none was (law J4)."""
        position = self._open.append_many(entries)
        for _, payload in entries:
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
        self._sealed = True
        self._retired.append(old)
        return True

    def sync(self) -> None:
        """Wait until all that was appended is on the disk. Raises OSError when the disk did not take it."""
        with self.lock:
            retired, self._retired = self._retired, []
            segment, dirty, self._dirty = self._open, self._dirty, False
            tree = self.tree.copy() if dirty or retired else self._durable
        try:
            for old in retired:
                old.sync()
            if dirty:
                segment.sync()
            if retired:
                sync_directory(self._directory)
            self._note_durable(tree)
        finally:
            for old in retired:
                old.close()

    def _note_durable(self, tree: Frontier) -> None:
        with self.lock:
            self._durable = max(self._durable, tree, key=lambda one: one.size)

    def tend(self, retention: Retention) -> None:
        """Write a checkpoint; apply retention after a new segment; make the next due after a day."""
        self._checkpoint(at_once=self._sealed)
        self._sealed = False
        if self._prune_due:
            self._prune_due = False
            self.prune(retention)
        header = self._open.header
        if self._open.end > header.first and self._clock.now() - header.at > SEGMENT_AGE_MAX_S:
            self._rotate_due = True

    def prune(self, retention: Retention) -> None:
        """Remove the segments that retention no longer keeps."""
        names = list_segments(self._directory)
        expired = expired_segments(names, retention, self._clock.now())
        try:
            if expired and self._signer is not None:
                self._state_removal(names[len(expired)], self._signer)
        except OSError as error:  # what goes without a word is a doubt for ever
            log.warning("journal.not_pruned", why=error.strerror)
            return
        for name in expired:
            name.path.unlink(missing_ok=True)
            name.path.with_suffix(".cut").unlink(missing_ok=True)
            log.info("journal.segment_removed", segment=name.path.name)

    def _state_removal(self, kept: SegmentName, signer: Signer) -> None:
        with mapped(kept.path) as data:
            header = read_header(data)
        if header is not None:
            state_removal(self._directory, signer, header.boot, header.first, self._clock.now())

    def close(self) -> None:
        """Close the open segment, with a checkpoint of what was synced. Seal and sync it before."""
        self._checkpoint(at_once=True)
        self._open.close()

    def _checkpoint(self, *, at_once: bool) -> None:
        if self._checkpoints:
            with self.lock:
                tree = self._durable
            self._checkpoints.offer(tree, now=self._clock.now(), at_once=at_once)

    def seal(self) -> None:
        """Write the last frame of the open segment."""
        self._seal(self._open)
        self._dirty = True

    def _seal(self, segment: SegmentFile) -> None:
        try:
            segment.seal(self._clock.now(), self.tree.render())
        except OSError as error:  # the next start seals it
            log.warning("journal.not_sealed", why=error.strerror)

    def _new_segment(
        self, number: int, first: int, previous: str, previous_end: int, after: BootTree | None = None
    ) -> SegmentFile:
        now, frontier = self._clock.now(), self.tree.render()
        header = SegmentHeader(
            self.node, self.boot, number, first, now, previous, previous_end, frontier, after
        )
        return SegmentFile(self._directory, header, self._write)

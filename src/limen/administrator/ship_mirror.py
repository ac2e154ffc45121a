"""Control's copy of one journal of another machine: the same bytes, kept once, never overwritten.

Laws:
    H1 same. The copy's records are the gateway's, in order and byte for byte, up to the place it names.
    H2 kept. What was synced before `place` was told survives the death of control at any moment.
    H3 once. What is there already and comes again changes nothing; anything else in its place is refused
        with an alarm, whatever order, cuts and repetitions it comes in.
    H4 whole. A gap is taken only from a gateway that says so, and is told.
"""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from limen.administrator.ship_checks import (
    Alarm,
    Gap,
    fork,
    frontier_of,
    parse_edge,
    verify_record,
)
from limen.administrator.ship_stored import Leaves, find_end
from limen.administrator.ship_wire import NOWHERE, Batch, Place, hash_note
from limen.core.clock import Clock
from limen.core.errors import Conflict
from limen.journal import stored
from limen.journal.checkpoints import CHECKPOINTS, append_note, open_checkpoint, read_notes
from limen.journal.frame import Kind, encode_frame
from limen.journal.merkle import Frontier, leaf_hash
from limen.journal.note import NoteRefused
from limen.journal.opening import lock_node
from limen.journal.segment_file import sync_directory
from limen.journal.segments import (
    Seal,
    SegmentHeader,
    segment_path,
)

SEGMENT_COST_BYTES = 256 * 1024  # that a new segment counts for, so that nobody makes a million
GAP_COST_BYTES = 16 * 1024 * 1024  # likewise: each is an event
MARK = "mirror"  # names the gateway whose journal this is a copy of


class Mirror:
    """The copy of `journal`, which is the gateway `node`'s. Used by one thread at a time."""

    def __init__(
        self, root: Path, journal: str, node: str, clock: Clock, on_gap: Callable[[Gap], None]
    ) -> None:
        """Take the folder and find out how far it is.

        Raises:
            Conflict: it is no copy, or another process writes it.
            Refused: it is the copy of another gateway's journal.
        """
        self._journal, self._node, self._clock, self._on_gap = journal, node, clock, on_gap
        self._directory, self._lock = lock_node(root, journal)
        self._file = -1
        self._fresh = self._dirty = False
        self._known = Leaves(self._directory)
        self._cost_bytes = 0
        self._boot, self._number, self._end, self._sealed = NOWHERE, 0, 0, False
        self._size = self._crc = 0
        self._tree: Frontier | None = Frontier()
        self._whole = True
        try:
            self._claim()
            self._load()
            kept = read_notes(self._directory / CHECKPOINTS).notes
            self._notes = dict.fromkeys(map(hash_note, kept))
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def place(self) -> Place:
        """How far the copy is. After `sync`, that is on the disk."""
        size = self._size if self._whole else 0
        notes = next(reversed(self._notes), "")
        return Place(self._boot, self._number, self._end, self._sealed, size, notes)

    def take_cost(self) -> int:
        """Return what was done since this was last asked, in bytes."""
        cost = self._cost_bytes + self._known.read_bytes
        self._cost_bytes = self._known.read_bytes = 0
        return cost

    def take(self, batch: Batch) -> None:
        """Store what is new of a batch.

        Raises:
            Alarm: it does not fit what is stored, or what a journal of this gateway can hold.
            OSError: the disk did not take it; nothing of that record stays.
        """
        position, gap = batch.first, batch.gap
        for kind, raw in batch.frames:
            payload = bytes(raw)
            self._cost_bytes += len(payload)
            self._take(batch, kind, position, payload, gap)
            position, gap = position + (kind < Kind.HEADER), False

    def take_notes(self, notes: tuple[str, ...]) -> None:
        """Store the checkpoints that are new. Who signed them is for whoever believes them to find out.

        Raises:
            Alarm: one is no checkpoint of this journal.
            OSError: the disk did not take it.
        """
        for text in notes:
            data = text.encode()
            self._cost_bytes += len(data)
            if hash_note(data) in self._notes:
                continue
            try:
                signed = open_checkpoint(data)
            except NoteRefused:
                signed = None
            if signed is None or signed.checkpoint.node != self._journal:
                raise Alarm(
                    "What was sent is no checkpoint of this journal.",
                    code="JOURNAL_FORGED",
                    journal=self._journal,
                )
            append_note(self._directory / CHECKPOINTS, signed.note)
            self._notes[hash_note(data)] = None

    def sync(self) -> None:
        """Wait until everything stored is on the disk (law H2)."""
        if self._dirty:
            os.fdatasync(self._file)
            self._dirty = False
        if self._fresh:
            sync_directory(self._directory)
            self._fresh = False

    def close(self) -> None:
        """Let go of the folder."""
        if self._file >= 0:
            os.close(self._file)
        os.close(self._lock)

    # --- what is there ----------------------------------------------------------------------------

    def _claim(self) -> None:
        mark = self._directory / MARK
        if not mark.exists():
            if stored.list_stored(self._directory):
                raise Conflict(
                    f"The journal '{self._journal}' is of this machine's own.",
                    remedy="Join that gateway under another name.",
                    code="JOURNAL_TAKEN",
                )
            mark.write_text(self._node)
            self._fresh = True
        if mark.read_text() != self._node:
            raise Alarm(
                f"The journal '{self._journal}' is another gateway's.",
                code="JOURNAL_FORGED",
                journal=self._journal,
            )

    def _load(self) -> None:
        found = find_end(self._directory)
        if found is None:
            return
        self._boot, self._number, self._end, self._sealed = found.boot, found.number, found.end, found.sealed
        self._size, self._crc, self._tree, self._whole = found.size, found.crc, found.tree, found.whole
        if not found.sealed:
            self._file = os.open(found.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)

    # --- one frame ----------------------------------------------------------------------------------

    def _take(self, batch: Batch, kind: int, position: int, payload: bytes, gap: bool) -> None:
        here, there = (self._boot, self._number), (batch.boot, batch.number)
        if there > here:
            self._begin(batch, kind, position, payload, gap)
        elif there < here or kind == Kind.HEADER or position < self._end or self._sealed:
            self._compare(there, kind, position, payload)
        elif position > self._end and not gap:
            raise self._missing(batch, position)
        else:
            self._check(kind, position, payload)
            if position > self._end:
                self._skip(batch, position)
            self._append(kind, position, payload)

    def _compare(self, there: tuple[str, int], kind: int, position: int, payload: bytes) -> None:
        """Refuse what differs from what is stored in its place (law H3)."""
        here = (self._boot, self._number)
        kept = self._known.leaf(there, kind, position, self._size if there == here else -1)
        shown = leaf_hash(payload)
        where = {"journal": self._journal, "boot": there[0], "position": position}
        if kept is None and there[0][:8] == self._boot[:8] and there[0] != self._boot:
            raise fork("Another boot of this number is stored.", **where)
        if kept is None and there < here:
            raise Alarm("A segment from before those that are stored.", code="JOURNAL_OLD", **where)
        if kept is None:
            raise fork("A record behind the end of a segment that is stored.", **where)
        if kept != shown:
            raise fork("Another record is stored there.", **where, kept=kept.hex(), shown=shown.hex())

    def _check(self, kind: int, position: int, payload: bytes) -> None:
        """Refuse what is no record of this gateway, or a seal that does not fit what was sent before."""
        if kind != Kind.SEAL:
            verify_record(kind, position, payload, {self._node, self._journal})
        elif self._whole:
            seal = parse_edge(payload, Seal)
            if (seal.size, seal.crc, seal.end) != (self._size, self._crc, self._end):
                raise fork("The seal is of other records.", journal=self._journal, boot=self._boot)

    def _append(self, kind: int, position: int, payload: bytes) -> None:
        frame = encode_frame(kind, position, payload)
        self._dirty = True
        self._write(self._file, frame, self._size)
        self._size, self._crc = self._size + len(frame), zlib.crc32(frame, self._crc)
        self._end, self._sealed = position + (kind < Kind.HEADER), kind == Kind.SEAL
        if kind < Kind.HEADER and self._tree is not None:
            self._tree.add(leaf_hash(payload))

    def _write(self, file: int, data: bytes, size: int) -> None:
        """Write all or nothing behind `size`."""
        try:
            written = 0
            while written < len(data):
                written += os.write(file, data[written:])
        except OSError:
            os.ftruncate(file, size)
            raise

    # --- segments -----------------------------------------------------------------------------------

    def _begin(self, batch: Batch, kind: int, position: int, payload: bytes, gap: bool) -> None:
        """Begin the copy of another segment with its header."""
        where = {"journal": self._journal, "boot": batch.boot, "position": position}
        if batch.boot != self._boot and batch.boot[:8] == self._boot[:8]:
            raise fork("Another boot of this number is stored.", **where)
        if kind != Kind.HEADER:
            raise self._missing(batch, position)
        header = parse_edge(payload, SegmentHeader)
        named = (header.node, header.boot, header.number, header.first)
        if named != (self._journal, batch.boot, batch.number, position):
            raise Alarm("The header is of another segment.", code="JOURNAL_FORGED", **where)
        same_boot = header.boot == self._boot
        if same_boot and header.first < self._end:
            raise fork("A segment begins before the end of the one before it.", **where)
        if not self._continues(header):
            if not gap:
                raise self._missing(batch, position)
            self._tell_gap(batch, header.first - self._end if same_boot else None)
        elif same_boot and self._tree is not None and header.frontier not in (None, self._tree.render()):
            raise fork("The tree of this boot is another one.", **where)
        self._turn(header, payload)

    def _continues(self, header: SegmentHeader) -> bool:
        if not self._boot:
            return not header.previous
        follows = (
            (header.number, header.first) == (self._number + 1, self._end)
            if header.boot == self._boot
            else (header.number, header.first) == (1, 0)
        )
        before = segment_path(self._directory, self._boot, self._number).stem
        return follows and Path(header.previous).stem == before and header.previous_end == self._end

    def _turn(self, header: SegmentHeader, payload: bytes) -> None:
        """Make the new file, then leave the old one."""
        if self._boot and not self._sealed:
            frontier = None if self._tree is None else self._tree.render()
            seal = Seal(self._size, self._crc, self._end, self._clock.now(), True, frontier)
            self._append(Kind.SEAL, self._end, msgspec.json.encode(seal))
        path = segment_path(self._directory, header.boot, header.number)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        frame = encode_frame(Kind.HEADER, header.first, payload)
        try:
            self._write(file, frame, 0)
        except OSError:
            os.close(file)
            path.unlink()
            raise
        if self._file >= 0:
            os.fdatasync(self._file)
            os.close(self._file)
        self._file, self._fresh, self._dirty = file, True, True
        self._boot, self._number, self._end, self._sealed = header.boot, header.number, header.first, False
        self._size, self._crc, self._whole = len(frame), zlib.crc32(frame), True
        self._tree = frontier_of(header.first, header.frontier)
        self._cost_bytes += SEGMENT_COST_BYTES

    def _missing(self, batch: Batch, position: int) -> Alarm:
        return Alarm(
            "Records are missing before these.",
            code="JOURNAL_GAP",
            journal=self._journal,
            boot=batch.boot,
            position=position,
            expected=self._end,
        )

    def _skip(self, batch: Batch, position: int) -> None:
        self._tell_gap(batch, position - self._end)
        self._end, self._tree, self._whole = position, None, False

    def _tell_gap(self, batch: Batch, records: int | None) -> None:
        self._cost_bytes += GAP_COST_BYTES
        after = f"{self._boot}-{self._number:08d}" if self._boot else NOWHERE
        self._on_gap(Gap(self._journal, batch.boot, after, records))

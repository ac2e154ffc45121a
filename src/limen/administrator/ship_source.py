"""A gateway's own journals, read for shipping: what is on its disk behind the place that control names.

Nothing is sent that this machine could still lose: the file is synced up to where it is read. Whose journal
it is does not matter, so those of a brain that is gone are sent as well.

Laws:
    H5 synced. What is sent was on this machine's disk before.
    H6 all. From whatever place, the frames of all batches together are those that stand behind it, in order.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from limen.administrator.ship_wire import (
    BATCH_BYTES,
    BATCH_FRAMES,
    BATCH_KEYS,
    NOWHERE,
    Batch,
    Place,
    hash_note,
)
from limen.journal import stored
from limen.journal.checkpoints import CHECKPOINTS, read_notes
from limen.journal.frame import Damage, Kind, scan
from limen.journal.segments import SUFFIX, SegmentName
from limen.journal.stored import StoredFrame

READ_BYTES = BATCH_BYTES + 256 * 1024
_KEY = re.compile(rb'"(?:__key|key|actor_key)":"([0-9a-f]{16})"')


class Read(NamedTuple):
    """Frames that stand one after the other, the first at `first`; `end` is the offset behind the last.

    `gap`: what stood before the first is damaged.
    """

    first: int
    frames: list[tuple[int, bytes]]
    end: int
    gap: bool


class Source:
    """The journals below `root`. Used by one thread at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._offsets: dict[str, tuple[str, int, int, int]] = {}  # only a shortcut: boot, number, end, offset
        self._notes: dict[str, tuple[tuple[int, int], tuple[bytes, ...]]] = {}
        self._unsealed: dict[str, tuple[str, int]] = {}  # journal: a segment seen without its seal

    def next(self, journal: str, place: Place) -> Batch | None:
        """Return what comes after `place`, or None when there is nothing yet."""
        names = stored.list_stored(self._root / journal)
        here = (place.boot, place.number)
        for index, name in enumerate(names):
            there = (name.boot, name.number)
            if there == here and not place.sealed:
                read = self._read(journal, name, place)
                if read.frames:
                    return self._batch(journal, name, read, read.gap)
                if index + 1 < len(names) and not self._patient(journal, there):
                    continue
                return None
            if there > here:
                read = self._read(journal, name, None)
                if not read.frames:
                    return None
                return self._batch(journal, name, read, not _continues(name, place))
        return None

    def left(self, journal: str, place: Place) -> int:
        """Return about how many bytes stand behind `place`."""
        total = 0
        for name in stored.list_stored(self._root / journal):
            there = (name.boot, name.number)
            if there > (place.boot, place.number):
                total += _size(name)
            elif there == (place.boot, place.number) and not place.sealed:
                total += max(0, _size(name) - place.size)
        return total

    def notes(self, journal: str) -> tuple[bytes, ...]:
        """Return a journal's checkpoints. Ask before its records are read: what they cover goes first."""
        path = self._root / journal / CHECKPOINTS
        try:
            seen = path.stat()
        except FileNotFoundError:
            return ()
        stamp = (seen.st_ino, seen.st_size)
        if journal not in self._notes or self._notes[journal][0] != stamp:
            self._notes[journal] = (stamp, read_notes(path).notes)
        return self._notes[journal][1]

    def _patient(self, journal: str, segment: tuple[str, int]) -> bool:
        """Whether to look once more for a seal: a writer begins the next segment before it seals this one."""
        seen, self._unsealed[journal] = self._unsealed.get(journal), segment
        return seen != segment

    def _batch(self, journal: str, name: SegmentName, read: Read, gap: bool) -> Batch:
        position = read.first + sum(1 for kind, _ in read.frames if kind < Kind.HEADER)
        if read.frames[-1][0] != Kind.SEAL:  # which has the position of what would come next
            self._offsets[journal] = (name.boot, name.number, position, read.end)
        frames = tuple((kind, msgspec.Raw(payload)) for kind, payload in read.frames)
        return Batch(journal, name.boot, name.number, read.first, frames, gap=gap)

    def _read(self, journal: str, name: SegmentName, place: Place | None) -> Read:
        """Return what a segment holds behind `place`, or from its header on."""
        path = name.path.with_suffix(SUFFIX)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return _Collector(place).collect(_stored_parts(name, place))
        try:
            size = os.fstat(file).st_size
            known = self._offsets.get(journal)
            offset = 0
            if place is not None:
                exact = known is not None and known[:3] == (place.boot, place.number, place.end)
                offset = known[3] if known is not None and exact else place.size
            if offset < size or place is None:
                os.fdatasync(file)
            return _Collector(place).collect(_parts(file, offset if offset <= size else 0, size))
        finally:
            os.close(file)


def key_ids(batch: Batch) -> list[str]:
    """Return the keys that the records of a batch are sealed under. They need not exist."""
    found = (match.decode() for _, payload in batch.frames for match in _KEY.findall(bytes(payload)))
    return list(dict.fromkeys(found))


class _Collector:
    """Takes frames until a batch is full, or damage stands behind them."""

    def __init__(self, place: Place | None) -> None:
        self._place = place
        self._expected = place.end if place else None
        self._bytes, self._keys = 0, set[bytes]()
        self.read = Read(0, [], 0, False)

    def collect(self, parts: Iterator[tuple[StoredFrame | Damage, int]]) -> Read:
        """Return what was taken."""
        for part, end in parts:
            frames = self.read.frames
            if isinstance(part, Damage) or part.payload is None:
                if frames:
                    break
                self.read = self.read._replace(gap=True)
            elif not self._known(part):
                if frames and (part.position != self._expected or self._full(part.payload)):
                    break
                self._take(part, part.payload, end)
        return self.read

    def _known(self, part: StoredFrame) -> bool:
        place = self._place
        return place is not None and (part.kind == Kind.HEADER or part.position < place.end)

    def _full(self, payload: bytes) -> bool:
        keys = len(self._keys | set(_KEY.findall(payload)))
        frames = len(self.read.frames)
        return self._bytes + len(payload) > BATCH_BYTES or frames == BATCH_FRAMES or keys > BATCH_KEYS

    def _take(self, part: StoredFrame, payload: bytes, end: int) -> None:
        read = self.read
        if not read.frames:
            skipped = self._expected is not None and part.position > self._expected
            read = read._replace(first=part.position, gap=read.gap or skipped)
        read.frames.append((part.kind, payload))
        self.read = read._replace(end=end)
        self._bytes += len(payload)
        self._keys |= set(_KEY.findall(payload))
        self._expected = part.position + (part.kind < Kind.HEADER)


def _parts(file: int, offset: int, size: int) -> Iterator[tuple[StoredFrame | Damage, int]]:
    """Yield what stands in a file from `offset` to `size`, each with its end; not an unfinished end."""
    wanted = READ_BYTES
    while offset < size:
        data = os.pread(file, min(wanted, size - offset), offset)
        start = offset
        for part in scan(data):
            if isinstance(part, Damage):
                if part.end == len(data):
                    break
                yield part, start + part.end
            else:
                yield StoredFrame(part.kind, part.position, part.payload), start + part.end
            offset = start + part.end
        if not data or start + len(data) >= size:
            return
        wanted = READ_BYTES if offset > start else wanted * 2


def _stored_parts(name: SegmentName, place: Place | None) -> Iterator[tuple[StoredFrame | Damage, int]]:
    """Yield the same of a segment that was compacted; nothing of one that is gone."""
    if stored.compacted_path(name).exists():
        for part in stored.parts(name, place.end if place else 0):
            yield part, 0


def _continues(name: SegmentName, place: Place) -> bool:
    """Whether a segment begins where `place` ends."""
    header = stored.header(name)
    if header is None:
        return False
    if place.boot == NOWHERE:
        return not header.previous
    before = f"{place.boot}-{place.number:08d}"
    return Path(header.previous).stem == before and header.previous_end == place.end


def _size(name: SegmentName) -> int:
    try:
        return name.path.stat().st_size
    except FileNotFoundError:
        return 0


def notes_after(notes: tuple[bytes, ...], newest: str) -> tuple[bytes, ...]:
    """Return the checkpoints behind the one of this hash; all, where it is not among them."""
    places = [place for place, note in enumerate(notes) if hash_note(note) == newest]
    return notes[places[-1] + 1 :] if places else notes

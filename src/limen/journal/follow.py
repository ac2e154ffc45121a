"""Following the journals: everything that was written since, once and in order, from a cursor that lasts.

Laws:
    J6 followed. Whoever polls from a cursor gets each record after it once, in the order of its node,
        beside a writer in the middle of a write, and while rotation, compaction and retention replace
        what was read or is about to be.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

import structlog

from limen.core.errors import Invalid
from limen.core.record import Record
from limen.journal import stored
from limen.journal.frame import Damage, Kind, scan
from limen.journal.keys import Keys
from limen.journal.records import decode_payload
from limen.journal.segments import SUFFIX, SegmentName
from limen.journal.stored import StoredFrame

POLL_LIMIT = 10_000  # records in one answer
_READ_BYTES = 4 * 1024 * 1024
_TAIL_BYTES = 64 * 1024

log = structlog.get_logger("limen.journal")


class Stored(NamedTuple):
    """A record and its place."""

    node: str
    boot: str
    position: int
    record: Record


class StoredLeaf(NamedTuple):
    """A record as it was written, and its place."""

    node: str
    boot: str
    frame: StoredFrame


class _Place(NamedTuple):
    """Where the next frame of a node is expected: only a shortcut, the cursor is the truth."""

    boot: str
    number: int
    offset: int


class Follower:
    """Gives what was written since its cursor. Not for several threads at once.

    Attributes:
        unreadable: records passed over because they are none that this release knows.
    """

    def __init__(
        self,
        root: Path,
        cursor: Mapping[str, tuple[str, int]] | None = None,
        *,
        nodes: Collection[str] | None = None,
    ) -> None:
        """Follow the journals under `root`, or those of `nodes` alone; without a cursor, from their start."""
        self._root = root
        self._nodes = nodes
        self._keys = Keys.open(root)
        self._cursor = {node: (boot, position) for node, (boot, position) in (cursor or {}).items()}
        self._places: dict[str, _Place] = {}
        self._last_served = ""
        self.unreadable = 0

    @classmethod
    def from_now(cls, root: Path, *, nodes: Collection[str] | None = None) -> Self:
        """Follow what is written from now on."""
        follower = cls(root, nodes=nodes)
        for node in follower._followed():
            follower._skip_to_end(node)
        return follower

    @property
    def cursor(self) -> dict[str, tuple[str, int]]:
        """Node to boot and position of the next record. JSON-ready; where another follower can go on."""
        return dict(self._cursor)

    def poll(self, limit: int = POLL_LIMIT) -> list[Stored]:
        """Return at most `limit` records written since, node after node. Empty: nothing is new."""
        found: list[Stored] = []
        while len(found) < limit:
            leaves = self.poll_leaves(limit - len(found))
            if not leaves:
                break
            for leaf in leaves:
                record = self._decode(leaf)
                if record is not None:
                    found.append(Stored(leaf.node, leaf.boot, leaf.frame.position, record))
        return found

    def poll_leaves(self, limit: int = POLL_LIMIT) -> list[StoredLeaf]:
        """Return the same undecoded, those whose payload was removed included."""
        found: list[StoredLeaf] = []
        nodes = self._followed()
        after = [node for node in nodes if node > self._last_served]
        for node in (*after, *nodes[: len(nodes) - len(after)]):  # so that a busy node keeps none waiting
            if len(found) == limit:
                break
            self._last_served = node
            for leaf in self._new(node):
                found.append(leaf)
                if len(found) == limit:
                    break
        return found

    # --- inside -----------------------------------------------------------------------------------

    def _followed(self) -> tuple[str, ...]:
        nodes = stored.list_nodes(self._root)
        return nodes if self._nodes is None else tuple(node for node in nodes if node in self._nodes)

    def _decode(self, leaf: StoredLeaf) -> Record | None:
        if leaf.frame.payload is None:
            return None
        try:
            return decode_payload(leaf.frame.payload, leaf.frame.position, self._keys)
        except Invalid as error:  # one that cannot be read must not keep back all that follow
            self.unreadable += 1
            log.error("journal.unreadable", node=leaf.node, boot=leaf.boot, why=error.message)
            return None

    def _new(self, node: str) -> Iterator[StoredLeaf]:
        """Yield what is new of one node. The cursor has moved on when a record is given out."""
        for name in self._unread(node):  # listed first: one that has a successor is written to its end
            for frame, end in _frames(name, self._offset(node, name), self._next(node, name.boot)):
                self._places[node] = _Place(name.boot, name.number, end)
                if frame.kind < Kind.HEADER and frame.position >= self._next(node, name.boot):
                    self._cursor[node] = (name.boot, frame.position + 1)
                    yield StoredLeaf(node, name.boot, frame)

    def _unread(self, node: str) -> tuple[SegmentName, ...]:
        """Return the segments that can hold something new, oldest first."""
        names = stored.list_stored(self._root / node)
        boot, position = self._cursor.get(node, ("", 0))
        place = self._places.get(node)
        if place is not None:
            return tuple(name for name in names if (name.boot, name.number) >= (place.boot, place.number))
        names = tuple(name for name in names if name.boot >= boot)
        for index in range(len(names) - 1, 0, -1):
            header = stored.header(names[index]) if names[index].boot == boot else None
            if header is not None and header.first <= position:
                return names[index:]
        return names

    def _offset(self, node: str, name: SegmentName) -> int:
        place = self._places.get(node)
        here = place is not None and (place.boot, place.number) == (name.boot, name.number)
        return place.offset if place is not None and here else 0

    def _next(self, node: str, boot: str) -> int:
        at, position = self._cursor.get(node, ("", 0))
        return position if at == boot else 0

    def _skip_to_end(self, node: str) -> None:
        names = stored.list_stored(self._root / node)
        for name in names[-1:]:
            near_end = max(0, _size(name) - _TAIL_BYTES)
            for offset in (near_end, 0) if near_end else (0,):  # a mark tells where a frame starts
                for frame, end in _frames(name, offset, 0):
                    self._cursor[node] = (name.boot, frame.position + (frame.kind < Kind.HEADER))
                    self._places[node] = _Place(name.boot, name.number, end)
                if node in self._places:
                    return


def _frames(name: SegmentName, offset: int, position: int) -> Iterator[tuple[StoredFrame, int]]:
    """Yield the frames behind `offset`, each with its end; of a compacted segment, from `position` on."""
    try:
        file = os.open(name.path.with_suffix(SUFFIX), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield from ((frame, 0) for frame in stored.frames(name, position))
        return
    try:
        yield from _read(file, offset)
    finally:
        os.close(file)


def _read(file: int, offset: int) -> Iterator[tuple[StoredFrame, int]]:
    """Read in pieces, never by a map: the file may be cut at its end meanwhile."""
    size = os.fstat(file).st_size
    if size < offset:  # cut: the positions say what is known already
        offset = 0
    wanted = _READ_BYTES
    while offset < size:
        data = os.pread(file, min(wanted, size - offset), offset)
        whole = offset + len(data) >= size
        start = offset
        for part in scan(data):
            if isinstance(part, Damage) and part.end == len(data):
                break
            offset = start + part.end
            if not isinstance(part, Damage):
                yield StoredFrame(part.kind, part.position, part.payload), offset
        if whole or not data:
            return
        wanted = _READ_BYTES if offset > start else wanted * 2


def _size(name: SegmentName) -> int:
    try:
        return name.path.with_suffix(SUFFIX).stat().st_size
    except FileNotFoundError:
        return 0

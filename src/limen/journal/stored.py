"""One way to read a segment, whatever form it has: `.seg` as it was written, `.parquet` once compacted.

While one form replaces the other both may lie there for a moment; whoever opens a segment by its name
gets the one that is there. A segment that retention removed meanwhile reads as empty.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from limen.journal.frame import Damage, Kind, scan
from limen.journal.merkle import leaf_hash
from limen.journal.segments import (
    SUFFIX,
    Seal,
    SegmentHeader,
    SegmentName,
    is_sealed,
    mapped,
    read_header,
    read_seal,
)

COMPACTED = ".parquet"
_NAME = re.compile(r"(?P<boot>(?P<boot_number>\d{8})-[0-9a-f]{8})-(?P<number>\d{8})\.(seg|parquet)")
_Edge = TypeVar("_Edge", SegmentHeader, Seal)


class StoredFrame(NamedTuple):
    """One frame of a stored segment.

    Attributes:
        payload: as it was written; None when retention removed it.
        kept_leaf: hash of a payload that was removed.
    """

    kind: int
    position: int
    payload: bytes | None
    kept_leaf: bytes = b""

    @property
    def leaf(self) -> bytes:
        """The record's leaf in the tree of its boot."""
        return self.kept_leaf if self.payload is None else leaf_hash(self.payload)


def list_nodes(root: Path) -> tuple[str, ...]:
    """Return the nodes whose journals lie under a folder."""
    if not root.is_dir():
        return ()
    return tuple(sorted(path.name for path in root.iterdir() if path.is_dir()))


def journals_of(root: Path, node: str) -> tuple[str, ...]:
    """Return the journals of a node: the one of that name, and those of its slots and of its joinings."""
    own = re.compile(rf"{re.escape(node)}(-j[0-9]+)?(-[a-z])?")
    return tuple(name for name in list_nodes(root) if own.fullmatch(name))


def list_stored(directory: Path) -> tuple[SegmentName, ...]:
    """Return the segments of one node in either form, oldest first. One that has both counts as `.seg`."""
    found: dict[tuple[str, int], SegmentName] = {}
    for path in sorted(directory.glob(f"*{COMPACTED}")) + sorted(directory.glob(f"*{SUFFIX}")):
        match = _NAME.fullmatch(path.name)
        if match:
            name = SegmentName(int(match["boot_number"]), match["boot"], int(match["number"]), path)
            found[name.boot, name.number] = name
    return tuple(sorted(found.values()))


def parts(name: SegmentName, start: int = 0) -> Iterator[StoredFrame | Damage]:
    """Yield the frames from position `start` on, HEADER and SEAL included, and the damage between them.

    The unfinished end of a segment that is being written is damage that reaches the end of the file.
    """
    with opened(name) as data:
        if data is not None:
            for part in scan(data):
                if isinstance(part, Damage):
                    yield part
                elif part.position >= start:
                    yield StoredFrame(part.kind, part.position, part.payload)
            return
    from limen.journal import parquet

    yield from parquet.read_parts(compacted_path(name), start)


def frames(name: SegmentName, start: int = 0) -> Iterator[StoredFrame]:
    """Yield the records' frames from position `start` on."""
    for part in parts(name, start):
        if isinstance(part, StoredFrame) and part.kind < Kind.HEADER:
            yield part


def header(name: SegmentName) -> SegmentHeader | None:
    """Return what a segment says of itself, or None when that is damaged or gone."""
    with opened(name) as data:
        if data is not None:
            return read_header(data)
    payload = _edge(name, Kind.HEADER)
    return None if payload is None else _decode(payload, SegmentHeader)


def seal(name: SegmentName) -> Seal | None:
    """Return the seal of a segment, or None when it has none, or a damaged one."""
    with opened(name) as data:
        if data is not None:
            return read_seal(data)
    payload = _edge(name, Kind.SEAL)
    return None if payload is None else _decode(payload, Seal)


def compacted_path(name: SegmentName) -> Path:
    """Return where a segment lies once it is compacted."""
    return name.path.with_suffix(COMPACTED)


@contextmanager
def opened(name: SegmentName) -> Iterator[memoryview | None]:
    """Give the bytes of a `.seg`; None when the segment is compacted, or gone.

    A sealed file is mapped. One that is still written is read: its torn end may be cut off meanwhile,
    and who touches a map beyond the end of its file dies of it.
    """
    path = name.path.with_suffix(SUFFIX)
    if not path.exists():
        yield None
    elif is_sealed(path):
        with mapped(path) as data:
            yield data if len(data) else None
    else:
        try:
            read = path.read_bytes()
        except FileNotFoundError:
            yield None
            return
        yield memoryview(read)


def _edge(name: SegmentName, kind: Kind) -> bytes | None:
    from limen.journal import parquet

    return parquet.read_edge(compacted_path(name), kind)


def _decode(payload: bytes, type_: type[_Edge]) -> _Edge | None:
    try:
        return msgspec.json.decode(payload, type=type_)
    except msgspec.MsgspecError:
        return None

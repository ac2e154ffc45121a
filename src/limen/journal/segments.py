"""Segment files: their names, first and last frame, and the check at start.

    JOURNAL/<node>/<boot>-<number>.seg     frames: HEADER, records …, SEAL
    JOURNAL/<node>/<boot>-<number>.cut     a torn end that was cut off, kept for whoever asks

A boot is one opening of the journal by one writer. A segment with a SEAL is never written again; the
seal carries a checksum of the whole file. Only a segment without one can end in a torn write.
"""

import mmap
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from limen.core.ids import Instant
from limen.journal.frame import Damage, Frame, Kind, encode_frame, parse_frame, scan
from limen.journal.merkle import Frontier, leaf_hash

SUFFIX = ".seg"
_NAME = re.compile(r"(?P<boot>(?P<boot_number>\d{8})-[0-9a-f]{8})-(?P<number>\d{8})\.seg")
_SEAL_FRAME_BYTES_MAX = 4096
_CHUNK_BYTES = 1 << 20  # zlib.crc32 lets other threads run for chunks of this size


class BootTree(msgspec.Struct, frozen=True):
    """The whole tree of a boot that ended. `root` is hex; empty when it is not known: see `tree_at_end`."""

    boot: str
    size: int
    root: str = ""


class SegmentHeader(msgspec.Struct, frozen=True):
    """What a segment says of itself in its first frame.

    `previous` names the segment before it, of an earlier boot perhaps, and `previous_end` says at
    which position that one ended: a segment that is gone or was cut short shows. `frontier` is that of
    the boot's tree before this segment (hex; None in one that release 0.1 wrote). `after`, in the first
    segment of a boot, is the tree of the boot before it: so the trees are chained.
    """

    node: str
    boot: str
    number: int
    first: int
    at: Instant
    previous: str = ""
    previous_end: int = 0
    frontier: tuple[str, ...] | None = None
    after: BootTree | None = None


class Seal(msgspec.Struct, frozen=True):
    """The last frame. `crc` covers the `size` bytes before it; `end` is the position after the last record.

    `recovered` says that a later boot wrote it, because the writer did not. `frontier` is that of the
    boot's tree after this segment (hex; None when release 0.1 wrote the segment, or damage took a part).
    """

    size: int
    crc: int
    end: int
    at: Instant
    recovered: bool = False
    frontier: tuple[str, ...] | None = None


class Loss(NamedTuple):
    """What was written and cannot be read any more.

    Attributes:
        segment: path of the file.
        offset, size: the damaged bytes; size 0 when whole frames or files are missing.
        records: how many records are known to be missing; 0 for a torn write, which nobody was
            ever told had been kept; None when it cannot be known.
    """

    segment: str
    offset: int
    size: int
    records: int | None


class SegmentName(NamedTuple):
    """A segment file, by the parts of its name. Sorts in the order of writing."""

    boot_number: int
    boot: str
    number: int
    path: Path


def segment_path(directory: Path, boot: str, number: int) -> Path:
    """Return where segment `number` of a boot lies."""
    return directory / f"{boot}-{number:08d}{SUFFIX}"


def list_segments(directory: Path) -> tuple[SegmentName, ...]:
    """Return the segments of one node, oldest first."""
    found = []
    for path in directory.glob(f"*{SUFFIX}"):
        match = _NAME.fullmatch(path.name)
        if match:
            found.append(SegmentName(int(match["boot_number"]), match["boot"], int(match["number"]), path))
    return tuple(sorted(found))


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """Map a file for reading, as long as it is now. One that retention just removed is empty."""
    if not path.exists():
        yield memoryview(b"")
        return
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            yield view


def read_header(data: bytes | memoryview) -> SegmentHeader | None:
    """Return the header of a segment, or None when its first frame is damaged."""
    frame = parse_frame(data, 0)
    if frame is None or frame.kind != Kind.HEADER:
        return None
    try:
        return msgspec.json.decode(frame.payload, type=SegmentHeader)
    except msgspec.MsgspecError:
        return None


def read_seal(data: bytes | memoryview) -> Seal | None:
    """Return the seal at the end of a segment, or None when it was not sealed or the end is damaged."""
    start = max(0, len(data) - _SEAL_FRAME_BYTES_MAX)
    frame = _last_frame(data, start)
    if frame is None or frame.kind != Kind.SEAL or frame.end != len(data):
        return None
    try:
        return msgspec.json.decode(frame.payload, type=Seal)
    except msgspec.MsgspecError:
        return None


def is_sealed(path: Path) -> bool:
    """Whether the file ends with a sound seal."""
    with mapped(path) as data:
        return read_seal(data) is not None


def _last_frame(data: bytes | memoryview, start: int) -> Frame | None:
    tail = bytes(data[start:])
    found = tail.rfind(b"\xff\xfe")
    while found >= 0:
        frame = parse_frame(data, start + found)
        if frame is not None:
            return frame
        found = tail.rfind(b"\xff\xfe", 0, found)
    return None


def checksum(data: bytes | memoryview) -> int:
    """Return the CRC-32 of a whole segment, in chunks that let other threads run."""
    crc = 0
    for start in range(0, len(data), _CHUNK_BYTES):
        crc = zlib.crc32(data[start : start + _CHUNK_BYTES], crc)
    return crc


class Assessed(NamedTuple):
    """What a scan of one segment found.

    Attributes:
        good_end: where its last sound frame ends.
        tree: the boot's tree after it; None when a record of it is missing, or release 0.1 wrote it.
    """

    losses: tuple[Loss, ...]
    end: int
    good_end: int
    records: int
    tree: Frontier | None


def assess_segment(path: Path, data: bytes | memoryview) -> Assessed:
    """Read a segment frame by frame and say what is missing (law J2). Numbers that skip are a loss too."""
    losses: list[Loss] = []
    expected: int | None = None
    good_end = records = 0
    damage: Damage | None = None
    tree = _tree_before(read_header(data))
    for part in scan(data):
        if isinstance(part, Damage):
            damage = part
            continue
        missing = part.position - expected if expected is not None else None
        if damage is not None:
            losses.append(Loss(str(path), damage.offset, damage.end - damage.offset, missing))
        elif missing:
            losses.append(Loss(str(path), part.offset, 0, missing))
        is_record = part.kind < Kind.HEADER
        if tree is not None and is_record:
            if tree.size == part.position:
                tree.add(leaf_hash(part.payload))
            else:
                tree = None
        expected = part.position + is_record
        records += is_record
        good_end, damage = part.end, None
    if damage is not None:
        losses.append(Loss(str(path), damage.offset, damage.end - damage.offset, None))
    return Assessed(tuple(losses), expected or 0, good_end, records, tree)


def _tree_before(header: SegmentHeader | None) -> Frontier | None:
    if header is None or header.frontier is None:
        return None
    try:
        return Frontier.parse(header.first, header.frontier)
    except ValueError:
        return None


def tree_at_end(name: SegmentName) -> BootTree:
    """Return the tree of a boot at the end of its last segment, as the seal says it.

    Its root is not known when release 0.1 wrote the segment, when damage took a record of it, or when it
    could not be sealed.
    """
    with mapped(name.path) as data:
        seal = read_seal(data)
    if seal is None or seal.frontier is None:
        return BootTree(name.boot, seal.end if seal else 0)
    return BootTree(name.boot, seal.end, Frontier.parse(seal.end, seal.frontier).root().hex())


def check_sealed(path: Path) -> tuple[Loss, ...]:
    """Check a sealed segment by the checksum of its seal; only when it differs, frame by frame."""
    with mapped(path) as data:
        if len(data) == 0 and not path.exists():
            return ()  # compacted, or removed by retention, meanwhile
        seal = read_seal(data)
        if seal is not None and checksum(data[: seal.size]) == seal.crc:
            return ()
        return assess_segment(path, data).losses or (Loss(str(path), 0, len(data), None),)


def recover_segment(path: Path, now: Instant) -> tuple[Loss, ...]:
    """Cut the torn end of a segment that its writer did not seal, then seal it.

    The bytes that are cut are kept beside it, so that nothing is destroyed by looking. A file without one
    sound frame, which is all that the machine's death left of a new segment, becomes such a cut as a whole.
    """
    with mapped(path) as data:
        found = assess_segment(path, data)
        cut = bytes(data[found.good_end :])
        crc = checksum(data[: found.good_end])
    if found.good_end == 0:
        path.rename(path.with_suffix(".cut"))
        return found.losses
    if cut:
        path.with_suffix(".cut").write_bytes(cut)
    seal = Seal(found.good_end, crc, found.end, now, True, found.tree.render() if found.tree else None)
    with path.open("r+b") as file:
        file.truncate(found.good_end)
        file.seek(found.good_end)
        file.write(encode_frame(Kind.SEAL, found.end, msgspec.json.encode(seal)))
        file.flush()
        os.fsync(file.fileno())
    return found.losses


def check_continuity(names: tuple[SegmentName, ...]) -> tuple[Loss, ...]:
    """Compare what each segment says of its predecessor with the predecessor.

    The oldest one's may be gone: retention removed it.
    """
    losses = []
    ends: dict[str, int] = {}
    for place, name in enumerate(names):
        with mapped(name.path) as data:
            header, seal = read_header(data), read_seal(data)
        if header and header.previous and place > 0:
            before = str(name.path.with_name(header.previous))
            end = ends.get(header.previous)
            if end is None and not Path(before).with_suffix(".parquet").exists():
                losses.append(Loss(before, 0, 0, None))
            elif end is not None and end < header.previous_end:
                losses.append(Loss(before, 0, 0, header.previous_end - end))
        if seal is not None:
            ends[name.path.name] = seal.end
    return tuple(losses)

"""Somebody who can write a journal's files, and knows their form as well as Limen does."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from limen.journal.checkpoints import CHECKPOINTS, Checkpoint, append_note, parse_checkpoint, read_notes
from limen.journal.frame import Frame, Kind, encode_frame, scan
from limen.journal.merkle import Frontier, leaf_hash
from limen.journal.note import Note, Signer, parse_note
from limen.journal.segments import BootTree, Seal, SegmentHeader, checksum, list_segments

Records = list[tuple[int, bytes]]


def frames_of(path: Path) -> list[Frame]:
    return [part for part in scan(path.read_bytes()) if isinstance(part, Frame)]


def records_of(directory: Path, boot: str) -> Records:
    names = [name for name in list_segments(directory) if name.boot == boot]
    return [(f.kind, f.payload) for name in names for f in frames_of(name.path) if f.kind < Kind.HEADER]


def find(directory: Path, record_id: str) -> tuple[Path, Frame]:
    for name in list_segments(directory):
        for frame in frames_of(name.path):
            if frame.kind < Kind.HEADER and record_id.encode() in frame.payload:
                return name.path, frame
    raise AssertionError(record_id)


def reforge(
    directory: Path, boot: str, edit: Callable[[Records], Records], signer: Signer | None = None
) -> None:
    """Write a boot anew with other records: every checksum, position, frontier, seal and chain is right.

    With a signer, the node's checkpoints are signed anew as well.
    """
    names = list_segments(directory)
    records = edit(records_of(directory, boot))
    own = [name for name in names if name.boot == boot]
    headers = {
        name.path: msgspec.json.decode(frames_of(name.path)[0].payload, type=SegmentHeader) for name in own
    }
    starts = [headers[name.path].first for name in own[1:]]
    tree, position, sizes = Frontier(), 0, {}
    previous_end = headers[own[0].path].previous_end
    for name, until in zip(own, [*starts, len(records)], strict=True):
        header = replace(
            headers[name.path], first=position, frontier=tree.render(), previous_end=previous_end
        )
        data = encode_frame(Kind.HEADER, position, msgspec.json.encode(header))
        for kind, payload in records[position : max(until, position)]:
            data += encode_frame(Kind(kind), position, payload)
            tree.add(leaf_hash(payload))
            position += 1
            sizes[position] = tree.root()
        seal = Seal(len(data), checksum(data), position, header.at, frontier=tree.render())
        name.path.write_bytes(data + encode_frame(Kind.SEAL, position, msgspec.json.encode(seal)))
        previous_end = position
    after = BootTree(boot, position, tree.root().hex())
    _rechain(directory, after, previous_end)
    if signer is not None:
        _resign(directory, signer, boot, sizes, after)


def _rechain(directory: Path, after: BootTree, previous_end: int) -> None:
    for name in list_segments(directory):
        frames = frames_of(name.path)
        header = msgspec.json.decode(frames[0].payload, type=SegmentHeader)
        if header.after is not None and header.after.boot == after.boot:
            header = replace(header, after=after, previous_end=previous_end)
            data = encode_frame(Kind.HEADER, 0, msgspec.json.encode(header))
            data += b"".join(encode_frame(Kind(f.kind), f.position, f.payload) for f in frames[1:-1])
            seal = msgspec.json.decode(frames[-1].payload, type=Seal)
            seal = replace(seal, size=len(data), crc=checksum(data))
            name.path.write_bytes(data + encode_frame(Kind.SEAL, seal.end, msgspec.json.encode(seal)))


def _resign(directory: Path, signer: Signer, boot: str, roots: dict[int, bytes], after: BootTree) -> None:
    path = directory / CHECKPOINTS
    kept = [parse_checkpoint(parse_note(data).text) for data in read_notes(path).notes]
    path.unlink()
    for one in kept:
        sign(path, signer, one, roots if one.boot == boot else {}, after)


def sign(
    path: Path, signer: Signer, one: Checkpoint, roots: dict[int, bytes], after: BootTree | None = None
) -> None:
    """Append a checkpoint in the signer's name, with the roots that it wants."""
    chained = after if after is not None and one.after and one.after.boot == after.boot else one.after
    forged = replace(one, key=signer.key(), root=roots.get(one.size, one.root), after=chained)
    text = forged.render()
    append_note(path, Note(text, (signer.sign(text),)))

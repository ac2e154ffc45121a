"""Proofs for others: that a record stands in a log whose checkpoint was countersigned.

The proof is one JSON object. Whoever has it and a verifier key needs nothing else, Limen least of all:
`docs/how-to/check_proof.py` checks it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from limen.core.errors import Invalid, NotFound
from limen.journal import stored
from limen.journal.compacted import opened_table
from limen.journal.frame import Kind
from limen.journal.merkle import Frontier
from limen.journal.proofs import Leaves, inclusion_path
from limen.journal.raw import frames_back
from limen.journal.segments import SegmentName
from limen.journal.statements import Known, Places, Trust, gather

FORMAT = "limen-proof/1"
_OWN_ID = re.compile(rb'\{"type":"[a-z]+","id":"([^"\\]*)"')
_FIRST = (Kind.DECISION, Kind.EVENT, Kind.INPUTS, Kind.BUNDLE)


class Proof(msgspec.Struct, frozen=True):
    """Proof that a record is leaf `index` of a signed tree.

    Attributes:
        record: the payload, exactly as it was hashed.
        tree: `checkpoint`: the tree that the checkpoint states; `after`: the tree of the boot before it,
            which the checkpoint's line `after` states.
        size: leaves of that tree.
        path: hashes from the leaf to the root (RFC 9162 §2.1.3), hex.
        checkpoint: the signed note.
        countersigned: control has signed it; else the node alone.
    """

    format: str
    node: str
    boot: str
    record: str
    index: int
    tree: str
    size: int
    path: tuple[str, ...]
    checkpoint: str
    countersigned: bool


class _Found(NamedTuple):
    node: str
    name: SegmentName
    position: int
    payload: bytes


def prove(record_id: str, places: Places, trust: Trust, *, outcome: bool = False) -> Proof:
    """Prove that a record is in its log; with `outcome`, the outcome of a decision.

    Raises:
        NotFound: no such record is here.
        Invalid: it is under no checkpoint yet (`NOT_SIGNED_YET`), of a release without proofs
            (`NO_PROOFS`), or the journal is not what was signed (`JOURNAL_INCONSISTENT`).
    """
    found = _find(record_id, places, (Kind.OUTCOME,) if outcome else _FIRST)
    known = gather(found.node, places, trust).known
    chosen = _choose(known, found)
    if chosen is None:
        raise Invalid(
            f"Record {record_id} is under no checkpoint yet.",
            remedy="Control countersigns within a minute; try again.",
            code="NOT_SIGNED_YET",
        )
    after = chosen.checkpoint.after
    before = chosen.checkpoint.boot != found.name.boot
    assert not before or after is not None
    size = after.size if before and after is not None else chosen.checkpoint.size
    root = bytes.fromhex(after.root) if before and after is not None else chosen.checkpoint.root
    leaves = _leaves(places, found, size)
    if leaves.size < size or leaves.root(0, size) != root:
        raise Invalid(
            f"The log that holds record {record_id} is not the one that was signed.",
            remedy="Find out what was changed: limen audit verify",
            code="JOURNAL_INCONSISTENT",
        )
    return Proof(
        format=FORMAT,
        node=found.node,
        boot=found.name.boot,
        record=found.payload.decode(),
        index=found.position,
        tree="after" if before else "checkpoint",
        size=size,
        path=tuple(step.hex() for step in inclusion_path(leaves, found.position, size)),
        checkpoint=str(chosen.note),
        countersigned=chosen.witnessed_at is not None,
    )


def _choose(known: tuple[Known, ...], found: _Found) -> Known | None:
    """Return the first countersigned checkpoint that covers a record, else the first that the node signed."""

    def covers(one: Known) -> bool:
        checkpoint, after = one.checkpoint, one.checkpoint.after
        own = checkpoint.boot == found.name.boot and checkpoint.size > found.position
        chained = after is not None and after.boot == found.name.boot and after.size > found.position
        return own or (chained and after is not None and bool(after.root))

    covering = [one for one in known if covers(one)]
    return next((one for one in covering if one.witnessed_at is not None), next(iter(covering), None))


def _leaves(places: Places, found: _Found, size: int) -> Leaves:
    """Return the leaves from the record's segment on; what is before them the segment says."""
    names = stored.list_stored(places.journal / found.node)
    names = tuple(name for name in names if name.boot == found.name.boot and name.number >= found.name.number)
    header = stored.header(names[0]) if names else None
    if header is None or header.frontier is None:
        raise Invalid(
            "The record was written by release 0.1, which made no proofs.",
            remedy="Only records that were written since can be proven.",
            code="NO_PROOFS",
        )
    hashes: list[bytes] = []
    for name in names:
        for frame in stored.frames(name):
            if frame.position == header.first + len(hashes) < size:
                hashes.append(frame.leaf)
    return Leaves(hashes, Frontier.parse(header.first, header.frontier))


def _find(record_id: str, places: Places, kinds: tuple[Kind, ...]) -> _Found:
    wanted = record_id.encode()
    for node in stored.list_nodes(places.journal):
        for name in reversed(stored.list_stored(places.journal / node)):
            for position, payload in _naming(name, record_id, kinds):
                match = _OWN_ID.match(payload)
                if match is not None and match[1] == wanted:
                    return _Found(node, name, position, payload)
    raise NotFound(
        f"No record {record_id} is in the journals of {places.journal}.",
        remedy="Check the id; its content may have been removed by retention.",
    )


def _naming(name: SegmentName, text: str, kinds: tuple[Kind, ...]) -> Iterator[tuple[int, bytes]]:
    """Yield the records whose bytes hold a text."""
    with stored.opened(name) as data:
        if data is not None:
            for frame in frames_back(data, (text.encode(),)):
                if frame.kind in kinds:
                    yield frame.position, frame.payload
            return
    with opened_table([stored.compacted_path(name)]) as table:
        for kind in kinds:
            for one in table.naming(text, kind):
                yield one.position, one.payload

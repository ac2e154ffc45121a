"""What was signed about one node's trees, gathered from every place that keeps it, and believed or not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from limen.journal.checkpoints import (
    CHECKPOINTS,
    Checkpoint,
    SignedCheckpoint,
    open_checkpoint,
    read_notes,
)
from limen.journal.findings import Doubt, Problem, Unchecked
from limen.journal.note import Algorithm, Note, NoteRefused, VerifierKey, parse_note, verify_note
from limen.journal.removals import REMOVED, parse_removal

SKEW_S = 300.0  # by so much clocks may differ, or be set back


class Trust(NamedTuple):
    """Keys that are known beforehand.

    Attributes:
        cosigner: control's; None when it is not known, and then nothing it signed counts.
        nodes: of nodes, by name.
    """

    cosigner: VerifierKey | None = None
    nodes: Mapping[str, VerifierKey] = {}


class Places(NamedTuple):
    """Where statements about nodes are kept.

    Attributes:
        journal: the folder of the nodes' journals, each with its own checkpoints.
        countersigned: control's; a file per node.
        witness: a second place for the same.
        since: notes that a reader has kept, whatever nodes they are of.
    """

    journal: Path
    countersigned: Path | None = None
    witness: Path | None = None
    since: Path | None = None


class Known(NamedTuple):
    """A checkpoint that its node signed. `witnessed_at`: when control had verified it; None if it has not."""

    checkpoint: Checkpoint
    witnessed_at: int | None


class Statements(NamedTuple):
    """All that is believed about one node, in the order of its trees.

    Attributes:
        since: the newest checkpoint of those that the reader brought.
        removed: before which boot and position everything may be gone.
    """

    known: tuple[Known, ...]
    key: VerifierKey | None
    vouched: bool
    since: Checkpoint | None
    removed: tuple[str, int]
    doubts: tuple[Doubt, ...]
    unchecked: tuple[Unchecked, ...]


class _Source(NamedTuple):
    name: str
    path: Path
    countersigned: bool  # control's signature is expected on each


class _Gathered(NamedTuple):
    source: _Source
    signed: SignedCheckpoint
    witnessed_at: int | None


def gather(node: str, places: Places, trust: Trust) -> Statements:
    """Read what was signed about a node. What is false, or signed by another key, becomes a doubt."""
    doubts: list[Doubt] = []
    unchecked: list[Unchecked] = []
    found: list[_Gathered] = []
    for source in _sources(node, places):
        found += _read(node, source, trust, doubts, unchecked)
    key, vouched = _key_of(node, found, trust)
    mine = [one for one in found if one.signed.checkpoint.key == key]
    for other in {(one.source.name, str(one.signed.checkpoint.key)) for one in found if one not in mine}:
        text = f"{other[0]} holds checkpoints signed by {other[1]}, which is not the key of this node."
        doubts.append(Doubt(node, Problem.OTHER_KEY, text))
    known = _merge(mine)
    doubts += _forks(node, known)
    doubts += _clock(node, known)
    doubts += _cut_file(node, mine)
    since = [one.signed.checkpoint for one in mine if one.source.path == places.since]
    return Statements(
        known,
        key,
        vouched,
        max(since, key=_order, default=None),
        _removed(node, places.journal / node / REMOVED, key, trust, doubts),
        tuple(doubts),
        tuple(unchecked),
    )


def _order(checkpoint: Checkpoint) -> tuple[str, int]:
    return checkpoint.boot, checkpoint.size


def _sources(node: str, places: Places) -> Sequence[_Source]:
    found = [_Source("the node's file", places.journal / node / CHECKPOINTS, False)]
    if places.countersigned is not None:
        found.append(_Source("control's file", places.countersigned / node, True))
    if places.witness is not None:
        found.append(_Source("the witness", places.witness / node, True))
    if places.since is not None:
        found.append(_Source("the checkpoint given", places.since, False))
    return found


def _read(
    node: str, source: _Source, trust: Trust, doubts: list[Doubt], unchecked: list[Unchecked]
) -> list[_Gathered]:
    """Return the checkpoints of one file that their own key has signed, with control's time if it has."""
    kept = read_notes(source.path)
    found = []
    for data in kept.notes:
        try:
            signed = open_checkpoint(data)
            if signed.checkpoint.node != node and source.name == "the checkpoint given":
                continue
            found.append(_Gathered(source, signed, _witnessed(signed, source, trust)))
        except NoteRefused as refused:
            doubts.append(Doubt(node, Problem.FALSE_SIGNATURE, f"{source.path}: {refused.message}"))
    for start, end in kept.damage:
        text = f"{source.path}: bytes {start} to {end} are no note."
        doubts.append(Doubt(node, Problem.FALSE_SIGNATURE, text))
    if kept.torn < kept.size:
        text = f"{source.path}: the last {kept.size - kept.torn} bytes are no whole note (a torn write?)."
        if source.countersigned:  # written by one that survives its own fall
            doubts.append(Doubt(node, Problem.FALSE_SIGNATURE, text))
        else:
            unchecked.append(Unchecked(node, "torn_checkpoint", text))
    if source.countersigned and kept.notes and trust.cosigner is None:
        text = f"{source.path} could not be used: control's verifier key is not known. Give it with --key."
        unchecked.append(Unchecked(node, "no_key", text))
    return found


def _witnessed(signed: SignedCheckpoint, source: _Source, trust: Trust) -> int | None:
    if trust.cosigner is None:
        return None
    signers = {(one.name, one.key_id) for one in signed.note.signatures}
    if source.countersigned or (trust.cosigner.name, trust.cosigner.key_id) in signers:
        return verify_note(signed.note, trust.cosigner)
    return None


def _key_of(node: str, found: Sequence[_Gathered], trust: Trust) -> tuple[VerifierKey | None, bool]:
    """Return the node's key: the one given, else the first that control vouched for, else the first shown."""
    if node in trust.nodes:
        return trust.nodes[node], True
    named = [one for one in found if one.signed.checkpoint.node == node]
    vouched = [one for one in named if one.witnessed_at is not None]
    for one in (*vouched, *named):
        return one.signed.checkpoint.key, one.witnessed_at is not None
    return None, False


def _merge(found: Sequence[_Gathered]) -> tuple[Known, ...]:
    """Return each checkpoint once, in the order of the trees, with control's first time."""
    times: dict[Checkpoint, int | None] = {}
    for one in found:
        before, now = times.get(one.signed.checkpoint), one.witnessed_at
        times[one.signed.checkpoint] = min(before, now) if before and now else before or now
    return tuple(
        Known(*item) for item in sorted(times.items(), key=lambda item: (*_order(item[0]), item[0].at))
    )


def _forks(node: str, known: Sequence[Known]) -> list[Doubt]:
    doubts = []
    roots: dict[tuple[str, int], bytes] = {}
    chains: dict[str, object] = {}
    for one in known:
        checkpoint = one.checkpoint
        place, chain = _order(checkpoint), (checkpoint.after,)
        forked = roots.setdefault(place, checkpoint.root) != checkpoint.root
        if forked or chains.setdefault(checkpoint.boot, chain) != chain:
            text = f"Two checkpoints signed for size {checkpoint.size} show different histories."
            doubts.append(Doubt(node, Problem.FORK, text, checkpoint.boot, None, checkpoint.size))
    return doubts


def _clock(node: str, known: Sequence[Known]) -> list[Doubt]:
    """Times must go on with the trees: the node's own, and control's; and the node's not ahead of control's."""
    latest = witnessed = 0
    for one in known:
        checkpoint, at = one.checkpoint, one.checkpoint.at
        back = max(latest - at, witnessed - (one.witnessed_at or witnessed))
        ahead = at - one.witnessed_at if one.witnessed_at is not None else 0
        if max(back, ahead) > SKEW_S:
            way = "back" if back > SKEW_S else "ahead of control's"
            text = (
                f"The clock was {max(back, ahead):.0f} s {way} at the checkpoint of size {checkpoint.size}."
            )
            return [Doubt(node, Problem.CLOCK, text, checkpoint.boot, None, checkpoint.size)]
        latest, witnessed = max(latest, at), max(witnessed, one.witnessed_at or 0)
    return []


def _cut_file(node: str, found: Sequence[_Gathered]) -> list[Doubt]:
    own = [_order(one.signed.checkpoint) for one in found if one.source.name == "the node's file"]
    seen = [_order(one.signed.checkpoint) for one in found if one.witnessed_at is not None]
    if seen and max(seen) > max(own, default=("", 0)):
        boot, size = max(seen)
        text = f"The node's own checkpoints end before size {size}, which control countersigned."
        return [Doubt(node, Problem.CHECKPOINTS_CUT, text, boot, None, size)]
    return []


def _removed(
    node: str, path: Path, key: VerifierKey | None, trust: Trust, doubts: list[Doubt]
) -> tuple[str, int]:
    """Return up to where the node, or control, has signed that records were removed on purpose."""
    control = trust.cosigner
    keys = [key] if key is not None else []
    if control is not None:
        keys.append(VerifierKey(control.name, Algorithm.ED25519, control.public))
    furthest = ("", 0)
    kept = read_notes(path)
    for data in kept.notes:
        try:
            removal = parse_removal(_opened(data, keys))
        except NoteRefused as refused:
            doubts.append(Doubt(node, Problem.FALSE_SIGNATURE, f"{path}: {refused.message}"))
            continue
        if removal.node == node:
            furthest = max(furthest, (removal.boot, removal.position))
    for start, end in (*kept.damage, *([(kept.torn, kept.size)] if kept.torn < kept.size else [])):
        text = f"{path}: bytes {start} to {end} are no note."
        doubts.append(Doubt(node, Problem.FALSE_SIGNATURE, text))
    return furthest


def _opened(data: bytes, keys: Sequence[VerifierKey]) -> Note:
    note = parse_note(data)
    signers = {(one.name, one.key_id) for one in note.signatures}
    for key in keys:
        if (key.name, key.key_id) in signers:
            verify_note(note, key)
            return note
    raise NoteRefused("A statement of removal is signed by no known key.")

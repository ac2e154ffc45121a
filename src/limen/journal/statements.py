"""What was signed about one node's trees, gathered from every place that keeps it, and believed or not."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from limen.journal.checkpoints import (
    CHECKPOINTS,
    KEY_FILE,
    SALT,
    Checkpoint,
    SignedCheckpoint,
    name_system,
    open_checkpoint,
    read_notes,
)
from limen.journal.findings import Doubt, Problem, Unchecked
from limen.journal.node_keys import find_reigns, is_theirs, order
from limen.journal.note import Algorithm, Note, NoteRefused, VerifierKey, parse_note, verify_note
from limen.journal.removals import REMOVED, parse_removal

_NODE = re.compile(r"[a-z0-9][a-z0-9-]*")

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
    note: Note


class Statements(NamedTuple):
    """All that is believed about one node, in the order of its trees.

    Attributes:
        key: the node's; the newest, if it had several.
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


def check_common(places: Places, trust: Trust) -> list[Doubt]:
    """Check what is of no single node: the files that name control's key, the salt that names the system."""
    doubts = []
    key = trust.cosigner
    for folder in (places.countersigned, places.witness):
        path = folder / KEY_FILE if folder is not None else None
        if (
            key is not None
            and path is not None
            and path.exists()
            and path.read_bytes() != f"{key}\n".encode()
        ):
            doubts.append(Doubt("", Problem.OTHER_KEY, f"{path} names another key than control's, {key}."))
    salt = places.journal / SALT
    if key is not None and salt.exists() and not key.name.startswith(f"{name_system(salt.read_bytes())}/"):
        text = f"{salt} is not the salt of the system whose key is {key}."
        doubts.append(Doubt("", Problem.OTHER_KEY, text))
    return doubts


def nodes_kept(since: Path | None) -> set[str]:
    """Return the nodes of the checkpoints that a reader has kept: what becomes of them is asked for."""
    found = set()
    for data in read_notes(since).notes if since is not None else ():
        try:
            node = open_checkpoint(data).checkpoint.node
        except NoteRefused:
            continue  # `gather` says so, of each node
        if _NODE.fullmatch(node):
            found.add(node)
    return found


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
    named = [one for one in found if one.signed.checkpoint.node == node]
    countersigned = [one.signed.checkpoint for one in named if one.witnessed_at is not None]
    given = trust.nodes.get(node)
    reigns = find_reigns([one.signed.checkpoint for one in named], countersigned, given)
    for before, after in pairwise(reigns):
        text = f"Key {after.key} follows {before.key}: control was told to trust it."
        unchecked.append(Unchecked(node, "key_changed", text, after.first[0]))
    mine = [one for one in found if is_theirs(one.signed.checkpoint, reigns)]
    for other in {(one.source.name, str(one.signed.checkpoint.key)) for one in found if one not in mine}:
        text = f"{other[0]} holds checkpoints signed by {other[1]}, which is not this node's key there."
        doubts.append(Doubt(node, Problem.OTHER_KEY, text))
    known = _merge(mine)
    doubts += _forks(node, known)
    doubts += _clock(node, known)
    doubts += _cut_file(node, mine)
    keys = [reign.key for reign in reigns]
    removed, false = removed_until(places.journal / node / REMOVED, node, keys, trust.cosigner)
    doubts += [Doubt(node, Problem.FALSE_SIGNATURE, text) for text in false]
    since = [one.signed.checkpoint for one in mine if one.source.path == places.since]
    return Statements(
        known,
        reigns[-1].key if reigns else None,
        given is not None or bool(countersigned),
        max(since, key=order, default=None),
        removed,
        tuple(doubts),
        tuple(unchecked),
    )


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


def _merge(found: Sequence[_Gathered]) -> tuple[Known, ...]:
    """Return each checkpoint once, in the order of the trees, with control's first word on it."""
    best: dict[Checkpoint, Known] = {}
    for one in found:
        new = Known(one.signed.checkpoint, one.witnessed_at, one.signed.note)
        old = best.get(new.checkpoint)
        times = (new.witnessed_at, old.witnessed_at if old is not None else None)
        if old is None or (times[0] is not None and (times[1] is None or times[0] < times[1])):
            best[new.checkpoint] = new
    return tuple(sorted(best.values(), key=lambda known: (*order(known.checkpoint), known.checkpoint.at)))


def _forks(node: str, known: Sequence[Known]) -> list[Doubt]:
    doubts = []
    roots: dict[tuple[str, int], bytes] = {}
    chains: dict[str, object] = {}
    for one in known:
        checkpoint = one.checkpoint
        place, chain = order(checkpoint), (checkpoint.after,)
        forked = roots.setdefault(place, checkpoint.root) != checkpoint.root
        if forked or chains.setdefault(checkpoint.boot, chain) != chain:
            text = f"Two checkpoints signed for size {checkpoint.size} show different histories."
            doubts.append(Doubt(node, Problem.FORK, text, checkpoint.boot, None, checkpoint.size))
    return doubts


def _clock(node: str, known: Sequence[Known]) -> list[Doubt]:
    """Times go on with the trees: the node's, and control's; and the node's are not ahead of control's."""
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
    own = [order(one.signed.checkpoint) for one in found if one.source.name == "the node's file"]
    seen = [order(one.signed.checkpoint) for one in found if one.witnessed_at is not None]
    if seen and max(seen) > max(own, default=("", 0)):
        boot, size = max(seen)
        text = f"The node's own checkpoints end before size {size}, which control countersigned."
        return [Doubt(node, Problem.CHECKPOINTS_CUT, text, boot, None, size)]
    return []


def removed_until(
    path: Path, node: str, keys: Sequence[VerifierKey], cosigner: VerifierKey | None
) -> tuple[tuple[str, int], tuple[str, ...]]:
    """Return up to where the node, or control, has signed that records were removed, and what is false."""
    keys = list(keys)
    if cosigner is not None:
        keys.append(VerifierKey(cosigner.name, Algorithm.ED25519, cosigner.public))
    furthest, false = ("", 0), []
    kept = read_notes(path)
    for data in kept.notes:
        try:
            removal = parse_removal(_opened(data, keys))
        except NoteRefused as refused:
            false.append(f"{path}: {refused.message}")
            continue
        if removal.node == node:
            furthest = max(furthest, (removal.boot, removal.position))
    if kept.damage or kept.torn < kept.size:
        false.append(f"{path} holds bytes that are no note.")
    return furthest, tuple(false)


def _opened(data: bytes, keys: Sequence[VerifierKey]) -> Note:
    note = parse_note(data)
    signers = {(one.name, one.key_id) for one in note.signatures}
    for key in keys:
        if (key.name, key.key_id) in signers:
            verify_note(note, key)
            return note
    raise NoteRefused("A statement of removal is signed by no known key.")

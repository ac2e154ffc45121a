"""Verification of the journals, offline: what is there is what was signed, whole and in its order.

For each node the records of each boot are read into its tree (RFC 9162), frame by frame, and the tree is
compared with every checkpoint that is known of it: the node's own, those that control has countersigned
and keeps apart, those of a witness, those that a reader brought. Boots must go on from each other.

Laws:
    V1 found. Whatever is changed, moved, removed or added in what a checkpoint covers is a doubt, unless
        retention's signed word covers it.
    V2 quiet. A running, a killed, a pruned, a compacted and an upgraded system have no doubts.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from limen.journal import stored
from limen.journal.findings import Doubt, NodeReport, Problem, Report, Unchecked
from limen.journal.segments import SegmentName
from limen.journal.statements import Places, Statements, Trust, check_common, gather, nodes_kept
from limen.journal.walk import Walk

UNWITNESSED_S = 900.0  # of a node's checkpoints: by then control has countersigned one
_NEWEST = "The newest records are not under a checkpoint yet."
_NOT_COUNTERSIGNED = "Records are signed by the node, and not countersigned by control yet."
_UNPROVEN = "Release 0.1 wrote these records without proofs: only their checksums were checked."
_CONTENT_REMOVED = "Retention removed the content; that there were such records is proven by their hashes."

Progress = Callable[[int], None]
"""Told how many more bytes were read."""


def verify_journals(
    places: Places, trust: Trust, *, progress: Progress = lambda _: None, nodes: frozenset[str] | None = None
) -> Report:
    """Verify the journals of all nodes, or of those named. Reads everything; writes nothing."""
    found = [
        _verify_or_doubt(node, places, trust, progress)
        for node in known_nodes(places)
        if nodes is None or node in nodes
    ]
    doubts = (*check_common(places, trust), *(doubt for report in found for doubt in report.doubts))
    if not found:
        doubts = (Doubt("", Problem.BOOT_GONE, f"There is no journal in {places.journal}."),)
    unchecked = tuple(one for report in found for one in report.unchecked)
    return Report(not doubts, tuple(node for report in found for node in report.nodes), doubts, unchecked)


def _verify_or_doubt(node: str, places: Places, trust: Trust, progress: Progress) -> Report:
    """Verify a node. What cannot even be read is a doubt, and keeps no other node from being verified."""
    try:
        return _verify_node(node, places, trust, progress)
    except Exception as error:  # the fail-closed seam: whoever shaped these files may have wanted an end here
        text = f"It cannot be read: {type(error).__name__}: {error}"
        empty = NodeReport(node, 0, 0, 0, None, False, "", 0, 0, None)
        return Report(False, (empty,), (Doubt(node, Problem.UNREADABLE, text),), ())


def _verify_node(node: str, places: Places, trust: Trust, progress: Progress) -> Report:
    statements = gather(node, places, trust)  # first: what is signed by now is on the disk by now
    walk = Walk(node, statements, progress)
    names = stored.list_stored(places.journal / node)
    walk.run(names)
    gone = _gone_boots(node, statements, {name.boot for name in names})
    gone += _gone_behind(node, statements, names)
    unsigned = (*_unsigned(node, statements, walk), *_unwitnessed(node, statements, trust))
    doubts = (*statements.doubts, *walk.doubts, *gone, *unsigned)
    cuts = _cuts(node, places.journal / node)
    unchecked = (*statements.unchecked, *walk.unchecked, *_not_checked(node, statements, walk), *cuts)
    return Report(not doubts, (_describe(node, statements, walk),), doubts, unchecked)


def _describe(node: str, statements: Statements, walk: Walk) -> NodeReport:
    witnessed = [one for one in statements.known if one.witnessed_at is not None]
    newest = witnessed[-1] if witnessed else None
    boot, size = walk.newest
    return NodeReport(
        node=node,
        records=walk.records,
        boots=walk.boots,
        segments=walk.segments,
        key=str(statements.key) if statements.key else None,
        vouched=statements.vouched,
        boot=boot,
        size=size,
        countersigned_size=newest.checkpoint.size if newest and newest.checkpoint.boot == boot else 0,
        countersigned_at=newest.witnessed_at if newest else None,
    )


def known_nodes(places: Places) -> tuple[str, ...]:
    """Return the nodes that have a journal, those that something was countersigned for or a reader kept."""
    found = set(stored.list_nodes(places.journal)) | nodes_kept(places.since)
    for folder in (places.countersigned, places.witness):
        if folder is not None and folder.is_dir():
            found |= {path.name for path in folder.iterdir() if path.is_file() and "." not in path.name}
    return tuple(sorted(found))


def total_bytes(places: Places) -> int:
    """Return how much there is to read, for a progress bar."""
    return sum(
        name.path.stat().st_size
        for node in known_nodes(places)
        for name in stored.list_stored(places.journal / node)
        if name.path.exists()
    )


def _gone_boots(node: str, statements: Statements, there: set[str]) -> list[Doubt]:
    """Return a doubt for each boot that was signed for and is not there, unless its removal was signed."""
    since, removed = statements.since, statements.removed
    gone: dict[str, int] = {}
    for one in statements.known:
        boot, size = one.checkpoint.boot, one.checkpoint.size
        wanted = since is None or boot >= since.boot
        if boot not in there and wanted and boot >= removed[0] and (boot, size) > removed:
            gone[boot] = size
    return [
        Doubt(node, Problem.BOOT_GONE, f"A boot of {size} records was signed for and is gone.", boot, 0, size)
        for boot, size in gone.items()
    ]


def _gone_behind(node: str, statements: Statements, names: Sequence[SegmentName]) -> list[Doubt]:
    """Return a doubt if more is stated as removed than retention ever removes: the newest segment stays."""
    header = stored.header(names[-1]) if names else None
    newest = (header.boot, header.first) if header is not None else ("", 0)
    if statements.removed <= newest or (names and header is None):
        return []
    boot, position = statements.removed
    text = f"Everything before record {position} is stated as removed, and nothing that came then is there."
    return [Doubt(node, Problem.BOOT_GONE, text, boot, 0, position)]


def _unsigned(node: str, statements: Statements, walk: Walk) -> list[Doubt]:
    proven = walk.records - walk.unproven
    if statements.known or not proven:
        return []
    text = f"{proven} records, and not one checkpoint that says what they were."
    return [Doubt(node, Problem.UNSIGNED, text)]


def _unwitnessed(node: str, statements: Statements, trust: Trust) -> list[Doubt]:
    """Return a doubt if a control that countersigns has countersigned nothing in all this time."""
    known = statements.known
    if trust.cosigner is None or not known or any(one.witnessed_at is not None for one in known):
        return []
    times = [one.checkpoint.at for one in known]
    if max(times) - min(times) <= UNWITNESSED_S:
        return []
    text = "Control countersigns, and of this node nothing that it has countersigned is there."
    return [Doubt(node, Problem.CHECKPOINTS_CUT, text)]


def _not_checked(node: str, statements: Statements, walk: Walk) -> list[Unchecked]:
    """Say what no checkpoint covers, what control has not seen, and what retention took."""
    boot, size = walk.newest
    witnessed = [one for one in statements.known if one.witnessed_at is not None]
    newest = witnessed[-1].checkpoint if witnessed else None
    behind = size - (newest.size if newest is not None and newest.boot == boot else 0)
    seen_at = witnessed[-1].witnessed_at if witnessed else None
    said = (
        ("newest", walk.uncovered if statements.known else 0, walk.uncovered_since, _NEWEST),
        ("not_countersigned", behind, seen_at, _NOT_COUNTERSIGNED),
        ("unproven", walk.unproven, None, _UNPROVEN),
        ("content_removed", walk.removed, None, _CONTENT_REMOVED),
    )
    return [Unchecked(node, what, text, boot, count, at) for what, count, at, text in said if count > 0]


def _cuts(node: str, directory: Path) -> list[Unchecked]:
    """Name what a crash left: bytes that nobody was told had been kept. They are no part of the log."""
    return [
        Unchecked(node, "cut_bytes", f"{path} holds {path.stat().st_size} bytes of a torn write: no record.")
        for path in sorted(directory.glob("*.cut"))
    ]

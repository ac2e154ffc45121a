"""Reading a journal for an export, in constant memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

from limen.core.ids import Instant
from limen.journal import stored
from limen.journal.export.pseudonyms import Pseudonyms
from limen.journal.export.rows import Joiner, Row, Wanted
from limen.journal.follow import Follower
from limen.journal.segments import SegmentName

BATCH = 5_000  # records in memory at once, twice


def read_rows(
    root: Path,
    wanted: Wanted,
    pseudonyms: Pseudonyms | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[Row]:
    """Yield what is asked for of all nodes, in the order in which each wrote. Ends where the journal ends.

    `progress` is told how many records were read, wanted or not.
    """
    joiner = Joiner(wanted)
    for node in stored.list_nodes(root):
        follower = Follower(root, start_cursor(root, node, wanted.since), nodes=(node,))
        batch = follower.poll(BATCH)
        while batch:
            ahead = follower.poll(BATCH) if len(batch) == BATCH else []
            for row in joiner.rows(batch, ahead):
                yield (
                    row
                    if pseudonyms is None
                    else Row(row.node, row.boot, row.position, pseudonyms.apply(row.fields))
                )
            progress(len(batch))
            batch = ahead


def start_cursor(root: Path, node: str, since: Instant | None) -> dict[str, tuple[str, int]]:
    """Return where to begin to miss nothing from `since` on: the first segment not sealed before."""
    if since is None:
        return {}
    for name in stored.list_stored(root / node):
        if not _sealed_before(name, since):
            header = stored.header(name)
            return {node: (name.boot, header.first)} if header is not None else {}
    return {}


def count_records(root: Path, since: Instant | None) -> int:
    """Return about how many records an export will read: those of open segments are not counted."""
    return sum(
        _count(name)
        for node in stored.list_nodes(root)
        for name in stored.list_stored(root / node)
        if since is None or not _sealed_before(name, since)
    )


def _count(name: SegmentName) -> int:
    header, seal = stored.header(name), stored.seal(name)
    return seal.end - header.first if header is not None and seal is not None else 0


def _sealed_before(name: SegmentName, since: Instant) -> bool:
    """Whether everything in a segment was written before `since`. A damaged seal means no."""
    seal = stored.seal(name)
    return seal is not None and not seal.recovered and seal.at < since

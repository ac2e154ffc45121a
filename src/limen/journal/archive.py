"""The archive: sealed segments become Parquet, and retention empties, then removes, the oldest of them.

It works beside running writers and readers, one process at a time (`JOURNAL/archive.lock`), a segment at a
time: what replaces a file is written aside, synced, read back and compared before it takes its place. The
newest segment of a node is left alone: it is the writer's, or the next writer starts from it.

Laws:
    J8 the same bytes. A compacted segment from which nothing was removed gives, byte for byte, the segment.
    J9 the same leaves. Whatever retention removes, the leaf hashes that remain are those of what was written.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from limen.core.errors import Conflict, Invalid
from limen.core.ids import Instant
from limen.journal import compaction, parquet, stored
from limen.journal.frame import Kind
from limen.journal.keys import Keys
from limen.journal.note import Signer
from limen.journal.removals import state_removal
from limen.journal.retention import ALL_KINDS, Retention, holds_any, load_holds
from limen.journal.segment_file import sync_directory
from limen.journal.segments import SUFFIX, SegmentName, mapped

WORK = f"{__name__}:work"
"""For `run_apart`; its job is a `Task`."""

log = structlog.get_logger("limen.journal")


class Task(msgspec.Struct, frozen=True):
    """What a child process is to do. `keys`: the signing key file of each node of this machine."""

    root: str
    now: Instant
    retention: Retention = Retention()
    compact: bool = True
    keys: Mapping[str, str] = {}


class Report(msgspec.Struct):
    """What was done.

    Attributes:
        bytes_before, bytes_after: of the segments that were compacted.
        emptied: records whose payload retention removed.
        removed: segments that are gone.
        failed: segments that stay as they are, and why.
    """

    compacted: list[str] = []
    bytes_before: int = 0
    bytes_after: int = 0
    emptied: dict[str, int] = {}
    removed: list[str] = []
    failed: dict[str, str] = {}


def tend(
    root: Path,
    retention: Retention,
    now: Instant,
    *,
    compact: bool = True,
    signers: Mapping[str, Signer] | None = None,
) -> Report:
    """Compact what is sealed and apply retention, for every node under a folder.

    Whole segments go only where a signer of the node says so: without that, a journal whose beginning is
    gone is a doubt. Elsewhere what is left of them is a leaf hash for each record.

    Raises:
        Conflict: another process does this.
    """
    report = Report()
    with _only_one(root):
        for node in stored.list_nodes(root):
            _Node(root / node, report).tend(retention, now, compact, (signers or {}).get(node))
    return report


def work(job: Any, _tell: Callable[[int, int], None]) -> Any:
    """Do a `Task`, in a process apart (`limen.administrator.apart`), and return its `Report`."""
    task = msgspec.convert(job, Task)
    signers = {node: Signer.load(Path(path), node) for node, path in task.keys.items()}
    report = tend(Path(task.root), task.retention, task.now, compact=task.compact, signers=signers)
    return msgspec.to_builtins(report)


class _Node:
    """The segments of one node but the newest."""

    def __init__(self, directory: Path, report: Report) -> None:
        self._directory, self._report = directory, report
        for left in directory.glob("*.tmp"):
            left.unlink(missing_ok=True)

    def tend(self, retention: Retention, now: Instant, compact: bool, signer: Signer | None) -> None:
        """Compact, empty, remove."""
        if compact:
            for name in self._names():
                if name.path.suffix == SUFFIX and not self._compact(name):
                    break  # oldest first: the segments that are not compacted stay in one row
        if retention != Retention():
            self._retain(retention, now, signer)

    def _names(self) -> tuple[SegmentName, ...]:
        return tuple(
            name for name in stored.list_stored(self._directory)[:-1] if stored.seal(name) is not None
        )

    def _compact(self, name: SegmentName) -> bool:
        before = name.path.stat().st_size
        try:
            with mapped(name.path) as data, self._replacing(stored.compacted_path(name)) as file:
                compaction.compact(data, file)
        except (Invalid, OSError, parquet.failures()) as error:
            self._failed(name, error)
            return False
        name.path.unlink(missing_ok=True)
        sync_directory(self._directory)
        self._report.compacted.append(name.path.name)
        self._report.bytes_before += before
        self._report.bytes_after += stored.compacted_path(name).stat().st_size
        return True

    # --- retention --------------------------------------------------------------------------------

    def _retain(self, retention: Retention, now: Instant, signer: Signer | None) -> None:
        root = self._directory.parent
        holds = load_holds(root)
        if holds.everything:
            return
        marks = holds.marks(Keys.open(root)) if holds.holds else ()
        names = self._names()
        total = sum(name.path.stat().st_size for name in names)
        empty: list[SegmentName] = []
        for place, name in enumerate(names):
            seal = stored.seal(name)
            size = name.path.stat().st_size
            too_big = retention.bytes_max is not None and total > retention.bytes_max
            kinds = ALL_KINDS if too_big else retention.expired(now - seal.at) if seal else frozenset()
            if kinds and self._empty(name, kinds, marks) and len(empty) == place:
                empty.append(name)
                total -= size
            elif kinds:
                total -= size - name.path.stat().st_size
        if signer is not None and empty:
            self._remove(empty, signer, now)

    def _empty(self, name: SegmentName, kinds: frozenset[Kind], marks: tuple[str, ...]) -> bool:
        """Remove the payloads of some kinds. Returns whether none is left, so that the segment may go."""
        if name.path.suffix == SUFFIX:
            return kinds == ALL_KINDS and not holds_any(name.path, marks)
        try:
            with parquet.pinned([name.path]) as files, parquet.opened(list(files)) as old:
                found = compaction.removable(old, kinds, marks)
            if found.gone:
                with self._replacing(name.path) as file:  # noqa: SIM117 – replaced once it is let go
                    with parquet.pinned([name.path]) as files, parquet.opened(list(files)) as old:
                        compaction.rewrite(parquet.rows(old), found.gone, file)
                self._report.emptied[name.path.name] = len(found.gone)
        except (Invalid, OSError, parquet.failures()) as error:
            self._failed(name, error)
            return False
        return found.left == 0

    def _remove(self, empty: list[SegmentName], signer: Signer, now: Instant) -> None:
        kept = stored.list_stored(self._directory)[len(empty)]
        header = stored.header(kept)
        if header is None:
            return
        try:
            with parquet.changing(self._directory):
                state_removal(self._directory, signer, header.boot, header.first, now)
                for name in empty:
                    for suffix in (SUFFIX, stored.COMPACTED, ".cut"):
                        name.path.with_suffix(suffix).unlink(missing_ok=True)
        except OSError as error:  # what goes without a word is a doubt for ever
            self._failed(empty[0], error)
            return
        for name in empty:
            self._report.removed.append(name.path.name)
            log.info("journal.segment_removed", segment=name.path.name)
        sync_directory(self._directory)

    @contextmanager
    def _replacing(self, path: Path) -> Iterator[int]:
        """Give a file that takes the place of another once the block is through."""
        aside = path.with_suffix(".tmp")
        file = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            yield file
            os.fsync(file)
            with parquet.changing(self._directory):
                aside.rename(path)
            sync_directory(self._directory)
        finally:
            os.close(file)
            aside.unlink(missing_ok=True)

    def _failed(self, name: SegmentName, error: Exception) -> None:
        self._report.failed[name.path.name] = str(error)
        log.error("journal.not_archived", segment=name.path.name, why=str(error))


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(root / "archive.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            "The journal is being compacted already.", remedy="Wait for the other process to end."
        ) from None
    else:
        yield
    finally:
        os.close(file)

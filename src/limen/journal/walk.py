"""The walk over one node's segments: each boot's records into its tree, each tree against what was signed."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from limen.core.ids import Instant
from limen.journal import stored
from limen.journal.findings import Doubt, Problem, Unchecked
from limen.journal.frame import MARK
from limen.journal.inspecting import Inspector
from limen.journal.leaves import Reading, Stop, reading
from limen.journal.merkle import Frontier
from limen.journal.naming import id_in, name_records
from limen.journal.segments import BootTree, SegmentHeader, SegmentName
from limen.journal.statements import SKEW_S, Known, Statements
from limen.journal.stored import compacted_path

NEVER = 1 << 63  # a position that no record has


class _Ended(NamedTuple):
    """Where a segment ended, by its file's name, in the tree that is now."""

    name: str
    end: int


class Walk:
    """Verifies one node.

    Attributes:
        records, boots, segments: how many were read; `unproven` of them release 0.1 wrote without proofs.
        newest: boot and size of the newest checkpoint that is true.
        uncovered, uncovered_since: records behind it, and the time of the first of them.
    """

    def __init__(self, node: str, statements: Statements, progress: Callable[[int], None]) -> None:
        self.node = node
        self.doubts: list[Doubt] = []
        self.unchecked: list[Unchecked] = []
        self.records = self.boots = self.segments = 0
        self.newest = ("", 0)
        self._statements, self._progress = statements, progress
        self._inspector = Inspector(node)
        self._tree: Frontier | None = None
        self._position: int | None = None
        self._before: BootTree | None = None  # the boot before, as it was read
        self._ended: _Ended | None = None
        self._marks: list[Known] = []
        self._at: Instant = 0.0  # of the newest true checkpoint
        self.unproven = self.uncovered = 0
        self._boot = ""
        self._old = False  # the segment is of release 0.1
        self._names: Sequence[SegmentName] = ()

    def run(self, names: Sequence[SegmentName]) -> None:
        """Read every segment, or those behind the checkpoint that the reader brought."""
        since = self._statements.since
        read = [name for name in names if since is None or name.boot >= since.boot]
        for boot, group in groupby(read, key=lambda name: name.boot):
            self._walk_boot(boot, tuple(group), last=boot == names[-1].boot)

    @property
    def uncovered_since(self) -> Instant | None:
        """Time of the first record that no true checkpoint covers, if it has one."""
        return self._inspector.first_at

    @property
    def removed(self) -> int:
        """How many payloads retention has removed."""
        return self._inspector.removed

    # --- a boot -----------------------------------------------------------------------------------

    def _walk_boot(self, boot: str, names: Sequence[SegmentName], *, last: bool) -> None:
        self._boot, self._tree, self._position, self._names = boot, None, None, names
        self._marks = [one for one in self._statements.known if one.checkpoint.boot == boot]
        since = self._statements.since
        start = since.size if since is not None and since.boot == boot else 0
        names = _from_position(names, start)
        self.boots += 1
        for index, name in enumerate(names):
            with reading(name) as segment:
                if segment.header is None and not _is_there(name):
                    continue  # retention took it while we read
                newest = last and index == len(names) - 1
                self._walk_segment(name, segment, first=index == 0, newest=newest)
            self._progress(name.path.stat().st_size if name.path.exists() else 0)
        self._end_boot(boot)

    def _end_boot(self, boot: str) -> None:
        end = self._position or 0
        gone = [one.checkpoint.size for one in self._marks if one.checkpoint.size > end]
        if gone:
            text = f"Records {end} to {max(gone) - 1} were signed for and are gone: the tail was cut."
            self._doubt(Problem.CUT, text, end, max(gone))
        if not self._old:
            self.uncovered += end - self.newest[1] if self.newest[0] == boot else end
        for strange in self._inspector.found():
            problem = Problem.CLOCK if strange.clock else Problem.FORGED
            text = f"Record {strange.id or 'without an id'} {strange.why}."
            self._doubt(problem, text, strange.position, strange.position + 1, (strange.id,))
        self._before = BootTree(boot, end, self._tree.root().hex() if self._tree else "")

    # --- a segment --------------------------------------------------------------------------------

    def _walk_segment(self, name: SegmentName, segment: Reading, *, first: bool, newest: bool) -> None:
        self.segments += 1
        header = segment.header
        if header is None:
            self._doubt(Problem.DAMAGED, f"{name.path.name}: its first frame is damaged.")
            self._tree, segment.position = None, self._position or 0
        else:
            self._check_header(name, header, first=first)
            self._join(name, header)
        self._set_clock()
        self._read(name, segment, newest=newest)
        for position in segment.misfits():
            text = f"{compacted_path(name).name} would be searched by other words than the record has."
            self._doubt(Problem.UNREADABLE, text, position, position + 1)
        self._position = segment.position
        self._ended = _Ended(name.path.with_suffix(".seg").name, segment.position)

    def _check_header(self, name: SegmentName, header: SegmentHeader, *, first: bool) -> None:
        """A segment says whose it is and what it follows; all of that must be so."""
        if (header.node, header.boot, header.number) != (self.node, name.boot, name.number):
            text = (
                f"{name.path.name} says it is segment {header.number} of boot {header.boot} of {header.node}."
            )
            self._doubt(Problem.MISPLACED, text, header.first)
        if self._ended is None:
            self._check_beginning(header)
        elif (header.previous, header.previous_end) != self._ended:
            self._check_gap(name, header, self._ended, first=first)
        elif first and header.frontier is not None and not self._follows(header.after):
            text = "The boot does not go on from the boot before it as that is now."
            self._doubt(Problem.BROKEN_CHAIN, text, 0)

    def _check_gap(self, name: SegmentName, header: SegmentHeader, ended: _Ended, *, first: bool) -> None:
        if (header.boot, header.first) <= self._statements.removed:
            text = f"Everything before record {header.first} may be gone (retention), and a part of it is."
            self._unchecked("removed", text, None)
            signed = self.newest[1] if ended.name.startswith(f"{self.newest[0]}-") else 0
            if self.newest[0] == "" or signed < ended.end:
                text = f"Records before what was removed, in {ended.name}, and nobody has signed for them."
                self._doubt(Problem.UNSIGNED, text, signed, ended.end)
            self._before, self._ended = None, None
            return
        text = (
            f"{name.path.name} goes on from {header.previous} at {header.previous_end}; before it stands "
            f"{ended.name}, which ends at {ended.end}."
        )
        self._doubt(Problem.BROKEN_CHAIN if first else Problem.MISSING, text, ended.end, header.first)

    def _follows(self, after: BootTree | None) -> bool:
        """Whether the boot that was read before is the one that a boot says it follows."""
        before = self._before
        if before is None or after is None:
            return after == before
        same_end = (after.boot, after.size) == (before.boot, before.size)
        return same_end and (not before.root or after.root == before.root)

    def _check_beginning(self, header: SegmentHeader) -> None:
        """The oldest segment that is there: everything before it was removed on purpose, or never was."""
        since = self._statements.since
        if since is not None and (header.boot, header.first) <= (since.boot, since.size):
            return
        oldest = header.number == 1 and header.after is None
        if oldest and (header.frontier is not None or header.boot.startswith("00000001-")):
            return
        place = f"before record {header.first} of boot {header.boot}"
        if (header.boot, header.first) <= self._statements.removed or header.frontier is None:
            text = f"Everything {place} was removed (retention)."
            self.unchecked.append(Unchecked(self.node, "removed", text, header.boot))
        else:
            text = f"Everything {place} is gone, and nobody has signed that it was removed."
            self._doubt(Problem.BEGINNING_GONE, text, 0, header.first)

    def _join(self, name: SegmentName, header: SegmentHeader) -> None:
        """Go on with the tree that was read, if it is the one that the segment goes on from."""
        self._old = header.frontier is None
        if header.frontier is None:
            self._tree = None
            if self._marks or (self._before is not None and self._before.root):
                text = f"{name.path.name} has no proofs, though this node has written them before."
                self._doubt(Problem.CHANGED, text, header.first)
            return
        try:
            stated = Frontier.parse(header.first, header.frontier)
        except ValueError:
            self._doubt(Problem.CHANGED, f"{name.path.name}: its frontier is none.", header.first)
            self._tree = None
            return
        grown = self._tree is not None and self._tree.size == stated.size  # else it was told what is missing
        if self._tree is not None and grown and self._tree.roots != stated.roots:
            text = f"{name.path.name} does not go on from the records before it: they, or it, were changed."
            self._doubt(Problem.CHANGED, text, 0, header.first)
        self._tree = stated

    def _read(self, name: SegmentName, segment: Reading, *, newest: bool) -> None:
        """Read a segment to its end, stopping at each checkpoint."""
        told = len(self.doubts)
        while True:
            self._check_marks(segment.position)
            until, start = self._marks[0].checkpoint.size if self._marks else NEVER, segment.position
            stop = segment.advance(self._tree, until, self._inspector)
            self.records += segment.position - start
            self.unproven += segment.position - start if self._old else 0
            if stop is Stop.SEAL:
                if len(self.doubts) == told:
                    self._check_seal(name, segment)
                return
            if stop is Stop.END:
                return
            if stop is Stop.UNSOUND and not self._pass_over(name, segment, newest=newest):
                return

    def _pass_over(self, name: SegmentName, segment: Reading, *, newest: bool) -> bool:
        """Say what is wrong in place of the next frame. Returns whether frames follow."""
        expected = segment.position
        found = segment.skip()
        if found.position is None and newest and segment.grows and found.text.count(MARK) <= 1:
            text = (
                f"{name.path.name}: the last {found.size} bytes are not written to their end (a torn write?)."
            )
            self.unchecked.append(Unchecked(self.node, "torn", text, self._boot))
            return False
        self._tree = None
        if found.position is None:
            text = f"{name.path.name}: {found.size} bytes at {found.offset} are damaged, to the end."
            self._doubt(Problem.DAMAGED, text, expected, None, id_in(found.text))
            return False
        if found.position == expected and found.size == 0:
            self._doubt(Problem.DAMAGED, f"{name.path.name}: a frame that does not belong there.", expected)
            return False
        what = f"{found.size} bytes at {found.offset} are damaged" if found.size else "the order is broken"
        text = f"{name.path.name}: {what}; record {expected} should be there, then comes {found.position}."
        problem = Problem.DAMAGED if found.size else Problem.MISSING
        self._doubt(problem, text, expected, max(expected + 1, found.position), id_in(found.text))
        return True

    def _check_seal(self, name: SegmentName, segment: Reading) -> None:
        seal = segment.seal
        tree = self._tree.render() if self._tree is not None else None
        right = seal is not None and seal.end == segment.position and segment.has_sound_bytes()
        if not right or (seal and tree is not None and seal.frontier is not None and seal.frontier != tree):
            text = f"{name.path.name}: its seal does not fit what it seals."
            self._doubt(Problem.CHANGED, text, segment.header.first if segment.header else None)

    # --- checkpoints ------------------------------------------------------------------------------

    def _check_marks(self, position: int) -> None:
        """Compare the tree with the checkpoints of its size."""
        while self._marks and self._marks[0].checkpoint.size <= position:
            mark = self._marks.pop(0).checkpoint
            if mark.size < position or self._tree is None:
                continue  # before what is still there, or behind damage that was told
            if self._tree.root() != mark.root:
                since = self.newest[1] if self.newest[0] == self._boot else 0
                text = f"Records {since} to {mark.size - 1} are not those that were signed."
                named = name_records(self._names, since, mark.size)
                self._doubt(Problem.CHANGED, text, since, mark.size, named)
            elif self._before is not None and not self._follows(mark.after):
                text = f"Checkpoint {mark.size} goes on from another boot before it than is there."
                self._doubt(Problem.BROKEN_CHAIN, text, 0)
            else:
                self.newest, self._at = (self._boot, mark.size), max(self._at, float(mark.at))
                self.uncovered, self._inspector.first_at = 0, None
        self._set_clock()

    def _set_clock(self) -> None:
        """Records that come now were written after the last checkpoint, and before the next."""
        following = self._marks[0] if self._marks else None
        self._inspector.earliest = self._at - SKEW_S
        times = (following.checkpoint.at, following.witnessed_at or 0) if following else (float("inf"),)
        self._inspector.latest = max(times) + SKEW_S

    # --- telling ---------------------------------------------------------------------------------

    def _unchecked(self, what: str, text: str, records: int | None, since: Instant | None = None) -> None:
        self.unchecked.append(Unchecked(self.node, what, text, self._boot, records, since))

    def _doubt(
        self,
        problem: Problem,
        text: str,
        position: int | None = None,
        until: int | None = None,
        records: tuple[str, ...] = (),
    ) -> None:
        named = tuple(record for record in records if record)
        self.doubts.append(Doubt(self.node, problem, text, self._boot, position, until, named))


def _is_there(name: SegmentName) -> bool:
    return name.path.exists() or compacted_path(name).exists()


def _from_position(names: Sequence[SegmentName], position: int) -> Sequence[SegmentName]:
    """Return the segments of one boot from the one on that holds a position."""
    for index in range(len(names) - 1, 0, -1):
        header = stored.header(names[index]) if position else None
        if header is not None and header.first <= position:
            return names[index:]
    return names

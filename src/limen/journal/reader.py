"""Reading the journal: everything in order, one decision with what belongs to it, the newest that match.

Reads beside a running writer. What is damaged is passed over and counted in `losses`; the unfinished
end of a segment that is being written is simply not there yet.
"""

import heapq
import mmap
from collections.abc import Iterator
from pathlib import Path

import msgspec

from limen.core.errors import NotFound
from limen.core.ids import Instant
from limen.core.record import (
    BundleRecord,
    DecisionRecord,
    EventRecord,
    InputsRecord,
    OutcomeRecord,
    Record,
)
from limen.journal.frame import Damage, Frame, Kind, scan
from limen.journal.query import Query
from limen.journal.records import decode_record
from limen.journal.segments import Loss, SegmentName, list_segments, mapped, read_seal


class Joined(msgspec.Struct, frozen=True):
    """A decision with Envoy's outcome, when that has come."""

    decision: DecisionRecord
    outcome: OutcomeRecord | None = None


class Found(msgspec.Struct, frozen=True):
    """One decision with all from which it can be derived again (law D5)."""

    decision: DecisionRecord
    outcome: OutcomeRecord | None = None
    inputs: InputsRecord | None = None
    bundle: BundleRecord | None = None


class JournalReader:
    """The journals of all nodes under one folder.

    Attributes:
        losses: damage met so far by this reader.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.losses: list[Loss] = []

    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that have written here."""
        if not self._root.is_dir():
            return ()
        return tuple(sorted(path.name for path in self._root.iterdir() if path.is_dir()))

    def read(self, *, node: str | None = None, since: Instant | None = None) -> Iterator[Record]:
        """Yield records in the order in which each node wrote them, node after node.

        `since` skips decisions, outcomes and events before that instant; inputs and bundles are always
        given, since later decisions lean on them.
        """
        for name in self._segments(node):
            if since is not None and _sealed_before(name.path, since):
                continue
            for frame in self._frames(name):
                record = decode_record(frame)
                if since is None or getattr(record, "at", since) >= since:
                    yield record

    def find(self, decision_id: str) -> Found:
        """Return one decision with its outcome, inputs and bundle.

        Raises:
            NotFound: no node here has recorded it.
        """
        decision: DecisionRecord | None = None
        outcome: OutcomeRecord | None = None
        for record in self._records_naming(decision_id, (Kind.DECISION, Kind.OUTCOME)):
            if isinstance(record, DecisionRecord) and record.id == decision_id:
                decision = record
            elif isinstance(record, OutcomeRecord) and record.id == decision_id:
                outcome = record
        if decision is None:
            raise NotFound(
                f"No decision {decision_id} is recorded here.",
                remedy="Check the id; it may be older than the journal's retention, or of another system.",
            )
        return Found(decision, outcome, self._inputs(decision.inputs), self._bundle(decision.bundle))

    def search(self, query: Query) -> tuple[Joined, ...]:
        """Return the newest decisions that match, newest first, with their outcomes."""
        streams = [self._matching(node, query) for node in self.nodes()]
        found = heapq.merge(*streams, key=lambda joined: joined.decision.at, reverse=True)
        return tuple(joined for joined, _ in zip(found, range(query.limit), strict=False))

    def events(self, *, since: Instant | None = None, kind: str = "") -> Iterator[EventRecord]:
        """Yield events whose kind starts with `kind`, node after node, oldest first."""
        for name in self._segments(None):
            if since is not None and _sealed_before(name.path, since):
                continue
            for frame in self._frames(name):
                if frame.kind == Kind.EVENT:
                    record = decode_record(frame)
                    assert isinstance(record, EventRecord)
                    if record.kind.startswith(kind) and (since is None or record.at >= since):
                        yield record

    # --- inside -----------------------------------------------------------------------------------

    def _segments(self, node: str | None) -> Iterator[SegmentName]:
        for name in (node,) if node else self.nodes():
            yield from list_segments(self._root / name)

    def _frames(self, name: SegmentName) -> Iterator[Frame]:
        """Yield the records' frames of one segment, as long as it is now."""
        with mapped(name.path) as data:
            for part in scan(data):
                if isinstance(part, Frame):
                    if part.kind < Kind.HEADER:
                        yield part
                elif part.end < len(data) or read_seal(data):
                    self._note(name, part)

    def _note(self, name: SegmentName, damage: Damage) -> None:
        loss = Loss(str(name.path), damage.offset, damage.end - damage.offset, None)
        if loss not in self.losses:
            self.losses.append(loss)

    def _records_naming(self, text: str, kinds: tuple[Kind, ...]) -> Iterator[Record]:
        """Yield the records whose bytes hold `text`, newest segment first.

        A search of the raw bytes runs at memory speed, so no index needs to be kept or believed.
        """
        wanted = text.encode()
        for name in reversed(tuple(self._segments(None))):
            with mapped(name.path) as data:
                if _holds(data, wanted):
                    for frame in self._frames(name):
                        if frame.kind in kinds and wanted in frame.payload:
                            yield decode_record(frame)

    def _inputs(self, inputs_id: str) -> InputsRecord | None:
        for record in self._records_naming(inputs_id, (Kind.INPUTS,)) if inputs_id else ():
            if isinstance(record, InputsRecord) and record.id == inputs_id:
                return record
        return None

    def _bundle(self, bundle_id: str) -> BundleRecord | None:
        for record in self._records_naming(bundle_id, (Kind.BUNDLE,)) if bundle_id else ():
            if isinstance(record, BundleRecord) and record.id == bundle_id:
                return record
        return None

    def _matching(self, node: str, query: Query) -> Iterator[Joined]:
        """Yield matching decisions of one node, newest first.

        Outcomes stand behind their decisions, so reading backwards meets them first.
        """
        outcomes: dict[str, OutcomeRecord] = {}
        for name in reversed(list_segments(self._root / node)):
            if query.since is not None and _sealed_before(name.path, query.since):
                return
            for frame in reversed(tuple(self._frames(name))):
                if frame.kind not in (Kind.DECISION, Kind.OUTCOME):
                    continue
                record = decode_record(frame)
                if isinstance(record, OutcomeRecord):
                    outcomes[record.id] = record
                elif isinstance(record, DecisionRecord):
                    outcome = outcomes.pop(record.id, None)
                    if query.matches(record):
                        yield Joined(record, outcome)


def _holds(data: memoryview, wanted: bytes) -> bool:
    """Search in the map itself: a slice would copy it, and `in` would go byte by byte."""
    source = data.obj
    assert isinstance(source, bytes | mmap.mmap)
    return source.find(wanted) >= 0


def _sealed_before(path: Path, since: Instant) -> bool:
    """Whether everything in a segment was written before `since`. A damaged seal means no."""
    with mapped(path) as data:
        seal = read_seal(data)
    return seal is not None and not seal.recovered and seal.at < since

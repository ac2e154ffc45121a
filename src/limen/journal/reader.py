"""Reading the journal: everything in order, one decision with what belongs to it, the newest that match.

Reads beside a running writer. What is damaged is passed over and counted in `losses`; the unfinished
end of a segment that is being written is simply not there yet.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from limen.core.errors import Conflict, Invalid, NotFound
from limen.core.ids import Instant
from limen.core.record import (
    BundleRecord,
    DecisionRecord,
    EventRecord,
    InputsRecord,
    OutcomeRecord,
    Record,
)
from limen.journal import raw, stored
from limen.journal.compacted import opened_table
from limen.journal.frame import Damage, Kind
from limen.journal.keys import Keys
from limen.journal.query import DECISIONS, Query
from limen.journal.records import decode_payload
from limen.journal.retention import ALL_KINDS
from limen.journal.search import Joined, search
from limen.journal.segments import Loss, SegmentName

_ID = re.compile(r"[0-9a-f]{32}")

log = structlog.get_logger("limen.journal")

__all__ = ["Found", "Joined", "JournalReader"]


class Found(msgspec.Struct, frozen=True):
    """One decision with all from which it can be derived again (law D5)."""

    decision: DecisionRecord
    outcome: OutcomeRecord | None = None
    inputs: InputsRecord | None = None
    bundle: BundleRecord | None = None


class JournalReader:
    """The journals of all nodes under one folder.

    Attributes:
        losses: damage met so far by `read` and `events`.
        unreadable: records passed over because they are none that this release knows.
    """

    def __init__(self, root: Path, keys: Keys | None = None) -> None:
        self._root = root
        self._keys = keys or Keys.open(root)
        self.losses: list[Loss] = []
        self.unreadable = 0

    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that have written here."""
        return stored.list_nodes(self._root)

    def read(
        self,
        *,
        node: str | None = None,
        since: Instant | None = None,
        kinds: frozenset[Kind] = ALL_KINDS,
    ) -> Iterator[Record]:
        """Yield records in the order in which each node wrote them, node after node.

        `since` skips decisions, outcomes and events before that instant; inputs and bundles are always
        given, since later decisions lean on them. What is not of `kinds` is not even decoded.
        """
        for record in self._records(node, since, kinds):
            if since is None or getattr(record, "at", since) >= since:
                yield record

    def find(self, decision_id: str) -> Found:
        """Return one decision with its outcome, inputs and bundle.

        Raises:
            NotFound: no node here has recorded it.
            Conflict: several nodes have: all but one lie, and none is preferred (`DECISION_AMBIGUOUS`).
        """
        made_at = _made_at(decision_id)
        windows = [(made_at - 1, made_at + 1)] if made_at is not None else []
        for since, until in (*windows, (None, None)):
            hits = self.search(Query(id=decision_id, since=since, until=until, limit=2))
            nodes = sorted({hit.decision.node for hit in hits})
            if len(nodes) > 1:
                raise Conflict(
                    f"Decision {decision_id[:64]} is recorded by {' and '.join(nodes)}.",
                    remedy="Ids are never given twice: find out which of them forges records.",
                    code="DECISION_AMBIGUOUS",
                )
            for hit in hits:
                one = hit.decision
                return Found(
                    one, hit.outcome, self._inputs(one.inputs, one.at), self._bundle(one.bundle, one.at)
                )
        raise NotFound(
            f"No decision {decision_id[:64]} is recorded here.",
            remedy="Check the id; it may be older than the journal's retention, or of another system.",
        )

    def search(self, query: Query) -> tuple[Joined, ...]:
        """Return the newest decisions that match, newest first, with their outcomes."""
        asked = msgspec.structs.replace(query, kinds=(DECISIONS,))
        return tuple(hit for hit in search(self._root, asked, self._keys) if isinstance(hit, Joined))

    def events(self, *, since: Instant | None = None, kind: str = "") -> Iterator[EventRecord]:
        """Yield events whose kind starts with `kind`, node after node, oldest first."""
        for record in self._records(None, since, frozenset({Kind.EVENT})):
            assert isinstance(record, EventRecord)
            if record.kind.startswith(kind) and (since is None or record.at >= since):
                yield record

    # --- inside -----------------------------------------------------------------------------------

    def _segments(self, node: str | None) -> Iterator[SegmentName]:
        for name in stored.journals_of(self._root, node) if node else self.nodes():
            yield from stored.list_stored(self._root / name)

    def _records(self, node: str | None, since: Instant | None, kinds: frozenset[Kind]) -> Iterator[Record]:
        for name in self._segments(node):
            seal = stored.seal(name)
            if since is not None and seal is not None and not seal.recovered and seal.at < since:
                continue
            torn: Damage | None = None
            for part in stored.parts(name):
                if torn is not None:
                    self._note(name, torn)
                torn = part if isinstance(part, Damage) else None
                if not isinstance(part, Damage) and part.kind in kinds and part.payload is not None:
                    record = self._decode(part.position, part.payload)
                    if record is not None:
                        yield record
            if torn is not None and seal is not None:
                self._note(name, torn)

    def _note(self, name: SegmentName, damage: Damage) -> None:
        loss = Loss(str(name.path), damage.offset, damage.end - damage.offset, None)
        if loss not in self.losses:
            self.losses.append(loss)

    def _naming(self, text: str, kind: Kind, until: Instant) -> Iterator[Record]:
        """Yield records of a kind whose bytes hold `text`: first of what began by `until`, newest first."""
        names = list(self._segments(None))
        later: list[SegmentName] = []
        while names or later:
            name = names.pop() if names else later.pop(0)
            header = stored.header(name)
            if names and header is not None and header.at > until:
                later.append(name)
                continue
            for position, payload in _holding(name, text, kind):
                record = self._decode(position, payload)
                if record is not None:
                    yield record

    def _decode(self, position: int, payload: bytes) -> Record | None:
        """Return the record, if it is one: what a gateway in strange hands wrote must not hide the others."""
        try:
            return decode_payload(payload, position, self._keys)
        except Invalid as error:
            self.unreadable += 1
            log.error("journal.unreadable", why=error.message)
            return None

    def _inputs(self, inputs_id: str, until: Instant) -> InputsRecord | None:
        for record in self._naming(inputs_id, Kind.INPUTS, until) if inputs_id else ():
            if isinstance(record, InputsRecord) and record.id == inputs_id:
                return record
        return None

    def _bundle(self, bundle_id: str, until: Instant) -> BundleRecord | None:
        for record in self._naming(bundle_id, Kind.BUNDLE, until) if bundle_id else ():
            if isinstance(record, BundleRecord) and record.id == bundle_id:
                return record
        return None


def _holding(name: SegmentName, text: str, kind: Kind) -> Iterator[tuple[int, bytes]]:
    with stored.opened(name) as data:
        if data is not None:
            for frame in raw.frames_back(data, (text.encode(),)):
                if frame.kind == kind:
                    yield frame.position, frame.payload
            return
    with opened_table([stored.compacted_path(name)]) as table:
        for one in table.naming(text, kind):
            yield one.position, one.payload


def _made_at(decision_id: str) -> Instant | None:
    """Return the instant that a decision's id tells (`new_decision_id`)."""
    return int(decision_id[:12], 16) / 1000 if _ID.fullmatch(decision_id) else None

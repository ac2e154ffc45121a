"""Records into rows: the fields that may leave, decisions joined with their outcomes.

Laws:
    X4 joined or told. Each outcome leaves once: in its decision's row when it was written soon enough, else
        in a row of its own with the decision's id.
    X5 classed. Nothing leaves that `limen.journal.fields` calls secret, but for the members of event data
        that `event_data` names.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from limen.core.ids import Instant
from limen.core.record import DecisionRecord, EventRecord, OutcomeRecord, Record
from limen.journal.export.event_data import exported_data
from limen.journal.export.text import clean, is_clean
from limen.journal.fields import exportable
from limen.journal.follow import Stored

DECISIONS, EVENTS = "decisions", "events"
CLASSES = (DECISIONS, EVENTS)

_INSIDE = ("key", "actor_key")  # name a person's key: of no use outside, and one more thing to link by
_OF_OUTCOME = ("status", "duration_ms", "bytes_in", "bytes_out", "flags", "details")

Place = tuple[str, str, int]


class Row(msgspec.Struct, frozen=True):
    """One exported record. `fields` has its `type`: decision, event, or outcome (of an earlier decision)."""

    node: str
    boot: str
    position: int
    fields: Mapping[str, Any]

    @property
    def uid(self) -> str:
        """What tells duplicates: the record's place in the journal, for ever its own."""
        return f"{self.node}/{self.boot}/{self.position}"

    @property
    def at(self) -> Instant:
        """When it happened."""
        return float(self.fields.get("at", 0.0))


class Wanted(msgspec.Struct, frozen=True):
    """Which rows are asked for.

    Attributes:
        since, until: first instant that counts, and the first that does not.
        subject: a person or workload, as subject, actor or target; `ada` or `User::"ada"`.
    """

    classes: Collection[str] = CLASSES
    since: Instant | None = None
    until: Instant | None = None
    subject: str | None = None

    def has(self, row: Row) -> bool:
        """Whether a row is asked for."""
        if (self.since is not None and row.at < self.since) or (
            self.until is not None and row.at >= self.until
        ):
            return False
        return self.subject is None or self._names(row.fields)

    def _names(self, fields: Mapping[str, Any]) -> bool:
        assert self.subject is not None
        wanted = {self.subject, f'User::"{self.subject}"', f'Workload::"{self.subject}"'}
        data = fields.get("data")
        inner = data if isinstance(data, Mapping) else {}
        named = [fields.get(name) for name in ("subject", "actor", "target")]
        return any(name in wanted for name in (*named, inner.get("person"), inner.get("principal")))


class Joiner:
    """Turns batches of records into rows, looking for outcomes in the batch and in the one after it."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._told: frozenset[Place] = frozenset()  # outcomes that stand in rows of the last batch

    def rows(self, batch: Sequence[Stored], ahead: Sequence[Stored] = ()) -> list[Row]:
        """Return the rows of a batch. `ahead` is the batch that comes next, if it is there already."""
        outcomes = {s.record.id: s for s in (*ahead, *batch) if isinstance(s.record, OutcomeRecord)}
        decided = (s.record.id for s in batch if isinstance(s.record, DecisionRecord))
        told = frozenset(outcomes[one][:3] for one in decided if one in outcomes)
        known, self._told = told | self._told, told
        found = [row for stored in batch if (row := self._row(stored, outcomes, known)) is not None]
        return [row for row in found if self._wanted.has(row)]

    def _row(self, stored: Stored, outcomes: Mapping[str, Stored], told: Collection[Place]) -> Row | None:
        record, classes = stored.record, self._wanted.classes
        if isinstance(record, EventRecord):
            return _row(stored, _event(record)) if EVENTS in classes else None
        if DECISIONS not in classes:
            return None
        if isinstance(record, DecisionRecord):
            after = outcomes.get(record.id)
            return _row(stored, _decision(record, None if after is None else after.record))
        if isinstance(record, OutcomeRecord) and stored[:3] not in told:
            return _row(stored, _fields(record))
        return None


def _row(stored: Stored, fields: Mapping[str, Any]) -> Row:
    return Row(stored.node, stored.boot, stored.position, fields)


def _decision(record: DecisionRecord, outcome: Record | None) -> dict[str, Any]:
    fields = _fields(record)
    if outcome is not None:
        shown = _fields(outcome)
        fields |= {name: shown[name] for name in _OF_OUTCOME if name in shown}
    return fields


def _event(record: EventRecord) -> dict[str, Any]:
    fields = _fields(record)
    data = exported_data(record.kind, record.data)
    return {**fields, "data": data} if data else fields


def _fields(record: Record) -> dict[str, Any]:
    shown = exportable(record)
    return {
        name: value if is_clean(value) else clean(value)
        for name, value in shown.items()
        if name not in _INSIDE
    }

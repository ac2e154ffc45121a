"""Recording: a decision becomes a journal record, and what derives it again is stored once (law D5)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from limen.core.changes import BundleFact
from limen.core.decision import AccessRequest, Decision, Facts
from limen.core.record import BundleRecord, DecisionRecord, InputsRecord, Record
from limen.engine.policies import Policies
from limen.journal.intake import Once

InputsOf = Callable[[AccessRequest, Facts, Policies], Mapping[str, Any]]
"""Picks the stable inputs of a decision, JSON-ready."""

NEVER_S = 1e9
"""Age of facts that nobody ever confirmed, as it is recorded: JSON has no infinity."""

_canonical = msgspec.json.Encoder(order="deterministic")


class JournalPort(Protocol):
    """Where records go. Each method raises `Unavailable` when nothing was written."""

    def append(self, record: Record, *, urgent: bool = False) -> object:
        """Write a record before returning."""
        ...

    def append_many(self, items: Sequence[Record | Once], *, urgent: bool = False) -> object:
        """Write records, all or none of them, before returning."""
        ...

    def salted(self, content: bytes) -> str:
        """Return the salted hash under which inputs are stored."""
        ...


class Entry(msgspec.Struct, frozen=True):
    """A record with what must be in the journal before it. `facts` is None when no engine was asked."""

    record: DecisionRecord
    inputs: Callable[[], InputsRecord] | None = None
    bundle: BundleFact | None = None


class Recorder:
    """Builds entries, and writes them.

    Args:
        point: the enforcement point that asks: gateway, admin-api.
        inputs_of: the engine's `stable_inputs`.
        urgent: its records may use the reserve of a full disk.
    """

    def __init__(
        self, journal: JournalPort, node: str, inputs_of: InputsOf, *, point: str, urgent: bool = False
    ) -> None:
        self._journal = journal
        self._node = node
        self._inputs_of = inputs_of
        self._point = point
        self._urgent = urgent
        self._bundle: tuple[BundleFact, Once] | None = None

    def inputs_id(self, request: AccessRequest, facts: Facts, policies: Policies) -> str:
        """Return the salted hash of the stable inputs. Costly: callers keep it."""
        return self._journal.salted(_canonical.encode(self._inputs_of(request, facts, policies)))

    def inputs(
        self, inputs_id: str, request: AccessRequest, facts: Facts, policies: Policies
    ) -> Callable[[], InputsRecord]:
        """Return what makes the record of stable inputs, should the journal not have it yet."""
        return lambda: InputsRecord(inputs_id, self._inputs_of(request, facts, policies))

    def entry(
        self,
        request: AccessRequest,
        decision: Decision,
        *,
        bundle: BundleFact | None,
        took_us: int,
        age_s: float,
        remedies: tuple[str, ...] = (),
        inputs_id: str = "",
        inputs: Callable[[], InputsRecord] | None = None,
    ) -> Entry:
        """Return what is to be written for a decision."""
        subject = request.subject
        record = DecisionRecord(
            id=request.id,
            at=request.at,
            node=self._node,
            point=self._point,
            verdict=decision.verdict.value,
            code=decision.code.value,
            bundle=decision.bundle,
            inputs=inputs_id,
            action=request.action,
            resource=str(request.resource),
            subject=None if subject is None else str(subject),
            session=request.session_id,
            method=request.method,
            host=request.host,
            path=request.path,
            ip=request.ip,
            policies=decision.policies,
            errors=decision.errors,
            remedies=remedies,
            memo=decision.memo,
            took_us=took_us,
            age_s=age_s if age_s <= NEVER_S else NEVER_S,
        )
        return Entry(record, inputs, bundle)

    def write(self, entry: Entry) -> None:
        """Write an entry. Raises as `write_many`."""
        self.write_many((entry,))

    def write_many(self, entries: Sequence[Entry]) -> None:
        """Write entries with one write, what each needs first: all of them, or none.

        Raises:
            Unavailable: the journal did not take them: then their answers must not leave.
        """
        items: list[Record | Once] = []
        for entry in entries:
            if entry.bundle is not None:
                items.append(self._bundle_once(entry.bundle))
            if entry.inputs is not None:
                items.append(Once("inputs", entry.record.inputs, entry.inputs))
            items.append(entry.record)
        self._journal.append_many(items, urgent=self._urgent)

    def _bundle_once(self, fact: BundleFact) -> Once:
        """Return what stores a bundle; nearly every entry has the same."""
        if self._bundle is None or self._bundle[0] is not fact:
            self._bundle = fact, Once("bundle", fact.bundle_id, partial(bundle_record, fact))
        return self._bundle[1]


def bundle_record(fact: BundleFact) -> BundleRecord:
    """Return the record of a bundle under which decisions are made."""
    return BundleRecord(fact.bundle_id, fact.files)

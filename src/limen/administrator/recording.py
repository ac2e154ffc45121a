"""Recording: a decision becomes a journal record, and what derives it again is stored once (law D5)."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from limen.core.changes import BundleFact
from limen.core.decision import AccessRequest, Decision, Facts
from limen.core.record import BundleRecord, DecisionRecord, InputsRecord, Record
from limen.engine.policies import Policies

InputsOf = Callable[[AccessRequest, Facts, Policies], Mapping[str, Any]]
"""Picks the stable inputs of a decision, JSON-ready."""

_canonical = msgspec.json.Encoder(order="deterministic")


class JournalPort(Protocol):
    """Where records go. Each method raises `Unavailable` when nothing was written."""

    def append(self, record: Record, *, urgent: bool = False) -> object:
        """Write a record before returning."""
        ...

    def append_once(
        self, kind: str, record_id: str, make: Callable[[], Record], *, urgent: bool = False
    ) -> bool:
        """Write what `make` returns unless it is there already."""
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
            age_s=age_s,
        )
        return Entry(record, inputs, bundle)

    def write(self, entry: Entry) -> None:
        """Write an entry, what it needs first.

        Raises:
            Unavailable: the journal did not take it: then its answer must not leave.
        """
        bundle = entry.bundle
        if bundle is not None:
            self._journal.append_once(
                "bundle", bundle.bundle_id, lambda: bundle_record(bundle), urgent=self._urgent
            )
        if entry.inputs is not None:
            self._journal.append_once("inputs", entry.record.inputs, entry.inputs, urgent=self._urgent)
        self._journal.append(entry.record, urgent=self._urgent)


def bundle_record(fact: BundleFact) -> BundleRecord:
    """Return the record of a bundle under which decisions are made."""
    return BundleRecord(fact.bundle_id, fact.files)

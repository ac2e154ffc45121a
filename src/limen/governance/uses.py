"""Recorded use: every distinct way in which access was used, with how often and when last.

A use is a class of allowed decisions that policies cannot tell apart: same stable inputs, action, resource
and determining policies. Cedar names *every* satisfied permit of an allow, so the set of permits and grants
that each would have done is known without asking again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from limen.core.decision import Code, Verdict
from limen.core.ids import Instant
from limen.core.record import DecisionRecord, InputsRecord, Record


class Use(msgspec.Struct):
    """One class of allowed decisions. `sample` is the newest of them."""

    sample: DecisionRecord
    count: int = 0
    last_at: Instant = 0.0


class Uses(msgspec.Struct):
    """What was used in a period, and what it was derived from.

    Attributes:
        inputs: stored facts by their id, of all uses.
        seen: last decision of each subject, allowed or not.
        first_at: of the oldest decision in the period.
        lost: allowed decisions whose inputs are gone (erased, or removed by retention).
    """

    uses: tuple[Use, ...]
    inputs: Mapping[str, Mapping[str, Any]]
    seen: Mapping[str, Instant]
    records: int = 0
    lost: int = 0
    first_at: Instant | None = None


def collect_uses(records: Iterable[Record], since: Instant) -> Uses:
    """Read what was used since an instant. Inputs that stand before their decisions are kept."""
    found: dict[tuple[str, str, str, tuple[str, ...], str], Use] = {}
    inputs: dict[str, Mapping[str, Any]] = {}
    seen: dict[str, Instant] = {}
    total, first_at = 0, None
    for record in records:
        if isinstance(record, InputsRecord):
            inputs[record.id] = record.facts
        elif isinstance(record, DecisionRecord) and record.at >= since:
            total += 1
            first_at = record.at if first_at is None else min(first_at, record.at)
            if record.subject is not None:
                seen[record.subject] = max(seen.get(record.subject, 0.0), record.at)
            if is_use(record):
                _count(found, record)
    lost = sum(use.count for use in found.values() if not _has_facts(inputs.get(use.sample.inputs)))
    kept = tuple(use for use in found.values() if _has_facts(inputs.get(use.sample.inputs)))
    wanted = {use.sample.inputs for use in kept}
    return Uses(
        kept, {key: facts for key, facts in inputs.items() if key in wanted}, seen, total, lost, first_at
    )


def is_use(record: DecisionRecord) -> bool:
    """Whether a decision is access that policies permitted, and that was not only let through."""
    return record.verdict == Verdict.ALLOW and record.code == Code.PERMITTED and record.would_be is None


def _count(found: dict[tuple[str, str, str, tuple[str, ...], str], Use], record: DecisionRecord) -> None:
    key = (record.inputs, record.action, record.resource, record.policies, record.bundle)
    use = found.setdefault(key, Use(record))
    use.count += 1
    if record.at >= use.last_at:
        use.last_at, use.sample = record.at, record


def _has_facts(facts: Mapping[str, Any] | None) -> bool:
    return facts is not None and "resource" in facts

"""Counting what a replay finds, so that what 20,000 people meet can be read. It goes to a file and back."""

from collections import Counter

import msgspec

from limen.core.ids import Instant
from limen.core.record import DecisionRecord
from limen.engine.replay_report import Difference, Effect, Mismatch, Report, Side, Underived

SAMPLES_MAX = 5  # ids of decisions that stand for a group
MISMATCHES_MAX = 100
GROUPS_MAX = 8  # groups that are named beside a difference

_ORDER = {effect: place for place, effect in enumerate(Effect)}

SENTENCES = {
    "no_inputs": "Nothing was stored to derive them from.",
    "inputs_missing": "Their inputs are no longer in the journal.",
    "inputs_unreadable": "Their stored inputs cannot be read.",
    "inputs_changed": "Their stored inputs are not what their digests say: verify the journal.",
    "erased": "What was known of these people was erased.",
    "bundle_missing": "Their bundle is no longer in the journal.",
    "bundle_unreadable": "Their bundle is none for this release.",
    "not_by_policy": "They were refused by what no policy and no record holds: headers, a limit.",
    "nobody": "Nobody was signed in, so who asked is not known.",
}
"""Why a decision was not derived."""

RowKey = tuple[Effect, Side, Side, tuple[str, ...]]


class Row(msgspec.Struct):
    """Equal differences, as they are counted."""

    effect: Effect
    before: Side
    after: Side
    remedies: tuple[str, ...] = ()
    owner: str = ""
    times: int = 0
    first_at: Instant = 0.0
    last_at: Instant = 0.0
    who: dict[str, int] = {}
    samples: list[str] = []


class Missed(msgspec.Struct):
    """Decisions that were not derived, for one reason."""

    times: int = 0
    samples: list[str] = []


class Tally(msgspec.Struct):
    """All that was counted. `groups` are those of each person who meets a difference."""

    decisions: int = 0
    derived: int = 0
    same: int = 0
    inputs: int = 0
    first_at: Instant | None = None
    last_at: Instant | None = None
    bundles: dict[str, int] = {}
    rows: list[Row] = []
    groups: dict[str, tuple[str, ...]] = {}
    missed: dict[str, Missed] = {}
    mismatched: int = 0
    mismatches: list[Mismatch] = []


class Counting:
    """Counts into a tally."""

    def __init__(self, tally: Tally | None = None) -> None:
        self.tally = Tally() if tally is None else tally
        self._rows: dict[RowKey, Row] = {
            (row.effect, row.before, row.after, row.remedies): row for row in self.tally.rows
        }

    def miss(self, reason: str, decision: str) -> None:
        """Count a decision that was not derived."""
        missed = self.tally.missed.setdefault(reason, Missed())
        missed.times += 1
        if len(missed.samples) < SAMPLES_MAX:
            missed.samples.append(decision)

    def mismatch(self, found: Mismatch) -> None:
        """Count a decision that does not follow from its inputs."""
        self.tally.mismatched += 1
        if len(self.tally.mismatches) < MISMATCHES_MAX:
            self.tally.mismatches.append(found)

    def differ(
        self,
        key: RowKey,
        record: DecisionRecord,
        groups: tuple[str, ...] = (),
        owner: str = "",
    ) -> None:
        """Count one difference."""
        at, subject = record.at, record.subject
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = Row(*key, owner=owner, first_at=at, last_at=at)
            self.tally.rows.append(row)
        row.times += 1
        row.first_at, row.last_at = min(row.first_at, at), max(row.last_at, at)
        if len(row.samples) < SAMPLES_MAX:
            row.samples.append(record.id)
        if subject is not None:
            row.who[subject] = row.who.get(subject, 0) + 1
            if self.tally.groups.get(subject) != groups:
                self.tally.groups[subject] = groups


def report_of(
    tally: Tally,
    *,
    bundle: str,
    since: Instant | None = None,
    evaluations: int = 0,
    took_s: float = 0.0,
    notes: tuple[str, ...] = (),
) -> Report:
    """Return the report of what was counted: losses first, then by how many people."""
    found = [_difference(row, tally.groups) for row in tally.rows]
    found.sort(key=lambda one: (_ORDER[one.effect], -one.people, -one.times, one.after))
    missed = [
        Underived(reason, SENTENCES.get(reason, reason), one.times, tuple(one.samples))
        for reason, one in sorted(tally.missed.items(), key=lambda item: -item[1].times)
    ]
    return Report(
        bundle=bundle,
        recorded_bundles=dict(tally.bundles),
        since=since,
        first_at=tally.first_at,
        last_at=tally.last_at,
        decisions=tally.decisions,
        derived=tally.derived,
        same=tally.same,
        inputs=tally.inputs,
        evaluations=evaluations,
        took_s=took_s,
        differences=tuple(found),
        underived=tuple(missed),
        mismatched=tally.mismatched,
        mismatches=tuple(tally.mismatches),
        notes=notes,
    )


def _difference(row: Row, groups: dict[str, tuple[str, ...]]) -> Difference:
    members = Counter(group for subject in row.who for group in groups.get(subject, ()))
    largest = sorted(members.items(), key=lambda item: (-item[1], item[0]))[:GROUPS_MAX]
    return Difference(
        effect=row.effect,
        before=row.before,
        after=row.after,
        times=row.times,
        first_at=row.first_at,
        last_at=row.last_at,
        remedies=row.remedies,
        who=dict(sorted(row.who.items())),
        groups=tuple(largest),
        samples=tuple(row.samples),
        owner=row.owner,
    )


def effect_of(before: Side, after: Side) -> Effect | None:
    """Return what a pair of sides does, step-ups apart; None when nothing."""
    if before.enforced == after.enforced:
        if before.verdict == after.verdict:
            return None
        return Effect.WOULD_LOSE if after.verdict == "deny" else Effect.WOULD_GAIN
    return Effect.LOSES if after.enforced == "deny" else Effect.GAINS

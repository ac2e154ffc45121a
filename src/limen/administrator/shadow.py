"""The shadow as administrators know it: a candidate that live traffic is decided by too, with no effect.

What it finds is read from the file that its process keeps (`limen.administrator.shadow_state`): whoever asks
needs no word with that process, which may be busy, or between two lives.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from limen.administrator.authority import Authority
from limen.administrator.ledger import Ledger
from limen.administrator.policies import Applied, PolicyAdministrator
from limen.administrator.shadow_state import Candidate, ShadowState, read_state
from limen.core.errors import BundleRefused, Conflict, Finding, Severity
from limen.core.ids import Instant
from limen.engine.check import check_bundle
from limen.engine.replay_report import Report
from limen.engine.replay_tally import report_of
from limen.store.shadow import ShadowRow, demand_shadow, start_shadow, stop_shadow

SILENT_S = 15.0  # without a word of its process, the shadow is taken to stand still


class ShadowStatus(msgspec.Struct, frozen=True):
    """How the shadow is doing.

    Attributes:
        running: its process has kept its counts of late.
        lag_s: how far it is behind what is recorded; None before it has begun.
        differences: decisions that differ, by effect.
        cpu_s, cpu_share: processor time, and the part of one core that this is since it began.
        restarts: lives of its process, less the first.
    """

    bundle: str
    started_at: Instant
    actor: str
    reason: str
    running: bool = False
    seen: int = 0
    decisions: int = 0
    derived: int = 0
    same: int = 0
    differences: Mapping[str, int] = {}
    lag_s: float | None = None
    behind: bool = False
    cpu_s: float = 0.0
    cpu_share: float = 0.0
    restarts: int = 0
    pid: int = 0


class ShadowDesk:
    """Starts, shows, promotes and stops the shadow. `folder` is its process's."""

    def __init__(
        self, ledger: Ledger, policies: PolicyAdministrator, authority: Authority, folder: Path
    ) -> None:
        self._ledger = ledger
        self._policies = policies
        self._authority = authority
        self._folder = folder

    def start(self, files: Mapping[str, str], *, actor: str, reason: str) -> ShadowStatus:
        """Check a bundle as `apply` does, and decide live traffic by it too from now on.

        Raises:
            BundleRefused: errors of form, schema, lint or tests; all of them.
            Conflict: another one is in shadow, or this one is in force.
        """
        report = check_bundle(files, groups=self._authority.groups())
        errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
        errors += [
            Finding(one.file, one.line, 1, "test-failed", f"{one.name}: {one.why}.", "Mend either.")
            for one in report.results
            if not one.passed
        ]
        if errors:
            raise BundleRefused(tuple(errors))
        bundle = report.bundle
        assert bundle is not None
        if bundle.id == self._authority.bundle().bundle_id:
            raise Conflict(
                f"The bundle {bundle.id[:12]} is in force already.",
                remedy="Change it, then start it in shadow.",
            )
        with self._ledger.entry(actor, reason) as entry:
            row = start_shadow(entry.tx, bundle.id, bundle.files)
            entry.note("shadow.started", target=bundle.id)
        return status_of(row, None, self._authority.now())

    def status(self) -> ShadowStatus:
        """Return how it is doing.

        Raises:
            NotFound: no bundle is in shadow.
        """
        row = self._row()
        return status_of(row, self._state(row), self._authority.now())

    def report(self) -> Report:
        """Return what differs since it was started.

        Raises:
            NotFound: no bundle is in shadow.
        """
        row = self._row()
        state = self._state(row) or ShadowState(row.bundle, row.started_at)
        return report_of(
            state.tally,
            bundle=row.bundle,
            since=row.started_at,
            evaluations=state.evaluations,
            took_s=state.cpu_s,
            notes=state.notes,
        )

    def promote(self, *, actor: str, reason: str) -> Applied:
        """Apply the candidate, with all checks. The shadow ends in the change that puts it in force.

        Where another administrator has to approve it, it is proposed, and the shadow goes on until then.

        Raises:
            BundleRefused, Refused: as `PolicyAdministrator.apply`; then the shadow goes on.
            NotFound: no bundle is in shadow.
        """
        row = self._row()
        return self._policies.apply(row.files, actor=actor, reason=reason or row.reason)

    def stop(self, *, actor: str, reason: str) -> None:
        """End the shadow. What it found is gone with it.

        Raises:
            NotFound: no bundle is in shadow.
        """
        with self._ledger.entry(actor, reason) as entry:
            row = stop_shadow(entry.tx)
            entry.note("shadow.stopped", target=row.bundle)

    def _row(self) -> ShadowRow:
        with self._ledger.store.read() as connection:
            return demand_shadow(connection)

    def _state(self, row: ShadowRow) -> ShadowState | None:
        return read_state(self._folder, candidate_of(row))


def candidate_of(row: ShadowRow) -> Candidate:
    """Return what the shadow's process is given."""
    return Candidate(row.bundle, row.files, row.started_at)


def status_of(row: ShadowRow, state: ShadowState | None, now: Instant) -> ShadowStatus:
    """Return the status that a candidate and its counts are at an instant."""
    about = ShadowStatus(row.bundle, row.started_at, row.actor, row.reason)
    if state is None or not state.saved_at:
        return about
    tally = state.tally
    differences: dict[str, int] = {}
    for one in tally.rows:
        differences[one.effect.value] = differences.get(one.effect.value, 0) + one.times
    told_s = max(0.0, now - state.saved_at)
    known_at = state.latest_at if state.behind and state.latest_at is not None else state.saved_at
    return msgspec.structs.replace(
        about,
        running=told_s < SILENT_S,
        seen=state.seen,
        decisions=tally.decisions,
        derived=tally.derived,
        same=tally.same,
        differences=differences,
        lag_s=max(0.0, now - known_at),
        behind=state.behind,
        cpu_s=state.cpu_s,
        cpu_share=state.cpu_s / max(state.saved_at - state.started_at, 1e-9),
        restarts=state.lives - 1,
        pid=state.pid,
    )

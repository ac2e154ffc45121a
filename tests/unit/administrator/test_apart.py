"""Work apart: its outcome, its refusal, and that a child which dies is an outage."""

from pathlib import Path

import pytest

from limen.administrator.apart import run_apart
from limen.core.clock import SystemClock
from limen.core.errors import LimenError, Unavailable
from limen.core.record import DecisionRecord
from limen.governance.least_privilege import Standing
from limen.governance.work import FRICTION, LEAST_PRIVILEGE, FrictionJob, LeastPrivilegeJob
from limen.journal.writer import Journal

DENIED = DecisionRecord(
    "d1", 1_800_000_000.0, "gateway", "gateway", "deny", "FORBIDDEN", "b", "", "read", 'App::"wiki"',
    subject='User::"ada"',
)  # fmt: skip


def test_work_reads_the_journal_and_returns_what_is_json_ready(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "gateway", SystemClock()) as journal:
        journal.append(DENIED)
    report = run_apart(FRICTION, FrictionJob(str(tmp_path), 0.0, {"ada": ("staff",)}))
    assert report["total"]["denials"] == 1
    assert [group["name"] for group in report["groups"]] == ["staff"]


def test_what_the_work_refuses_is_refused_here_with_its_remedy(tmp_path: Path) -> None:
    job = LeastPrivilegeJob(str(tmp_path), 0.0, {"limen.yaml": "domain: 7"}, Standing())
    with pytest.raises(LimenError) as refused:
        run_apart(LEAST_PRIVILEGE, job)
    assert refused.value.message


def test_a_child_that_dies_is_an_outage_and_not_an_empty_answer() -> None:
    with pytest.raises(Unavailable):
        run_apart(FRICTION, {"not": "a job"})

"""Somebody who may ask, propose or lay files in the way wants more than that."""

from pathlib import Path

import pytest

from limen.administrator import apart
from limen.administrator.apart import follow_apart, run_apart
from limen.cli import audit, policy_apply
from limen.cli.audit_export import _write
from limen.core.errors import Unavailable
from limen.engine.bundle import parse_bundle
from limen.engine.guarded import guarded_changes
from limen.journal.findings import Doubt, Problem, Report, Unchecked

GUARDRAIL = '@id("phi")\n@reason("x")\nforbid(principal, action, resource in Label::"phi");\n'
YAML = """
domain: corp.example
apps:
  payroll: {upstream: "http://10.0.0.9:8080", labels: [phi], allow: [group:hr]}
  wiki: {upstream: "http://10.0.0.7:80", allow: [group:staff]}
"""


def bundle(more: str = "") -> dict[str, str]:
    return {"limen.yaml": YAML + more, "policies/guardrails/phi.cedar": GUARDRAIL}


@pytest.mark.parametrize(
    "door",
    [
        '  open: {upstream: "http://10.0.0.9:8080", allow: [group:staff]}\n',
        '  open: {upstream: ["http://10.0.0.9:8080", "http://10.0.0.1:1"], allow: [group:staff]}\n',
        'services:\n  open: {address: "10.0.0.9:8080", allow: [group:staff]}\n',
    ],
)
def test_a_second_door_to_a_guarded_upstream_needs_a_second_approver(door: str) -> None:
    before = parse_bundle(bundle())
    assert guarded_changes(before, parse_bundle(bundle(door))) == ("upstream 10.0.0.9:8080",)


@pytest.mark.parametrize(
    "door",
    [
        '  other: {upstream: "http://10.0.0.8:8080", allow: [group:staff]}\n',
        '  other: {upstream: "http://10.0.0.7:80", labels: [phi], allow: [group:staff]}\n',
        '  other: {upstream: "http://10.0.0.9:8080", labels: [phi], allow: [group:staff]}\n',
    ],
)
def test_a_door_that_opens_nothing_guarded_needs_none(door: str) -> None:
    assert guarded_changes(parse_bundle(bundle()), parse_bundle(bundle(door))) == ()


def test_long_computations_that_many_ask_for_are_few_at_once() -> None:
    """Each is a process with hundreds of megabytes: control refuses, and its upkeep is not kept waiting."""
    work = "limen.administrator.apart:_seat"  # any: it fails
    for _ in range(apart.AT_ONCE_MAX):
        assert apart._seats.acquire(blocking=False)
    try:
        with pytest.raises(Unavailable) as refused:
            next(iter(follow_apart(work, {})))
        assert refused.value.code == "COMPUTING_BUSY"
        with pytest.raises(Unavailable, match="ended early"):
            run_apart(work, {}, asked=False)
    finally:
        for _ in range(apart.AT_ONCE_MAX):
            apart._seats.release()
    with pytest.raises(Unavailable, match="ended early"):
        run_apart(work, {})
    assert apart._seats.acquire(blocking=False), "a seat that was taken is given back"
    apart._seats.release()


def test_an_export_is_not_written_into_what_others_laid_beside_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".out.part").symlink_to(victim)
    _write(iter(()), "jsonl", tmp_path / "out")
    assert victim.read_text() == "precious"
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.part", "out", "victim"]


CLEAR = "\x1b[2J\x1b]0;x\x07\x9b2J"  # empties a terminal that heeds it


def test_who_proposes_does_not_write_on_the_terminal_of_who_approves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal = {"bundle": "b" * 64, "actor": "workload:ci", "reason": f"fine{CLEAR}", "files": {}}

    class Client:
        def get(self, _path: str) -> dict[str, object]:
            return proposal

        def post(self, _path: str, _body: object) -> dict[str, object]:
            return {}

    plan = {"refused": [], "findings": [], "loses": False}
    monkeypatch.setattr(policy_apply, "connect", lambda _: Client())
    monkeypatch.setattr(policy_apply, "find_proposal", lambda *_: "b" * 64)
    monkeypatch.setattr(policy_apply, "make_plan", lambda *_, **__: plan)
    monkeypatch.setattr(policy_apply.plan_report, "render_text", lambda _: [f"guardrail {CLEAR}"])
    monkeypatch.setattr(policy_apply, "print_applied", lambda *_, **__: None)
    policy_apply.approve("b" * 64, "seen", yes=True)
    told = capsys.readouterr()
    assert "fine" in told.out
    assert not {"\x1b", "\x07", "\x9b"} & set(told.out + told.err)


def test_a_forged_record_does_not_write_on_the_terminal_of_who_verifies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doubt = Doubt("edge-a", Problem.FORGED, f"Record {CLEAR} is odd.", records=(CLEAR,))
    unchecked = Unchecked("edge-a", "torn", CLEAR, since=1e300)
    audit._print_report(Report(False, (), (doubt,), (unchecked,)))
    told = capsys.readouterr()
    assert "is odd" in told.err
    assert not {"\x1b", "\x07", "\x9b"} & set(told.out + told.err)

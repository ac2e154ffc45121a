"""The report of a rollout: pure over records; and the command and the call that show it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limen.assurance.rollout import Declared, Job, NotReady, Row, declared_in, measure
from limen.cli import rollout as command
from limen.core.catalogue import AppConfig, Catalogue, RouteConfig, ServiceConfig
from limen.core.record import DecisionRecord
from limen.core.rollout import Mode, Rollout, Stage

WARN = Stage(Mode.WARN, until="2026-12-31")
GROUPS = {"pilots": Stage(Mode.ENFORCE, "pia"), "late": Stage(Mode.OBSERVE)}
DECLARED = (
    Declared("payroll", "hr-lead", Rollout(WARN, groups=GROUPS)),
    Declared("payroll/exports", "hr-lead", Rollout(Stage(Mode.OBSERVE, "sam"))),
)
MEMBERS = {"pilots": frozenset({"ada", "bob"}), "late": frozenset({"bob", "eve"})}


def job(today: str = "2026-11-01") -> Job:
    return Job("", 0.0, today, DECLARED, MEMBERS)


def record(
    n: int, who: str | None = "zoe", *, would: bool = False, deny: bool = False, **more: Any
) -> DecisionRecord:
    values = {
        "id": f"{n:032x}",
        "at": float(n),
        "node": "gw",
        "point": "gateway",
        "verdict": "deny" if deny else "allow",
        "would_be": "deny" if would else None,
        "code": "FORBIDDEN" if would or deny else "PERMITTED",
        "policies": ("phi",) if would or deny else ("hr",),
        "bundle": "b",
        "inputs": "",
        "action": "read",
        "resource": 'App::"payroll"',
        "subject": None if who is None else f'User::"{who}"',
    }
    return DecisionRecord(**{**values, **more})


def rows(*records: DecisionRecord, today: str = "2026-11-01") -> dict[tuple[str, str], Any]:
    return {(row.resource, row.group): row for row in measure(job(today), records)}


def test_each_request_counts_for_the_stage_of_who_asked() -> None:
    found = rows(
        record(1, "ada", deny=True),
        record(2, "bob"),  # in both: the strictest
        record(3, "eve", would=True),
        record(4, "zoe"),
        record(5, None, would=True, code="NO_SESSION", policies=()),
        record(6, resource='Route::"payroll/exports"', would=True),
        record(7, resource='Route::"payroll/board"'),
        record(8, resource='App::"wiki"'),
        record(9, code="PUBLIC"),
        record(10, point="reassess", would=True),
    )
    assert {key: (row.requests, row.passing) for key, row in found.items()} == {
        ("payroll", ""): (3, 2),
        ("payroll", "pilots"): (2, 1),
        ("payroll", "late"): (1, 0),
        ("payroll/exports", ""): (1, 0),
    }
    assert found["payroll", ""].owner == "hr-lead"
    assert found["payroll", "pilots"].owner == "pia"
    assert found["payroll", ""].not_ready[0].subject == ""
    assert found["payroll/exports", ""].share == 0.0


def test_who_has_cured_it_is_ready() -> None:
    late = record(9, would=True, action="write")
    found = rows(late, record(3, would=True), record(5), record(1, would=True))
    [one] = found["payroll", ""].not_ready
    assert (one.subject, one.code, one.policies, one.denials, one.decision) == (
        ("zoe", "FORBIDDEN", ("phi",), 3, late.id)
    )
    assert rows(record(3, would=True), record(5))["payroll", ""].not_ready == ()


def test_a_stage_is_overdue_from_its_day_on() -> None:
    assert not rows(today="2026-12-30")["payroll", ""].overdue
    assert rows(today="2026-12-31")["payroll", ""].overdue
    assert not rows(today="2030-01-01")["payroll", "late"].overdue
    assert rows()["payroll", ""].share is None


def test_resources_that_say_no_more_than_enforce_are_left_out() -> None:
    apps = {
        "a": AppConfig("a", "a.d", ("http://h:1",), routes=(RouteConfig("r", "/r", rollout=Rollout(WARN)),)),
        "b": AppConfig("b", "b.d", ("http://h:1",), owner="bo", rollout=Rollout(Stage(Mode.OBSERVE))),
    }
    services = {"s": ServiceConfig("s", "s.d", "h", 1, rollout=Rollout(groups={"g": Stage(Mode.WARN)}))}
    found = declared_in(Catalogue("d", apps=apps, services=services))
    assert [(one.resource, one.owner) for one in found] == [("a/r", ""), ("b", "bo"), ("s", "")]


@given(
    st.lists(
        st.builds(
            record,
            st.integers(1, 1_000),
            st.sampled_from(("ada", "bob", "eve", "zoe", None)),
            would=st.booleans(),
            deny=st.booleans(),
        ),
        max_size=30,
    ),
    st.randoms(),
)
def test_the_order_of_the_records_does_not_matter(records: list[DecisionRecord], shuffle: Any) -> None:
    unique = list({one.at: one for one in records}.values())
    before = measure(job(), unique)
    shuffle.shuffle(unique)
    assert measure(job(), unique) == before
    assert sum(row.requests for row in before) == len(unique)
    for row in before:
        assert (row.passing == row.requests) <= (not row.not_ready)


def test_the_command_reads_as_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    late = NotReady("ada", "FORBIDDEN", ("phi",), 1, 1_800_000_000.0, "0", ("passkey",), "Use a passkey.")
    found = (
        Row("payroll", "", "warn", "sam", "2026-01-01", True, 2_000, 1_999, 0.9995, (late,)),
        Row("payroll", "pilots", "enforce", "", "", False, 0, 0, None),
    )
    answer = msgspec.to_builtins(found)

    class Client:
        def get(self, path: str, **query: Any) -> Any:
            assert (path, query) == ("/v1/rollout", {"since_s": 7 * 86_400.0})
            return answer

    monkeypatch.setattr(command, "connect", lambda _: Client())
    said = CliRunner().invoke(command.app, ["status"], env={"COLUMNS": "100"}).output
    assert "99.9 %" in said and "100 %" not in said
    assert "2026-01-01, overdue" in said and "everybody else" in said
    assert "FORBIDDEN: phi" in said and "Use a passkey." in said
    assert '"share": 0.9995' in CliRunner().invoke(command.app, ["status", "--json"]).output

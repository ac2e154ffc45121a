"""Finding, searching and following what was recorded, beside a running writer."""

from pathlib import Path

import pytest
from msgspec import structs

from limen.core.clock import FakeClock
from limen.core.errors import NotFound
from limen.core.record import BundleRecord, DecisionRecord, EventRecord, InputsRecord, OutcomeRecord
from limen.journal.query import Query
from limen.journal.reader import JournalReader
from limen.journal.segments import list_segments
from limen.journal.writer import Journal, JournalOptions

SMALL = JournalOptions(segment_bytes=900, reserve_bytes=0)
BASE = DecisionRecord(
    id="",
    at=0.0,
    node="gateway",
    point="gateway",
    verdict="allow",
    code="PERMITTED",
    bundle="bun1",
    inputs="inp1",
    action="read",
    resource='App::"wiki"',
    subject='User::"ada"',
    method="GET",
    path="/pages/Start",
)


def decision(number: int, **changes: object) -> DecisionRecord:
    return structs.replace(BASE, id=f"d{number:031x}", at=1000.0 + number, **changes)


def test_find_joins_outcome_inputs_and_bundle_over_segments(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "gateway", FakeClock(), options=SMALL) as journal:
        for number in range(8):
            journal.append(BundleRecord("bun1", {"limen.yaml": "domain: x"}))
            journal.append(InputsRecord("inp1", {"subject": "ada"}))
            journal.append(decision(number))
        journal.append(OutcomeRecord(decision(2).id, 1010.0, 200, 12))
        found = JournalReader(tmp_path).find(decision(2).id)
    assert found.decision == decision(2)
    assert found.outcome is not None
    assert found.outcome.status == 200
    assert found.inputs == InputsRecord("inp1", {"subject": "ada"})
    assert found.bundle is not None
    assert len(list_segments(tmp_path / "gateway")) > 3


def test_an_unknown_id_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No decision nope"):
        JournalReader(tmp_path / "nothing-yet").find("nope")


def test_search_gives_the_newest_of_all_nodes_first_with_outcomes(tmp_path: Path) -> None:
    for offset, node in enumerate(["gateway-a", "gateway-b"]):
        with Journal.open(tmp_path, node, FakeClock(), options=SMALL) as journal:
            for number in range(offset, 12, 2):
                journal.append(decision(number, node=node))
                journal.append(OutcomeRecord(decision(number).id, 2000.0, 200 + number, 1))
    found = JournalReader(tmp_path).search(Query(limit=5))
    assert [joined.decision.id for joined in found] == [decision(n).id for n in (11, 10, 9, 8, 7)]
    assert [joined.outcome.status for joined in found if joined.outcome] == [211, 210, 209, 208, 207]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(subject="ada"), [3, 1]),
        (Query(subject='User::"grace"'), [2]),
        (Query(subject="ad"), []),
        (Query(resource="payroll"), [3, 2]),
        (Query(resource="payroll/exports"), [3]),
        (Query(resource='App::"payroll"'), [2]),
        (Query(verdict="deny"), [2]),
        (Query(policy="phi"), [2]),
        (Query(since=1002.0), [3, 2]),
        (Query(until=1002.0), [1]),
        (Query(text="START"), [3, 1]),
        (Query(text="ünder"), [2]),
        (Query(code="FORBIDDEN", subject="ada"), []),
        (Query(limit=1), [3]),
    ],
)
def test_every_part_of_a_query_must_match(tmp_path: Path, query: Query, expected: list[int]) -> None:
    denied = {"verdict": "deny", "code": "FORBIDDEN", "policies": ("phi",), "path": "/Ünder"}
    with Journal.open(tmp_path, "gateway", FakeClock(), options=SMALL) as journal:
        journal.append(decision(1))
        journal.append(decision(2, subject='User::"grace"', resource='App::"payroll"', **denied))
        journal.append(decision(3, resource='Route::"payroll/exports"'))
    found = JournalReader(tmp_path).search(query)
    assert [joined.decision.id for joined in found] == [decision(number).id for number in expected]


def test_read_since_skips_what_is_older(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "gateway", FakeClock(), options=SMALL) as journal:
        for number in range(6):
            journal.append(decision(number))
    assert list(JournalReader(tmp_path).read(since=1004.0)) == [decision(4), decision(5)]


def test_an_unfinished_end_beside_a_running_writer_is_no_loss(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "gateway", FakeClock(), options=SMALL) as journal:
        journal.append(decision(1))
        path = list_segments(tmp_path / "gateway")[0].path
        path.write_bytes(path.read_bytes() + b"\xff\xfe\x01")
        reader = JournalReader(tmp_path)
        assert list(reader.read()) == [decision(1)]
        assert reader.losses == []


def test_events_are_read_by_kind(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "control", FakeClock(), options=SMALL) as journal:
        journal.append(EventRecord("e1", 1.0, "control", "session.ended", "ada"))
        journal.append(EventRecord("e2", 2.0, "control", "person.created", "ada"))
    assert [event.id for event in JournalReader(tmp_path).events(kind="session.")] == ["e1"]
    assert [event.id for event in JournalReader(tmp_path).events(since=2.0)] == ["e2"]

"""Journals to archive: people, their decisions and events, in several small segments."""

from pathlib import Path

from msgspec import structs

from limen.core.clock import FakeClock
from limen.core.record import BundleRecord, DecisionRecord, EventRecord, InputsRecord, OutcomeRecord, Record
from limen.journal.archive import Report, tend
from limen.journal.retention import Retention
from limen.journal.writer import Journal, JournalOptions

SMALL = JournalOptions(segment_bytes=14_000, reserve_bytes=0)
NODE = "gateway-a"
PEOPLE = ("ada", "bob", "eve")
BASE = DecisionRecord(
    id="",
    at=0.0,
    node=NODE,
    point="gateway",
    verdict="allow",
    code="PERMITTED",
    bundle="bun1",
    inputs="inp1",
    action="read",
    resource='App::"wiki"',
    method="GET",
)


def decision(number: int, **changes: object) -> DecisionRecord:
    person = PEOPLE[number % len(PEOPLE)]
    about = {
        "id": f"{(1_000 + number) * 1_000:012x}{number:020x}",
        "at": 1_000.0 + number,
        "subject": f'User::"{person}"',
        "session": f"ses_{person}_sealed",
        "path": f"/private-of-{person}/{number}",
        "ip": f"10.0.{number % len(PEOPLE)}.{number % 250}",
    }
    return structs.replace(BASE, **{**about, **changes})


def event(number: int, **changes: object) -> EventRecord:
    person = PEOPLE[number % len(PEOPLE)]
    made = EventRecord(
        id=f"evt_{number:024x}",
        at=1_000.0 + number,
        node=NODE,
        kind="sign_in.succeeded",
        actor=person,
        target=person,
        reason=f"reason-of-{person}",
        ip=f"10.0.{number % len(PEOPLE)}.7",
        data={"device": f"laptop-of-{person}"},
    )
    return structs.replace(made, **changes)


def outcome(of: DecisionRecord) -> OutcomeRecord:
    return OutcomeRecord(of.id, of.at + 0.5, 200, 12, bytes_in=10, bytes_out=1_000)


def records(count: int, first: int = 0) -> list[Record]:
    """Inputs and bundle, then `count` turns of a decision, its outcome and an event."""
    made: list[Record] = [
        BundleRecord("bun1", {"limen.yaml": "domain: x"}),
        InputsRecord("inp1", {"subject": {"root": ["User", "ada"], "entities": []}}),
    ]
    for number in range(first, first + count):
        one = decision(number)
        made += [one, outcome(one), event(number)]
    return made


def fill(root: Path, count: int, *, node: str = NODE, now: float = 2_000.0, first: int = 0) -> None:
    """Write a whole boot of a node."""
    with Journal.open(root, node, FakeClock(now), options=SMALL) as journal:
        for record in records(count, first):
            journal.append(record)


def compact(root: Path) -> Report:
    return tend(root, Retention(), 2_000.0)

"""Two journal folders, a gateway's and control's, and what ships from one to the other without a network."""

from pathlib import Path

from limen.administrator.ship_checks import Gap
from limen.administrator.ship_mirrors import Mirrors
from limen.administrator.ship_source import Source
from limen.administrator.ship_wire import Place
from limen.core.clock import SystemClock
from limen.core.ids import new_id
from limen.core.record import DecisionRecord, EventRecord
from limen.journal import stored
from limen.journal.frame import Damage, Kind
from limen.journal.keys import Keys
from limen.journal.writer import Journal, JournalOptions

NODE = "edge"
CLOCK = SystemClock()  # the real one: checkpoints, which verification compares with, have its time
SEGMENT_BYTES = 16 * 1024


def open_journal(root: Path, journal: str) -> Journal:
    """Open a journal of small segments, which closes fast."""
    options = JournalOptions(segment_bytes=SEGMENT_BYTES, reserve_bytes=0)
    return Journal.open(root, journal, SystemClock(), options=options)


def decision(number: int, *, node: str = NODE, subject: str = 'User::"ada"') -> DecisionRecord:
    """Return a decision."""
    return DecisionRecord(
        id=f"{new_id('dec')}-{number}",
        at=CLOCK.now(),
        node=node,
        point="gateway",
        verdict="permit",
        code="OK",
        bundle="b" * 64,
        inputs="",
        action="read",
        resource='App::"wiki"',
        subject=subject,
        path=f"/page/{number}?é",
    )


def append_some(journal: Journal, count: int) -> None:
    """Append decisions of a few people, and an event."""
    for number in range(count):
        journal.append(decision(number, subject=f'User::"u{number % 3}"'))
    event = EventRecord(
        id=new_id("evt"), at=CLOCK.now(), node=NODE, kind="stream.ended", actor="ada", target="ada"
    )
    journal.append(event)


def mirrors_at(root: Path, node: str = NODE, gaps: list[Gap] | None = None) -> Mirrors:
    """Return control's copies of a gateway's journals."""
    told = gaps if gaps is not None else []
    return Mirrors(root, node, Keys.open(root), CLOCK, told.append)


def ship_all(source: Source, mirrors: Mirrors, journal: str, place: Place) -> Place:
    """Ship until nothing is left. Twice over the end: a missing seal is waited for once."""
    for _ in range(10_000):
        batch = source.next(journal, place)
        if batch is None:
            return place
        place = mirrors.take(batch).place
    raise AssertionError("shipping never ends")


def records_of(directory: Path, *, edges: bool = False) -> list[tuple[int, int, bytes]]:
    """Return kind, position and payload of every record of a node's folder, in order."""
    found = []
    for name in stored.list_stored(directory) if directory.exists() else ():
        for part in stored.parts(name):
            if not isinstance(part, Damage) and (edges or part.kind < Kind.HEADER):
                assert part.payload is not None
                found.append((part.kind, part.position, part.payload))
    return found

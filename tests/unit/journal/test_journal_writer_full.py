"""A full disk with `on_full: buffer`; settings that change while the journal is open; groups and waits."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from limen.core.catalogue import JournalConfig
from limen.core.clock import FakeClock
from limen.core.errors import Unavailable
from limen.core.record import DecisionRecord, EventRecord, InputsRecord, Record
from limen.journal import keys as keys_module
from limen.journal.buffer import MARKER
from limen.journal.key import Key
from limen.journal.keys import Keys
from limen.journal.reader import JournalReader
from limen.journal.writer import Journal, JournalOptions, Once

BUFFERING = JournalOptions(reserve_bytes=4096, on_full="buffer", buffer_bytes=2000)


def decision(number: int, **fields: str) -> DecisionRecord:
    required = (
        f"{number:032x}",
        1000.0 + number,
        "gateway",
        "gateway",
        "allow",
        "PERMITTED",
        "b",
        "i",
        "read",
        "r",
    )
    return DecisionRecord(*required, **fields)  # type: ignore[misc, arg-type]


def event(number: int) -> EventRecord:
    return EventRecord(f"evt_{number}", 1000.0 + number, "gateway", "session.ended", "limen")


class Disk:
    """A disk with room only for what the reserve gives back. It counts writes, and waits for the platter."""

    def __init__(self, reserve: Path) -> None:
        self.reserve, self.full, self.writes = reserve, False, 0

    def write(self, file: int, data: bytes) -> int:
        self.writes += 1
        if self.full and self.reserve.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(file, data)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "gateway" / "reserve")


def kept(root: Path) -> list[str]:
    return [getattr(one, "kind", one.id) for one in JournalReader(root).read()]  # type: ignore[union-attr]


def events_of(root: Path, kind: str) -> list[Record]:
    return list(JournalReader(root).events(kind=kind))


def test_records_wait_in_memory_and_it_is_told_from_when_to_when(tmp_path: Path, disk: Disk) -> None:
    clock = FakeClock()
    with Journal.open(tmp_path, "gateway", clock, options=BUFFERING, write=disk.write) as journal:
        journal.append(decision(1))
        disk.full = True
        assert journal.append(decision(2)) is None
        began = clock.now()
        clock.advance(60)
        assert journal.append(decision(3)) is None
        assert journal.waiting == 2
        assert journal.append(event(4)) is not None  # urgent: before what waits
        assert (tmp_path / "gateway" / MARKER).exists()
        disk.full = False
        journal.tend()
        assert journal.waiting == 0
        assert journal.append(decision(5)) is not None
    names = [f"{n:032x}" for n in (1, 2, 3, 5)]
    assert kept(tmp_path) == [
        names[0], "journal.buffered", "session.ended", names[1], names[2], "journal.drained", names[3],
    ]  # fmt: skip
    (drained,) = events_of(tmp_path, "journal.drained")
    assert isinstance(drained, EventRecord)
    about = drained.data
    assert (about["since"], about["until"], about["records"]) == (began, began + 60, 2)
    assert not (tmp_path / "gateway" / MARKER).exists()


def test_past_the_bound_nothing_is_taken_but_what_is_urgent(tmp_path: Path, disk: Disk) -> None:
    with Journal.open(tmp_path, "gateway", FakeClock(), options=BUFFERING, write=disk.write) as journal:
        disk.full = True
        taken = 0
        with pytest.raises(Unavailable) as refused:
            for taken in range(100):
                journal.append(decision(taken))
        assert refused.value.code == "JOURNAL_FULL"
        assert 0 < taken == journal.waiting < 20
        journal.append(event(200))
        journal.append(decision(201), urgent=True)
        disk.full = False
    stored = [name for name in kept(tmp_path) if len(name) == 32]
    assert stored == [f"{201:032x}", *(f"{n:032x}" for n in range(taken))]


def test_what_waited_when_the_process_died_is_reported_as_lost(tmp_path: Path, disk: Disk) -> None:
    journal = Journal.open(tmp_path, "gateway", FakeClock(), options=BUFFERING, write=disk.write)
    disk.full = True
    journal.append(decision(1))
    journal._intake.buffer._groups.clear()  # as the death of the process does
    journal.close()
    with Journal.open(tmp_path, "gateway", FakeClock(), options=BUFFERING) as again:
        assert [(Path(loss.segment).name, loss.records) for loss in again.losses] == [(MARKER, None)]
    assert len(events_of(tmp_path, "journal.loss")) == 1
    with Journal.open(tmp_path, "gateway", FakeClock(), options=BUFFERING) as third:
        assert third.losses == ()  # said once


def test_settings_change_while_the_journal_is_open(tmp_path: Path, disk: Disk) -> None:
    options = JournalOptions(reserve_bytes=4096)
    with Journal.open(tmp_path, "gateway", FakeClock(), options=options, write=disk.write) as journal:
        disk.full = True
        with pytest.raises(Unavailable):
            journal.append(decision(1))
        journal.configure(JournalConfig(on_full="buffer"))
        assert journal.append(decision(2)) is None
        journal.configure(JournalConfig(on_full="deny"))
        with pytest.raises(Unavailable):
            journal.append(decision(3))
        assert journal.waiting == 1  # it was acknowledged: it goes on waiting
        disk.full = False
    assert [name for name in kept(tmp_path) if len(name) == 32] == [f"{2:032x}"]


def test_a_group_is_one_write_and_one_wait_for_the_disk(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal.open(tmp_path, "gateway", FakeClock(), options=BUFFERING, write=disk.write) as journal:
        journal.configure(JournalConfig(sync=True))
        journal.flush()
        waits: list[int] = []
        monkeypatch.setattr(os, "fdatasync", waits.append)
        before = disk.writes
        inputs = Once("inputs", "i", lambda: InputsRecord("i", {"x": 1}))
        last = journal.append_many([inputs, decision(1), inputs, decision(2), decision(3)])
        assert (disk.writes - before, len(waits), last) == (1, 1, 3)
        assert journal.append_many([inputs]) is None
        assert disk.writes - before == 1
        monkeypatch.undo()


def test_a_group_of_events_about_new_people_makes_their_keys_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[set[str]] = []
    make = Keys._load_or_make

    def counted(self: Keys, owners: Iterable[str]) -> dict[str, Key]:
        made.append(set(owners))
        return make(self, made[-1])

    monkeypatch.setattr(Keys, "_load_or_make", counted)
    events = [EventRecord(f"e{n}", 1.0, "control", "person.changed", "ada", f"p{n}") for n in range(30)]
    with Journal.open(tmp_path, "control", FakeClock()) as journal:
        journal.append_many(events)
    assert made == [{'User::"ada"', *(f'User::"p{n}"' for n in range(30))}]
    found = JournalReader(tmp_path).events(kind="person")
    assert sorted((event.id, event.target) for event in found) == sorted((e.id, e.target) for e in events)


def test_somebody_new_is_recorded_on_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key needs space before the record does."""
    reserve = tmp_path / "gateway" / "reserve"
    make = Keys._load_or_make

    def without_room(self: Keys, owners: Iterable[str]) -> dict[str, Key]:
        if reserve.exists():
            raise Unavailable("full", code=keys_module.FULL)
        return make(self, owners)

    with Journal.open(
        tmp_path, "gateway", FakeClock(), options=JournalOptions(reserve_bytes=4096)
    ) as journal:
        monkeypatch.setattr(Keys, "_load_or_make", without_room)
        with pytest.raises(Unavailable) as refused:
            journal.append(decision(1, subject='User::"ada"'))
        assert refused.value.code == "JOURNAL_FULL"
        assert journal.full
        journal.append(EventRecord("e", 1.0, "gateway", "session.ended", "grace"))
    (record,) = JournalReader(tmp_path).events(kind="session")
    assert record.actor == "grace"

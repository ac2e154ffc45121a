"""The writer's shell: locks, full disks, retention, what is said about what is gone."""

import errno
import os
from pathlib import Path

import pytest

from limen.core.clock import FakeClock
from limen.core.errors import Conflict, Invalid, Unavailable
from limen.core.record import DecisionRecord, EventRecord, InputsRecord
from limen.journal.frame import MARK, Kind, encode_frame
from limen.journal.reader import JournalReader
from limen.journal.retention import Retention
from limen.journal.segments import list_segments
from limen.journal.writer import SEGMENT_BYTES, Journal, JournalOptions, Once

PLAIN = JournalOptions(reserve_bytes=0)


def decision(number: int) -> DecisionRecord:
    return DecisionRecord(
        f"{number:032x}", 1000.0 + number, "gateway", "gateway", "allow", "PERMITTED", "b", "i", "read", "r"
    )


def event(number: int) -> EventRecord:
    return EventRecord(f"evt_{number}", 1000.0 + number, "gateway", "session.ended", "ada")


class Disk:
    """A disk that is full, broken or healthy, as the test says."""

    def __init__(self) -> None:
        self.fault: int = 0
        self.room_after: Path | None = None  # writes succeed again once this file is gone

    def write(self, file: int, data: bytes) -> int:
        healed = self.room_after is not None and not self.room_after.exists()
        if self.fault and not healed:
            raise OSError(self.fault, os.strerror(self.fault))
        return os.write(file, data)


def test_a_node_has_one_writer(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "gateway", FakeClock(), options=PLAIN):
        with pytest.raises(Conflict, match="Another process"):
            Journal.open(tmp_path, "gateway", FakeClock(), options=PLAIN)
        Journal.open(tmp_path, "control", FakeClock(), options=PLAIN).close()
    Journal.open(tmp_path, "gateway", FakeClock(), options=PLAIN).close()


@pytest.mark.parametrize("node", ["", "..", "a/b", "Gateway", "-a", "a" * 64])
def test_a_node_name_is_a_dns_label(tmp_path: Path, node: str) -> None:
    with pytest.raises(Invalid, match="node name"):
        Journal.open(tmp_path, node, FakeClock())


def test_a_full_disk_refuses_decisions_and_takes_revocations_from_the_reserve(tmp_path: Path) -> None:
    disk = Disk()
    options = JournalOptions(reserve_bytes=4096)
    with Journal.open(tmp_path, "gateway", FakeClock(), options=options, write=disk.write) as journal:
        reserve = tmp_path / "gateway" / "reserve"
        assert reserve.stat().st_size == 4096
        disk.fault, disk.room_after = errno.ENOSPC, reserve
        with pytest.raises(Unavailable) as refused:
            journal.append(decision(1))
        assert refused.value.code == "JOURNAL_FULL"
        assert journal.full
        journal.append(event(2))  # the reserve has been given back
        with pytest.raises(Unavailable):
            journal.append(decision(3))  # though there is room: it is kept for events
        disk.fault = 0
        journal.tend()
        assert not journal.full
        assert reserve.exists()
        journal.append(decision(4))
    kept = [record.id for record in JournalReader(tmp_path).read()]
    assert kept == ["evt_2", f"{4:032x}"]


def test_a_disk_that_fails_stops_the_journal_for_good(tmp_path: Path) -> None:
    disk = Disk()
    with Journal.open(tmp_path, "gateway", FakeClock(), options=PLAIN, write=disk.write) as journal:
        disk.fault = errno.EIO
        with pytest.raises(Unavailable) as refused:
            journal.append(event(1))
        assert refused.value.code == "JOURNAL_FAILED"
        disk.fault = 0
        with pytest.raises(Unavailable):
            journal.append(event(2))
    assert list(JournalReader(tmp_path).read()) == []


def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "gateway", FakeClock(), options=PLAIN)
    journal.close()
    journal.close()
    with pytest.raises(Unavailable, match="closed"):
        journal.append(event(1))


def test_sync_mode_writes_the_same(tmp_path: Path) -> None:
    options = JournalOptions(sync=True, segment_bytes=400, reserve_bytes=0)
    with Journal.open(tmp_path, "gateway", FakeClock(), options=options) as journal:
        for number in range(5):
            journal.append(decision(number))
    assert list(JournalReader(tmp_path).read()) == [decision(number) for number in range(5)]
    assert len(list_segments(tmp_path / "gateway")) > 2


def test_positions_count_the_records_of_a_boot(tmp_path: Path) -> None:
    options = JournalOptions(segment_bytes=300, reserve_bytes=0)
    for _ in range(2):
        with Journal.open(tmp_path, "gateway", FakeClock(), options=options) as journal:
            assert [journal.append(event(number)) for number in range(4)] == [0, 1, 2, 3]


def test_inputs_are_stored_once_and_made_only_then(tmp_path: Path) -> None:
    made = []

    def make() -> InputsRecord:
        made.append(1)
        return InputsRecord("i", {"subject": "ada"})

    with Journal.open(tmp_path, "gateway", FakeClock(), options=PLAIN) as journal:
        assert journal.append_many((Once("inputs", "i", make),)) == 0
        assert journal.append_many((Once("inputs", "i", make),)) is None
    assert made == [1]


def test_hashes_are_salted_per_journal_and_stable_over_restarts(tmp_path: Path) -> None:
    hashes = []
    for root, node in [(tmp_path / "a", "gateway"), (tmp_path / "a", "control"), (tmp_path / "b", "gateway")]:
        with Journal.open(root, node, FakeClock(), options=PLAIN) as journal:
            hashes.append(journal.salted(b"content"))
    assert hashes[0] == hashes[1] != hashes[2]
    assert (tmp_path / "a" / "salt").stat().st_mode & 0o777 == 0o600


def test_everything_is_kept_by_default() -> None:
    assert JournalOptions().retention == Retention(None, None)
    assert JournalOptions().segment_bytes == SEGMENT_BYTES


def test_retention_by_size_removes_the_oldest_segments_and_is_no_loss(tmp_path: Path) -> None:
    options = JournalOptions(segment_bytes=1500, reserve_bytes=0, retention=Retention(bytes_max=6000))
    with Journal.open(tmp_path, "gateway", FakeClock(), options=options) as journal:
        for number in range(30):
            journal.append(decision(number))
            journal.tend()
        sealed = list_segments(tmp_path / "gateway")[:-1]
        assert sum(name.path.stat().st_size for name in sealed) <= 6000
    with Journal.open(tmp_path, "gateway", FakeClock(), options=options) as again:
        assert again.wait_checked(10)
        assert again.losses == ()
    left = [record.id for record in JournalReader(tmp_path).read()]
    assert left == [f"{number:032x}" for number in range(30)][-len(left) :]
    assert 3 < len(left) < 20


def test_retention_by_age_reaches_quiet_nodes(tmp_path: Path) -> None:
    clock = FakeClock()
    options = JournalOptions(reserve_bytes=0, retention=Retention(age_max_s=3 * 86_400))
    with Journal.open(tmp_path, "gateway", clock, options=options) as journal:
        for number in range(10):
            journal.append(event(number))
            clock.advance(86_401)
            journal.tend()
    kept = [record.id for record in JournalReader(tmp_path).read()]
    assert kept[-1] == "evt_9"
    assert len(kept) <= 6


@pytest.mark.parametrize("wrong", [{"bytes_max": 0}, {"age_max_s": -1}])
def test_a_retention_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Invalid, match=next(iter(wrong))):
        Retention(**wrong)


def fill(root: Path) -> list[Path]:
    options = JournalOptions(segment_bytes=600, reserve_bytes=0)
    with Journal.open(root, "gateway", FakeClock(), options=options) as journal:
        for number in range(12):
            journal.append(decision(number))
    return [name.path for name in list_segments(root / "gateway")]


def losses_at_start(root: Path) -> list[tuple[str, int | None]]:
    with Journal.open(root, "gateway", FakeClock(), options=PLAIN) as journal:
        assert journal.wait_checked(10)
        return [(Path(loss.segment).name, loss.records) for loss in journal.losses]


def test_a_segment_that_is_gone_is_noticed_at_start(tmp_path: Path) -> None:
    paths = fill(tmp_path)
    paths[1].unlink()
    assert losses_at_start(tmp_path) == [(paths[1].name, None)]


def test_a_segment_cut_at_a_record_is_noticed_at_start(tmp_path: Path) -> None:
    """No byte of what is left is wrong; the next segment says how far this one went."""
    paths = fill(tmp_path)
    header_bytes = paths[1].read_bytes().index(MARK, 1)
    os.truncate(paths[1], header_bytes)
    ((name, records),) = losses_at_start(tmp_path)
    assert name == paths[1].name
    assert records is not None
    assert records > 0


def test_a_record_taken_out_whole_is_noticed_at_start(tmp_path: Path) -> None:
    paths = fill(tmp_path)
    data = paths[0].read_bytes()
    second = data.index(MARK, data.index(MARK, 1) + 1)
    paths[0].write_bytes(data[: data.index(MARK, 1)] + data[second:])
    losses = losses_at_start(tmp_path)
    assert losses
    assert {name for name, _ in losses} == {paths[0].name}


def test_a_torn_end_is_kept_beside_for_whoever_asks(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "gateway", FakeClock(), options=PLAIN)
    path = list_segments(tmp_path / "gateway")[0].path
    journal.append(decision(1))
    size = path.stat().st_size
    journal.append(decision(2))
    journal.close()
    os.truncate(path, size + 30)
    torn = path.read_bytes()[size:]
    assert losses_at_start(tmp_path) == [(path.name, None)]
    assert path.with_suffix(".cut").read_bytes() == torn


def test_frames_of_a_later_release_are_refused_not_cut(tmp_path: Path) -> None:
    paths = fill(tmp_path)
    data = paths[-1].read_bytes()
    newer = bytearray(encode_frame(Kind.EVENT, 99, b"{}"))
    newer[2] = 2
    newer[16:20] = __import__("zlib").crc32(b"{}", __import__("zlib").crc32(newer[:16])).to_bytes(4, "little")
    paths[-1].write_bytes(data + bytes(newer))
    with pytest.raises(Invalid, match="version 2") as refused:
        Journal.open(tmp_path, "gateway", FakeClock(), options=PLAIN)
    assert refused.value.code == "JOURNAL_NEWER"
    assert paths[-1].read_bytes() == data + bytes(newer)

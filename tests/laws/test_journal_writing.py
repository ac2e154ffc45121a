"""J3 to J5 on real files, and: records written = records read."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from limen.core.clock import FakeClock
from limen.core.errors import Unavailable
from limen.core.record import DecisionRecord, EventRecord, InputsRecord, OutcomeRecord, Record
from limen.journal.frame import Frame, Kind, scan
from limen.journal.reader import JournalReader
from limen.journal.records import decode_record
from limen.journal.segments import list_segments
from limen.journal.writer import Journal, JournalOptions, Once

SMALL = JournalOptions(segment_bytes=1500, reserve_bytes=0)
PLAIN = JournalOptions(reserve_bytes=0)
ids = st.text("0123456789abcdef", min_size=4, max_size=8)
text = st.text(max_size=12)

decisions = st.builds(
    DecisionRecord,
    id=ids,
    at=st.floats(1e9, 2e9),
    node=st.just("gateway"),
    point=st.just("gateway"),
    verdict=st.sampled_from(["allow", "deny"]),
    code=text,
    bundle=ids,
    inputs=ids,
    action=st.sampled_from(["read", "write"]),
    resource=text,
    subject=st.none() | text,
    path=text,
    policies=st.lists(text, max_size=3).map(tuple),
)
outcomes = st.builds(
    OutcomeRecord,
    id=ids,
    at=st.floats(1e9, 2e9),
    status=st.integers(100, 599),
    duration_ms=st.integers(0, 9999),
)
events = st.builds(
    EventRecord,
    id=ids,
    at=st.floats(1e9, 2e9),
    node=st.just("gateway"),
    kind=text,
    actor=text,
    data=st.dictionaries(text, st.integers(-5, 5) | text, max_size=3),
)
records = st.lists(decisions | outcomes | events, max_size=40)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


def read_all(root: Path) -> list[Record]:
    return [
        r for r in JournalReader(root).read() if not (isinstance(r, EventRecord) and r.actor == "journal")
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(records, min_size=1, max_size=3))
def test_records_written_are_records_read_over_restarts_and_segments(boots: list[list[Record]]) -> None:
    with folder() as root:
        for batch in boots:
            with Journal.open(root, "gateway", FakeClock(), options=SMALL) as journal:
                for record in batch:
                    journal.append(record)
                assert journal.wait_checked(10)
                assert journal.losses == ()
        assert read_all(root) == [record for batch in boots for record in batch]


@settings(max_examples=40, deadline=None)
@given(st.lists(decisions, min_size=1, max_size=12), st.data())
def test_j2_a_torn_end_is_cut_at_start_and_the_good_prefix_kept(
    batch: list[Record], data: st.DataObject
) -> None:
    """The file ends as after a power cut: without a seal, at any byte."""
    with folder() as root:
        journal = Journal.open(root, "gateway", FakeClock(), options=PLAIN)
        path = list_segments(root / "gateway")[-1].path
        ends = [path.stat().st_size]
        for record in batch:
            journal.append(record)
            ends.append(path.stat().st_size)
        journal.close()
        size = data.draw(st.integers(0, ends[-1]))
        os.truncate(path, size)
        kept = max(sum(end <= size for end in ends) - 1, 0)
        with Journal.open(root, "gateway", FakeClock(), options=SMALL) as again:
            torn = size not in (0, *ends)
            assert [loss.segment for loss in again.losses] == [str(path)] * torn
        assert read_all(root) == batch[:kept]
        with Journal.open(root, "gateway", FakeClock(), options=SMALL) as third:
            assert third.wait_checked(10)
            assert third.losses == ()  # said once: the segment is sealed as it now is


@settings(max_examples=40, deadline=None)
@given(st.lists(decisions, min_size=2, max_size=12), st.data())
def test_j2_a_flipped_bit_is_found_at_start_and_costs_one_record(
    batch: list[Record], data: st.DataObject
) -> None:
    with folder() as root:
        with Journal.open(root, "gateway", FakeClock(), options=PLAIN) as journal:
            path = list_segments(root / "gateway")[-1].path
            ends = [path.stat().st_size]
            for record in batch:
                journal.append(record)
                ends.append(path.stat().st_size)
        hit = data.draw(st.integers(0, len(batch) - 1))
        changed = bytearray(path.read_bytes())
        place = data.draw(st.integers(ends[hit], ends[hit + 1] - 1))
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(bytes(changed))
        with Journal.open(root, "gateway", FakeClock(), options=SMALL) as again:
            assert again.wait_checked(10)
            (loss,) = again.losses
            assert (loss.offset, loss.size, loss.records) == (ends[hit], ends[hit + 1] - ends[hit], 1)
        assert read_all(root) == batch[:hit] + batch[hit + 1 :]
        lost = [event.kind for event in JournalReader(root).events(kind="journal.")]
        assert lost == ["journal.loss"]


DISK_FULL = OSError(errno.ENOSPC, "full")


class FaultyDisk:
    """A disk with a queue of faults: the n-th write takes only so many bytes, or fails."""

    def __init__(self, faults: dict[int, int | OSError]) -> None:
        self.faults, self.count = faults, 0

    def write(self, file: int, data: bytes) -> int:
        self.count += 1
        fault = self.faults.pop(self.count, None)
        if isinstance(fault, OSError):
            os.write(file, data[: len(data) // 2])
            raise fault
        return os.write(file, data if fault is None else data[: fault % len(data)])


faults = st.dictionaries(
    st.integers(2, 20), st.integers(0, 500) | st.just(OSError(errno.ENOSPC, "full")), max_size=4
)
groups = st.lists(st.lists(decisions, min_size=1, max_size=4), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(groups, faults)
def test_j4_refused_not_lost(batch: list[list[DecisionRecord]], broken: dict[int, int | OSError]) -> None:
    """Of each group all is acknowledged and stored, or nothing is."""
    with folder() as root:
        disk = FaultyDisk(dict(broken))
        journal = Journal.open(root, "gateway", FakeClock(), options=PLAIN, write=disk.write)
        acknowledged: list[DecisionRecord] = []
        for group in batch:
            try:
                journal.append_many(group)
            except Unavailable as error:
                assert error.code == "JOURNAL_FULL"
                journal.tend()  # space again
            else:
                acknowledged += group
        assert read_all(root) == acknowledged
        journal.close()
        assert read_all(root) == acknowledged


@settings(max_examples=40, deadline=None)
@given(groups, faults, st.integers(300, 3000), st.data())
def test_j4_what_waits_in_memory_is_written_in_order_once_there_is_space(
    batch: list[list[DecisionRecord]], broken: dict[int, int | OSError], room: int, data: st.DataObject
) -> None:
    with folder() as root:
        disk = FaultyDisk(dict(broken))
        options = structs.replace(SMALL, on_full="buffer", buffer_bytes=room)
        journal = Journal.open(root, "gateway", FakeClock(), options=options, write=disk.write)
        acknowledged: list[DecisionRecord] = []
        for number, group in enumerate(batch):
            needed = Once("inputs", f"i{number % 3}", lambda n=number: InputsRecord(f"i{n % 3}", {"x": 1}))
            leaning = [structs.replace(decision, inputs=needed.id) for decision in group]
            with contextlib.suppress(Unavailable):
                journal.append_many([needed, *leaning])
                acknowledged += leaning
            if data.draw(st.booleans()):
                journal.tend()
        disk.faults.clear()
        journal.close()
        stored = read_all(root)
        assert [record for record in stored if isinstance(record, DecisionRecord)] == acknowledged
        assert_self_contained(root)


def assert_self_contained(root: Path) -> None:
    """Each decision's inputs stand before it in its own segment, once."""
    for name in list_segments(root / "gateway"):
        seen: set[str] = set()
        for part in scan(name.path.read_bytes()):
            assert isinstance(part, Frame)
            record = decode_record(part) if part.kind < Kind.HEADER else None
            if isinstance(record, InputsRecord):
                assert record.id not in seen
                seen.add(record.id)
            elif isinstance(record, DecisionRecord):
                assert record.inputs in seen


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(decisions, ids), min_size=1, max_size=40))
def test_j5_self_contained(batch: list[tuple[DecisionRecord, str]]) -> None:
    with folder() as root:
        with Journal.open(root, "gateway", FakeClock(), options=SMALL) as journal:
            for decision, inputs in batch:
                needed = Once("inputs", inputs, lambda i=inputs: InputsRecord(i, {"x": 1}))
                journal.append_many((needed, structs.replace(decision, inputs=inputs)))
        assert_self_contained(root)


def test_a_record_with_text_that_is_not_unicode_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "gateway", FakeClock(), options=SMALL) as journal:
        with pytest.raises(UnicodeEncodeError):
            journal.append(EventRecord("e", 1.0, "gateway", "x\udcff", "a"))
        assert read_all(tmp_path) == []

"""Following: from now on or from a cursor, over restarts, rotation, compaction, torn ends, many nodes."""

from pathlib import Path

import msgspec
from tests.kit.archive_world import NODE, SMALL, compact, decision, fill, records

from limen.core.clock import FakeClock
from limen.core.record import Record
from limen.journal.follow import Follower, Stored
from limen.journal.retention import Retention
from limen.journal.segments import list_segments
from limen.journal.writer import Journal


def drained(follower: Follower) -> list[Record]:
    return [stored.record for stored in follower.poll()]


def test_it_gives_each_record_once_over_segments_and_restarts(tmp_path: Path) -> None:
    clock = FakeClock()
    with Journal.open(tmp_path, NODE, clock, options=SMALL) as journal:
        journal.append(decision(0))
        now, everything = Follower.from_now(tmp_path), Follower(tmp_path)
        assert drained(now) == []
        for number in range(1, 30):
            journal.append(decision(number))
        assert drained(now) == [decision(number) for number in range(1, 30)]
        assert drained(now) == []
    with Journal.open(tmp_path, NODE, clock, options=SMALL) as journal:
        journal.append(decision(30))
        assert drained(now) == [decision(30)]
    assert drained(everything) == [decision(number) for number in range(31)]


def test_it_waits_for_the_end_of_a_record(tmp_path: Path) -> None:
    with Journal.open(tmp_path, NODE, FakeClock(), options=SMALL) as journal:
        follower = Follower.from_now(tmp_path)
        path = list_segments(tmp_path / NODE)[0].path
        start = path.stat().st_size
        journal.append(decision(1))
        whole = path.read_bytes()
        path.write_bytes(whole[: start + 40])
        assert drained(follower) == []
        path.write_bytes(whole)
        assert drained(follower) == [decision(1)]


def test_a_cursor_goes_through_json_and_tells_where_each_record_stands(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    follower = Follower(tmp_path)
    first = follower.poll(limit=7)
    cursor = msgspec.json.decode(msgspec.json.encode(follower.cursor))
    assert cursor == {NODE: [first[-1].boot, 7]}
    rest = Follower(tmp_path, cursor).poll()
    assert [stored.position for stored in first + rest] == list(range(62))
    assert [stored.record for stored in first + rest] == records(20)
    assert isinstance(rest[0], Stored)


def test_what_is_compacted_between_polls_is_neither_lost_nor_told_twice(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    follower = Follower(tmp_path)
    first = follower.poll(limit=11)
    cursor = follower.cursor
    compact(tmp_path)
    assert [*first, *follower.poll()] == Follower(tmp_path).poll()
    assert [*first, *Follower(tmp_path, cursor).poll()] == Follower(tmp_path).poll()
    assert len(Follower(tmp_path).poll()) == 122


def test_removed_payloads_are_passed_over_and_leaves_are_given(tmp_path: Path) -> None:
    from limen.journal.archive import tend

    fill(tmp_path, 40)
    whole = [leaf.frame.leaf for leaf in Follower(tmp_path).poll_leaves()]
    tend(tmp_path, Retention(age_max_s=1.0), 1e9)
    assert [leaf.frame.leaf for leaf in Follower(tmp_path).poll_leaves()] == whole
    left = Follower(tmp_path).poll()
    assert 0 < len(left) < len(whole)
    assert left[-1].position == len(whole) - 1


def test_retention_may_take_what_a_cursor_pointed_at(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    follower = Follower(tmp_path)
    follower.poll(limit=3)
    for name in list_segments(tmp_path / NODE)[:-1]:
        name.path.unlink()
    left = follower.poll()
    assert left[-1].position == 121
    assert Follower(tmp_path, {NODE: (left[0].boot, 3)}).poll() == left


def test_no_busy_node_keeps_another_waiting(tmp_path: Path) -> None:
    fill(tmp_path, 20, node="gateway-a")
    fill(tmp_path, 1, node="gateway-b")
    follower = Follower(tmp_path)
    assert {stored.node for stored in follower.poll(limit=10)} == {"gateway-a"}
    assert {stored.node for stored in follower.poll(limit=10)} == {"gateway-a", "gateway-b"}
    assert {stored.node for stored in Follower(tmp_path, nodes=["gateway-b"]).poll()} == {"gateway-b"}


def test_a_record_that_cannot_be_read_keeps_none_back(tmp_path: Path) -> None:
    from limen.journal.frame import encode_frame

    fill(tmp_path, 1)
    path = list_segments(tmp_path / NODE)[0].path
    data = path.read_bytes()
    cut = data.rfind(b"\xff\xfe\x01\x41")  # the seal
    path.write_bytes(data[:cut] + encode_frame(5, 5, b'{"type":"of tomorrow"}') + data[cut:])
    follower = Follower(tmp_path)
    assert len(follower.poll()) == 5
    assert follower.unreadable == 1
    assert follower.poll() == []

"""V2: what a healthy system does is no doubt; what cannot be checked is said."""

from pathlib import Path

import duckdb
import msgspec
import pytest
from journal_forger import find, frames_of
from journal_rig import SMALL, JournalRig, decision
from msgspec.structs import replace

from limen.core.record import EventRecord
from limen.journal import archive
from limen.journal.checkpoints import CHECKPOINTS, load_node_signer, read_notes
from limen.journal.findings import Problem, Report
from limen.journal.frame import Kind, encode_frame
from limen.journal.records import encode_record
from limen.journal.retention import Retention
from limen.journal.segments import Seal, SegmentHeader, checksum, list_segments
from limen.journal.stored import COMPACTED
from limen.journal.writer import JournalOptions

NODE = "gateway-a"
LARGER = JournalOptions(segment_bytes=20_000, reserve_bytes=0)


@pytest.fixture
def rig(tmp_path: Path) -> JournalRig:
    return JournalRig(tmp_path)


def whats(report: Report) -> dict[str, int | None]:
    assert report.whole, report.doubts
    return {one.what: one.records for one in report.unchecked}


def test_a_running_system_is_whole_and_says_what_is_not_signed_yet(rig: JournalRig) -> None:
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 12)
        found = whats(rig.verify())
        assert found["newest"] == 2  # since the checkpoint at ten
        assert found["not_countersigned"] == 10
        newest = next(one for one in rig.verify().unchecked if one.what == "newest")
        assert newest.since == rig.clock.now() - 1
        path = list_segments(rig.journal / NODE)[-1].path
        whole = path.read_bytes()
        path.write_bytes(whole + encode_frame(Kind.EVENT, 12, b"x" * 99)[:50])  # in the middle of a write
        assert whats(rig.verify())["torn"] is None
        path.write_bytes(whole)


@pytest.mark.parametrize("written", [0, 1, 3, 12])
def test_a_killed_writer_leaves_no_doubt(rig: JournalRig, tmp_path: Path, written: int) -> None:
    rig.boot(NODE, 7)
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, written)
        dead = rig.copy(tmp_path / "dead")
    path = list_segments(dead.journal / NODE)[-1].path
    path.write_bytes(path.read_bytes() + encode_frame(Kind.EVENT, written, b"x" * 99)[:50])
    assert "torn" in whats(dead.verify())
    dead.boot(NODE, 5)
    found = whats(dead.verify())
    assert "newest" not in found  # the next boot signs for what the dead one left
    assert "cut_bytes" in found


def test_a_segment_of_which_a_crash_left_nothing_is_no_doubt(rig: JournalRig) -> None:
    boot = rig.boot(NODE, 7)
    (rig.journal / NODE / f"{boot}-00000009.seg").write_bytes(b"\0" * 40)
    rig.boot(NODE, 3)
    assert whats(rig.verify())["cut_bytes"] is None


def test_a_torn_checkpoint_is_no_doubt_and_the_next_one_mends_it(rig: JournalRig) -> None:
    rig.boot(NODE, 7)
    path = rig.journal / NODE / CHECKPOINTS
    path.write_bytes(path.read_bytes() + read_notes(path).notes[-1][:80])
    assert "torn_checkpoint" in whats(rig.verify())
    rig.boot(NODE, 7)
    assert "torn_checkpoint" not in whats(rig.verify())


def test_retention_by_the_writer_is_signed(rig: JournalRig) -> None:
    countersigner = rig.countersigner()
    options = replace(SMALL, retention=Retention(bytes_max=6000))
    for _ in range(3):
        rig.boot(NODE, 23, options)
        countersigner.tick()
    assert len(list_segments(rig.journal / NODE)) < 5
    assert whats(rig.verify()) == {"removed": None}
    countersigner = rig.countersigner()  # control starts anew: the tree it saw last may be gone
    rig.boot(NODE, 40, options)
    countersigner.tick()
    assert whats(rig.verify()) == {"removed": None}
    assert [one.kind for one in rig.events] == ["journal.key_trusted"]
    rig.close()


def tend(rig: JournalRig, retention: Retention) -> None:
    signers = {NODE: load_node_signer(rig.keys, rig.journal, NODE)}
    archive.tend(rig.journal, retention, rig.clock.now(), signers=signers)


def test_compaction_and_retention_of_rows_are_no_doubt(rig: JournalRig, tmp_path: Path) -> None:
    countersigner = rig.countersigner()
    for _ in range(2):
        rig.boot(NODE, 23, LARGER)
        countersigner.tick()
    before = rig.verify()
    kept = tmp_path / "kept"
    kept.write_bytes(read_notes(rig.countersigned / NODE).notes[0] + b"\n")
    tend(rig, Retention())
    after = rig.verify()
    assert len(list((rig.journal / NODE).glob(f"*{COMPACTED}"))) == 1  # the newest is left
    assert whats(after) == {}
    assert after.nodes == before.nodes
    assert rig.verify(since=kept).whole
    rig.clock.advance(10_000)
    tend(rig, Retention(keep_s={"decisions": 1000.0}))
    assert set(whats(rig.verify())) <= {"removed", "content_removed"}
    assert len(rig.verify().unchecked) > 0
    rig.close()


@pytest.mark.parametrize("column", ["verdict", "payload"])
def test_a_changed_row_is_found(rig: JournalRig, column: str) -> None:
    rig.boot(NODE, 12, LARGER)
    rig.boot(NODE, 1, LARGER)
    tend(rig, Retention())
    path = sorted((rig.journal / NODE).glob(f"*{COMPACTED}"))[0]
    database = duckdb.connect(config={"threads": 1})
    database.execute(f"CREATE TABLE t AS SELECT * FROM read_parquet('{path}')")
    what = "'deny'" if column == "verdict" else "replace(payload, 'allow', 'deny')"
    database.execute(f"UPDATE t SET {column} = {what} WHERE position = 4 AND kind = 1")
    database.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    report = rig.verify()
    assert [doubt.node for doubt in report.doubts][:1] == [NODE]
    problem = Problem.CHANGED if column == "payload" else Problem.UNREADABLE
    assert problem in {doubt.problem for doubt in report.doubts}


def as_release_0_1(rig: JournalRig) -> None:
    """Take from every segment, and the folder, what release 0.1 did not write."""
    for name in list_segments(rig.journal / NODE):
        frames = frames_of(name.path)
        header = msgspec.json.decode(frames[0].payload, type=SegmentHeader)
        old = msgspec.to_builtins(replace(header, frontier=None, after=None))
        data = encode_frame(Kind.HEADER, header.first, msgspec.json.encode(old))
        data += b"".join(encode_frame(Kind(f.kind), f.position, f.payload) for f in frames[1:-1])
        seal = Seal(len(data), checksum(data), frames[-1].position, header.at)
        name.path.write_bytes(data + encode_frame(Kind.SEAL, seal.end, msgspec.json.encode(seal)))
    (rig.journal / NODE / CHECKPOINTS).unlink()


def test_segments_of_release_0_1_are_readable_and_said_to_be_unproven(rig: JournalRig) -> None:
    rig.boot(NODE, 23)
    rig.boot(NODE, 5)
    as_release_0_1(rig)
    assert whats(rig.verify()) == {"unproven": 28}
    countersigner = rig.countersigner()
    rig.boot(NODE, 9)
    countersigner.tick()
    report = rig.verify()
    assert whats(report) == {"unproven": 28}
    assert report.nodes[0].countersigned_size == 9
    as_release_0_1(rig)  # what was signed for cannot be passed off as old
    assert Problem.CHANGED in {doubt.problem for doubt in rig.verify().doubts}
    rig.close()


def test_records_that_waited_for_a_full_disk_are_not_late(rig: JournalRig) -> None:
    began = rig.clock.now()
    waited = [decision(number, NODE, began + number) for number in range(3)]
    with rig.open(NODE) as journal:
        rig.clock.advance(7200)
        rig.write(journal, NODE, 5)
        for record in waited:
            journal.append(record)
        late = rig.verify()
        assert {doubt.problem for doubt in late.doubts} == {Problem.CLOCK}
        journal.append(
            EventRecord("evt_1", rig.clock.now(), NODE, "journal.drained", "journal", data={"since": began})
        )
        assert rig.verify().whole


def test_a_journal_that_nobody_signed_is_a_doubt(rig: JournalRig) -> None:
    rig.boot(NODE, 5)
    (rig.journal / NODE / CHECKPOINTS).unlink()
    assert [doubt.problem for doubt in rig.verify().doubts] == [Problem.UNSIGNED]


def test_since_reads_only_what_is_newer(rig: JournalRig, tmp_path: Path) -> None:
    countersigner = rig.countersigner()
    for _ in range(3):
        boot = rig.boot(NODE, 23)
        countersigner.tick()
    kept = tmp_path / "kept"
    kept.write_bytes(read_notes(rig.countersigned / NODE).notes[1] + b"\n")
    assert rig.verify(since=kept).nodes[0].records < 23 * 2
    path, frame = find(rig.journal / NODE, "000003")
    data = bytearray(path.read_bytes())
    data[frame.offset + 30] ^= 1
    path.write_bytes(data)
    assert rig.verify(since=kept).whole  # it is older than the checkpoint
    assert not rig.verify().whole
    path, frame = find(rig.journal / NODE, "000066")
    data = bytearray(path.read_bytes())
    data[frame.offset + 30] ^= 1
    path.write_bytes(data)
    assert next(doubt.boot for doubt in rig.verify(since=kept).doubts) == boot
    rig.close()


def test_a_frame_of_another_kind_than_its_record_is_found(rig: JournalRig) -> None:
    rig.boot(NODE, 5)
    path = list_segments(rig.journal / NODE)[0].path
    frames, data = frames_of(path), b""
    for frame in frames[:-1]:
        kind = Kind.EVENT if frame.position == 2 and frame.kind == Kind.DECISION else Kind(frame.kind)
        data += encode_frame(kind, frame.position, frame.payload)
    seal = replace(msgspec.json.decode(frames[-1].payload, type=Seal), crc=checksum(data))
    path.write_bytes(data + encode_frame(Kind.SEAL, seal.end, msgspec.json.encode(seal)))
    doubts = rig.verify().doubts
    assert [(doubt.problem, doubt.position) for doubt in doubts] == [(Problem.FORGED, 2)]


def test_records_are_looked_at_however_they_are_written(rig: JournalRig) -> None:
    with rig.open(NODE) as journal:
        journal.append(EventRecord('evt_"1', rig.clock.now(), NODE, "sign_in.failed", "ada"))
        journal.append(EventRecord("evt_2", rig.clock.now(), 'gate"way', "sign_in.failed", "ada"))
    report = rig.verify()
    assert [(doubt.problem, doubt.position) for doubt in report.doubts] == [(Problem.FORGED, 1)]
    assert encode_record(decision(1, NODE, 1.0)).startswith(b'{"type":"decision","id":"')

"""Compaction, retention by class, holds: what replaces a segment, and what may never go."""

import ast
import stat
from pathlib import Path

import msgspec
import pytest
from msgspec import structs
from tests.kit.archive_world import NODE, SMALL, compact, decision, fill, outcome

from limen.core.clock import FakeClock
from limen.core.errors import Conflict, Invalid
from limen.core.record import DecisionRecord, EventRecord, Record
from limen.journal import archive, parquet, stored
from limen.journal.archive import Task, tend
from limen.journal.checkpoints import load_node_signer
from limen.journal.frame import Damage, Kind
from limen.journal.note import Signer
from limen.journal.reader import JournalReader
from limen.journal.retention import Hold, Holds, Retention, load_holds, save_holds
from limen.journal.segments import list_segments
from limen.journal.writer import Journal

NOW = 2_000.0 + 10 * 86_400
DECISIONS_OLD = Retention(keep_s={"decisions": 86_400.0})
ALL_OLD = Retention(age_max_s=86_400.0)


def read(root: Path) -> list[Record]:
    return list(JournalReader(root).read())


def test_a_compacted_journal_reads_as_before_and_takes_less_room(tmp_path: Path) -> None:
    fill(tmp_path, 60)
    before = read(tmp_path)
    report = compact(tmp_path)
    assert len(report.compacted) > 3
    assert not report.failed
    assert read(tmp_path) == before
    assert len(list_segments(tmp_path / NODE)) == 1  # the newest: the next writer begins from it
    for name in stored.list_stored(tmp_path / NODE):
        assert stored.header(name) is not None
        assert stored.seal(name) is not None
        assert stat.S_IMODE(name.path.stat().st_mode) == 0o600
    assert compact(tmp_path).compacted == []


def test_a_decision_is_found_with_all_that_belongs_to_it_when_compacted(tmp_path: Path) -> None:
    fill(tmp_path, 60)
    compact(tmp_path)
    found = JournalReader(tmp_path).find(decision(2).id)
    assert found.decision == decision(2)
    assert found.outcome == outcome(decision(2))
    assert found.inputs is not None
    assert found.bundle is not None


def test_a_writer_goes_on_after_what_was_compacted(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    compact(tmp_path)
    with Journal.open(tmp_path, NODE, FakeClock(2_000.0)) as journal:
        assert journal.wait_checked(10)
        assert journal.losses == ()
        assert journal.boot.startswith("00000002-")


def test_damage_is_kept_and_told_as_damage(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    first = list_segments(tmp_path / NODE)[0].path
    data = bytearray(first.read_bytes())
    data[900] ^= 1
    first.write_bytes(data)
    compact(tmp_path)
    name = stored.list_stored(tmp_path / NODE)[0]
    assert name.path.suffix == ".parquet"
    parts = list(stored.parts(name))
    assert any(isinstance(part, Damage) for part in parts)
    reader = JournalReader(tmp_path)
    assert list(reader.read())
    assert len(reader.losses) == 1


def test_a_compacted_file_that_is_no_parquet_any_more_is_damage(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    compact(tmp_path)
    name = stored.list_stored(tmp_path / NODE)[0]
    name.path.write_bytes(b"PAR1 nothing PAR1")
    assert list(stored.parts(name)) == [Damage(0, 17)]
    assert stored.header(name) is None
    assert JournalReader(tmp_path).find(decision(39).id).decision == decision(39)


def test_a_segment_that_would_not_come_back_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 40)
    before = [name.path for name in list_segments(tmp_path / NODE)]
    real = archive.compaction.rows
    monkeypatch.setattr(archive.compaction, "rows", lambda database: list(real(database))[:-1])
    report = compact(tmp_path)
    assert list(report.failed) == [before[0].name]
    assert "differs" in report.failed[before[0].name]
    assert [name.path for name in stored.list_stored(tmp_path / NODE)] == before
    assert not list((tmp_path / NODE).glob("*.tmp"))


def test_both_forms_at_once_count_as_one(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    before = read(tmp_path)
    first = list_segments(tmp_path / NODE)[0].path
    kept = first.read_bytes()
    compact(tmp_path)
    first.write_bytes(kept)  # killed between the rename and the removal
    assert read(tmp_path) == before
    assert compact(tmp_path).compacted == [first.name]
    assert not first.exists()


def test_only_one_process_archives(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with archive._only_one(tmp_path), pytest.raises(Conflict, match="already"):
        compact(tmp_path)


def test_each_class_goes_at_its_time_and_leaves_its_leaves(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    names = list_segments(tmp_path / NODE)[:-1]
    leaves = [frame.leaf for name in names for frame in stored.frames(name)]
    report = tend(tmp_path, DECISIONS_OLD, NOW)
    assert sum(report.emptied.values()) > 40
    names = stored.list_stored(tmp_path / NODE)[:-1]
    frames = [frame for name in names for frame in stored.frames(name)]
    assert [frame.leaf for frame in frames] == leaves
    assert {frame.kind for frame in frames if frame.payload is not None} == {Kind.EVENT}
    assert tend(tmp_path, DECISIONS_OLD, NOW).emptied == {}  # once


def test_nothing_goes_before_its_time(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    before = read(tmp_path)
    tend(tmp_path, Retention(keep_s={"decisions": 1e9}), NOW)
    assert read(tmp_path) == before


def test_what_has_no_payload_left_goes_whole_once_its_node_has_said_so(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    tend(tmp_path, ALL_OLD, NOW)
    assert len(stored.list_stored(tmp_path / NODE)) > 2  # no signer: leaves stay
    signer = Signer.load(tmp_path / "key", f"limen.test/{NODE}")
    report = tend(tmp_path, ALL_OLD, NOW, signers={NODE: signer})
    assert len(report.removed) > 1
    (left,) = stored.list_stored(tmp_path / NODE)
    assert (tmp_path / NODE / "removed").read_text().count(left.boot) == 1
    header = stored.header(left)
    assert header is not None
    assert header.frontier


def test_a_journal_that_is_too_big_loses_its_oldest(tmp_path: Path) -> None:
    fill(tmp_path, 60)
    compact(tmp_path)
    sizes = [name.path.stat().st_size for name in stored.list_stored(tmp_path / NODE)[:-1]]
    report = tend(tmp_path, Retention(bytes_max=sum(sizes) - 1), NOW)
    first = stored.list_stored(tmp_path / NODE)[0]
    assert first.path.name in report.emptied
    assert all(frame.payload is None for frame in stored.frames(first))


def hold(root: Path, subject: str | None) -> None:
    save_holds(root, Holds((Hold("hold_1", subject),)))


@pytest.mark.parametrize("compacted", [True, False])
def test_what_is_held_stays_and_its_decision_can_be_derived(tmp_path: Path, compacted: bool) -> None:
    fill(tmp_path, 40)
    hold(tmp_path, 'User::"ada"')
    ours = [record for record in read(tmp_path) if _about(record, "ada")]
    tend(tmp_path, Retention(age_max_s=86_400.0, bytes_max=1), NOW, compact=compacted)
    left = read(tmp_path)
    assert [record for record in left if _about(record, "ada")] == ours
    found = JournalReader(tmp_path).find(decision(3).id)
    assert found.outcome == outcome(decision(3))
    assert found.bundle is not None
    assert compacted == any(record is None for record in _payloads(tmp_path))


def test_a_hold_on_everything_and_one_that_cannot_be_read_keep_everything(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    before = read(tmp_path)
    hold(tmp_path, None)
    tend(tmp_path, ALL_OLD, NOW)
    assert read(tmp_path) == before
    (tmp_path / "holds.json").write_bytes(b"{")
    assert load_holds(tmp_path).everything
    tend(tmp_path, ALL_OLD, NOW)
    assert read(tmp_path) == before
    with Journal.open(
        tmp_path, NODE, FakeClock(NOW), options=structs.replace(SMALL, retention=ALL_OLD)
    ) as journal:  # the writer's own retention asks for holds too
        journal.wait_checked(10)
    assert [one for one in read(tmp_path) if one in before] == before


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(Invalid, match="sign_ins"):
        Retention(keep_s={"sign_ins": 5.0})


def test_the_work_apart_takes_json_and_gives_it(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    keys = tmp_path.parent / f"{tmp_path.name}-keys"
    keys.mkdir()
    load_node_signer(keys, tmp_path, NODE)
    task = Task(str(tmp_path), NOW, ALL_OLD, keys={NODE: str(keys / f"journal-{NODE}.key")})
    report = archive.work(msgspec.json.decode(msgspec.json.encode(task)), lambda done, of: None)
    assert report["compacted"]
    assert report["emptied"]
    assert report["removed"]


def test_duckdb_reaches_nothing_but_what_it_is_handed(tmp_path: Path) -> None:
    import duckdb

    fill(tmp_path, 40)
    compact(tmp_path)
    path, another = (name.path for name in stored.list_stored(tmp_path / NODE)[:2])
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("a\n1\n")
    with parquet.pinned([path]) as files, parquet.opened(list(files)) as database:
        for statement in (
            f"SELECT * FROM '{elsewhere}'",
            f"SELECT * FROM read_parquet('{another}')",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            f"ATTACH '{tmp_path}/out.db'",
            "SELECT * FROM glob('/etc/*')",
            "INSTALL httpfs",
            "LOAD httpfs",
            "SET enable_external_access = true",
            "SET temp_directory = '/tmp'",
        ):
            with pytest.raises(duckdb.Error):
                database.execute(statement).fetchall()
    assert not (tmp_path / "out.csv").exists()


def test_what_somebody_reads_is_replaced_another_time(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    compact(tmp_path)
    first = stored.list_stored(tmp_path / NODE)[0]
    reading = stored.frames(first)
    next(reading)
    assert list(tend(tmp_path, ALL_OLD, NOW).failed) == [
        name.path.name for name in stored.list_stored(tmp_path / NODE)[:-1]
    ]
    assert all(frame.payload is not None for frame in reading)
    assert tend(tmp_path, ALL_OLD, NOW).emptied


def test_nothing_but_commands_that_need_it_loads_duckdb() -> None:
    folder = Path(archive.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in getattr(node, "names", ())] + [getattr(node, "module", "") or ""]
            assert "duckdb" not in names, path


def _about(record: Record, person: str) -> bool:
    if isinstance(record, DecisionRecord):
        return record.subject == f'User::"{person}"'
    return isinstance(record, EventRecord) and record.actor == person


def _payloads(root: Path) -> list[bytes | None]:
    return [frame.payload for name in stored.list_stored(root / NODE) for frame in stored.frames(name)]


def test_sealed_values_are_sealed_in_every_column(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    compact(tmp_path)
    for path in (tmp_path / NODE).glob("*.parquet"):
        with parquet.pinned([path]) as files, parquet.opened(list(files)) as database:
            text = repr(database.execute("FROM part").fetchall())
        for word in ('"ada', 'ada"', "private-of", "10.0.", "laptop-of", "ses_"):
            assert word not in text

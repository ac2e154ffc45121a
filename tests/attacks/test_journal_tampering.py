"""Whoever can write the journal's files is found out, and what was done is named (law V1)."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_forger import Records, find, frames_of, records_of, reforge, sign
from journal_rig import JournalRig, decision

from limen.journal.checkpoints import CHECKPOINTS, load_node_signer, parse_checkpoint, read_notes
from limen.journal.findings import Doubt, Problem, Report
from limen.journal.frame import Kind
from limen.journal.note import Signer, parse_note
from limen.journal.records import encode_record
from limen.journal.segments import list_segments

NODE, OTHER = "gateway-a", "gateway-b"
RECORDS = 23  # a boot, over some three segments


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> JournalRig:
    """Two nodes with three boots each, all of it countersigned."""
    rig = JournalRig(tmp_path_factory.mktemp("journals"))
    countersigner = rig.countersigner()
    for _ in range(3):
        for node in (NODE, OTHER, "control"):
            rig.boot(node, RECORDS)
            countersigner.tick()
    rig.close()
    report = rig.verify(witness=True)
    assert report.whole, report.doubts
    assert report.unchecked == ()
    return rig


@pytest.fixture
def rig(template: JournalRig, tmp_path: Path) -> Iterator[JournalRig]:
    copied = template.copy(tmp_path)
    yield copied
    copied.close()


def boots(rig: JournalRig, node: str = NODE) -> list[str]:
    return list(dict.fromkeys(name.boot for name in list_segments(rig.journal / node)))


def found(report: Report, problem: Problem, node: str = NODE) -> Doubt:
    """Return the doubt of a kind; the report must be about this node alone."""
    assert not report.whole
    assert {doubt.node for doubt in report.doubts} == {node}, report.doubts
    named = [doubt for doubt in report.doubts if doubt.problem is problem]
    assert named, report.doubts
    return named[0]


def record_of(rig: JournalRig, boot: str, position: int) -> str:
    payload = records_of(rig.journal / NODE, boot)[position][1]
    return payload.split(b'"id":"')[1].split(b'"')[0].decode()


def stolen(rig: JournalRig, node: str = NODE) -> Signer:
    return load_node_signer(rig.keys, rig.journal, node)


def strange(tmp_path: Path, rig: JournalRig) -> Signer:
    return Signer.load(tmp_path / "strange.key", stolen(rig).name)


# --- changing what is there ---------------------------------------------------------------------------


def test_an_edited_byte_is_found_and_names_the_record(rig: JournalRig) -> None:
    boot = boots(rig)[1]
    victim = record_of(rig, boot, 9)
    path, frame = find(rig.journal / NODE, victim)
    data = bytearray(path.read_bytes())
    place = data.index(b'"allow"', frame.offset)
    data[place : place + 7] = b'"deny!"'
    path.write_bytes(data)
    doubt = found(rig.verify(), Problem.DAMAGED)
    assert (doubt.boot, doubt.position, doubt.records) == (boot, 9, (victim,))


def edit_one(position: int) -> Callable[[Records], Records]:
    def edit(records: Records) -> Records:
        kind, payload = records[position]
        return [*records[:position], (kind, payload.replace(b"allow", b"deny ")), *records[position + 1 :]]

    return edit


def test_an_edit_with_every_checksum_mended_is_found(rig: JournalRig) -> None:
    boot = boots(rig)[1]
    reforge(rig.journal / NODE, boot, edit_one(9))
    doubt = found(rig.verify(), Problem.CHANGED)
    assert doubt.boot == boot
    assert doubt.position is not None
    assert doubt.until is not None
    assert doubt.position <= 9 < doubt.until <= doubt.position + 6  # five records between checkpoints
    assert record_of(rig, boot, doubt.position) in doubt.records


@pytest.mark.parametrize("boot_number", [0, 1, 2])
def test_a_deleted_record_is_found(rig: JournalRig, boot_number: int) -> None:
    boot = boots(rig)[boot_number]
    reforge(rig.journal / NODE, boot, lambda records: records[:9] + records[10:])
    doubt = found(rig.verify(), Problem.CHANGED)
    assert (doubt.boot, doubt.position is not None and doubt.position <= 9) == (boot, True)
    assert found(rig.verify(), Problem.CUT).until == RECORDS


def test_a_record_taken_out_of_the_bytes_is_found(rig: JournalRig) -> None:
    boot = boots(rig)[1]
    victim = record_of(rig, boot, 4)
    path, frame = find(rig.journal / NODE, victim)
    data = path.read_bytes()
    path.write_bytes(data[: frame.offset] + data[frame.end :])
    doubt = found(rig.verify(), Problem.MISSING)
    assert (doubt.boot, doubt.position, doubt.until) == (boot, 4, 5)


def test_two_swapped_records_are_found(rig: JournalRig) -> None:
    boot = boots(rig)[0]
    reforge(rig.journal / NODE, boot, lambda r: [*r[:6], r[7], r[6], *r[8:]])
    doubt = found(rig.verify(), Problem.CHANGED)
    assert (doubt.boot, doubt.position) == (boot, 5)


def test_frames_swapped_in_the_bytes_are_found(rig: JournalRig) -> None:
    path = list_segments(rig.journal / NODE)[0].path
    frames, data = frames_of(path), path.read_bytes()
    one, two = frames[2], frames[3]
    path.write_bytes(
        data[: one.offset] + data[two.offset : two.end] + data[one.offset : one.end] + data[two.end :]
    )
    assert found(rig.verify(), Problem.MISSING).position == 1


def test_an_added_record_is_found(rig: JournalRig) -> None:
    boot = boots(rig)[2]
    extra = (int(Kind.DECISION), encode_record(decision(999, NODE, rig.clock.now())))
    reforge(rig.journal / NODE, boot, lambda records: [*records[:11], extra, *records[11:]])
    assert found(rig.verify(), Problem.CHANGED).boot == boot


# --- taking away --------------------------------------------------------------------------------------


def test_a_cut_tail_is_found(rig: JournalRig) -> None:
    name = list_segments(rig.journal / NODE)[-1]
    frame = frames_of(name.path)[-3]
    name.path.write_bytes(name.path.read_bytes()[: frame.offset])
    doubt = found(rig.verify(), Problem.CUT)
    assert (doubt.boot, doubt.position, doubt.until) == (name.boot, frame.position, RECORDS)


def test_a_cut_tail_is_found_though_the_nodes_checkpoints_were_cut_as_well(rig: JournalRig) -> None:
    boot = boots(rig)[2]
    reforge(rig.journal / NODE, boot, lambda records: records[:20])
    path = rig.journal / NODE / CHECKPOINTS
    notes = read_notes(path).notes[:-1]
    path.write_bytes(b"".join(note + b"\n" for note in notes))
    report = rig.verify()
    assert found(report, Problem.CUT).until == RECORDS
    assert found(report, Problem.CHECKPOINTS_CUT).boot == boot


def test_a_segment_taken_from_the_middle_is_found(rig: JournalRig) -> None:
    list_segments(rig.journal / NODE)[4].path.unlink()
    assert found(rig.verify(), Problem.MISSING).boot == boots(rig)[1]


def test_the_oldest_segment_is_missed_since_nobody_signed_its_removal(rig: JournalRig) -> None:
    list_segments(rig.journal / NODE)[0].path.unlink()
    assert found(rig.verify(), Problem.BEGINNING_GONE).boot == boots(rig)[0]


@pytest.mark.parametrize("boot_number", [0, 1, 2])
def test_a_boot_that_is_gone_is_missed(rig: JournalRig, boot_number: int) -> None:
    boot = boots(rig)[boot_number]
    for name in list_segments(rig.journal / NODE):
        if name.boot == boot:
            name.path.unlink()
    assert found(rig.verify(), Problem.BOOT_GONE).boot == boot


def test_a_node_that_is_gone_is_missed(rig: JournalRig) -> None:
    shutil.rmtree(rig.journal / NODE)
    assert found(rig.verify(), Problem.BOOT_GONE)


def test_checkpoints_that_are_gone_are_missed(rig: JournalRig) -> None:
    (rig.journal / NODE / CHECKPOINTS).unlink()
    assert found(rig.verify(), Problem.CHECKPOINTS_CUT)


# --- replacing ----------------------------------------------------------------------------------------


def test_a_log_signed_anew_with_another_key_is_found(rig: JournalRig, tmp_path: Path) -> None:
    reforge(rig.journal / NODE, boots(rig)[1], edit_one(9), strange(tmp_path, rig))
    report = rig.verify()
    assert found(report, Problem.OTHER_KEY)
    assert found(report, Problem.CHANGED).boot == boots(rig)[1]


def test_a_log_signed_anew_with_the_nodes_own_key_is_found(rig: JournalRig) -> None:
    reforge(rig.journal / NODE, boots(rig)[1], edit_one(9), stolen(rig))
    report = rig.verify()
    assert found(report, Problem.FORK).boot == boots(rig)[1]
    assert found(report, Problem.CHANGED).boot == boots(rig)[1]


def test_a_segment_of_another_node_is_found(rig: JournalRig) -> None:
    mine, others = list_segments(rig.journal / NODE), list_segments(rig.journal / OTHER)
    shutil.copy(others[4].path, mine[4].path)
    doubt = found(rig.verify(), Problem.MISPLACED)
    assert doubt.boot == mine[4].boot
    assert OTHER in doubt.text


def test_a_segment_of_another_boot_is_found(rig: JournalRig) -> None:
    names = list_segments(rig.journal / NODE)
    shutil.copy(names[1].path, names[4].path)
    assert found(rig.verify(), Problem.MISPLACED).boot == names[4].boot


def test_a_backup_that_was_restored_is_found(rig: JournalRig, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(rig.journal, backup)
    countersigner = rig.countersigner()
    rig.boot(NODE, 7)
    countersigner.tick()
    shutil.rmtree(rig.journal)
    shutil.copytree(backup, rig.journal)
    assert found(rig.verify(), Problem.BOOT_GONE)
    rig.boot(NODE, 9)
    assert found(rig.verify(), Problem.BOOT_GONE)


def test_only_a_witness_finds_a_backup_of_all_that_control_has(rig: JournalRig, tmp_path: Path) -> None:
    backup = rig.copy(tmp_path / "backup")
    countersigner = rig.countersigner()
    rig.boot(NODE, 7)
    countersigner.tick()
    shutil.rmtree(backup.witness)
    shutil.copytree(rig.witness, backup.witness)
    assert backup.verify().whole
    assert found(backup.verify(witness=True), Problem.BOOT_GONE)


# --- telling readers different things ------------------------------------------------------------------


def test_a_fork_for_one_reader_is_found(rig: JournalRig, tmp_path: Path) -> None:
    """The node's key was stolen; a reader was shown another history, and kept what was signed of it."""
    boot = boots(rig)[2]
    fork = rig.copy(tmp_path / "fork")
    reforge(fork.journal / NODE, boot, edit_one(9), stolen(fork))
    kept = tmp_path / "kept-by-the-reader"
    kept.write_bytes(read_notes(fork.journal / NODE / CHECKPOINTS).notes[-1] + b"\n")
    doubt = found(rig.verify(since=kept), Problem.FORK)
    assert (doubt.boot, doubt.until) == (boot, RECORDS)
    assert found(fork.verify(), Problem.FORK).boot == boot  # and by what control has countersigned


def test_a_checkpoint_kept_by_a_reader_finds_a_change_without_control(
    rig: JournalRig, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    boot = boots(rig)[1]
    notes = read_notes(rig.countersigned / NODE).notes
    kept.write_bytes(next(note for note in notes if boot.encode() in note.split(b"\n")[0]) + b"\n")
    assert rig.verify(since=kept).whole
    shutil.rmtree(rig.countersigned)
    shutil.rmtree(rig.witness)
    reforge(rig.journal / NODE, boot, edit_one(RECORDS - 2), stolen(rig))
    assert found(rig.verify(since=kept), Problem.FORK).boot == boot


def test_a_checkpoint_of_another_node_is_not_believed(rig: JournalRig) -> None:
    path = rig.journal / NODE / CHECKPOINTS
    newest = parse_checkpoint(parse_note(read_notes(path).notes[-1]).text)
    sign(path, stolen(rig, OTHER), newest, {})
    assert found(rig.verify(), Problem.OTHER_KEY)


def test_a_record_forged_in_the_name_of_another_node_is_found(rig: JournalRig) -> None:
    countersigner = rig.countersigner()
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 5)
        journal.append(decision(777, OTHER.replace("-b", "-c"), rig.clock.now()))
    countersigner.tick()
    doubt = found(rig.verify(), Problem.FORGED)
    assert (doubt.boot, doubt.position) == (journal.boot, 5)
    assert doubt.records == ("dec-gateway-c-000777",)


# --- the clock ----------------------------------------------------------------------------------------


def test_a_clock_that_is_rolled_back_is_found(rig: JournalRig) -> None:
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 10)
        rig.clock.jump(-3600)
        rig.write(journal, NODE, 10)
    assert found(rig.verify(), Problem.CLOCK).boot == journal.boot


def test_a_record_dated_back_is_found(rig: JournalRig) -> None:
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 10)
        journal.append(decision(888, NODE, rig.clock.now() - 7200))
        rig.write(journal, NODE, 5)
    doubt = found(rig.verify(), Problem.CLOCK)
    assert (doubt.position, doubt.records) == (10, (f"dec-{NODE}-000888",))


def test_a_record_dated_ahead_is_found(rig: JournalRig) -> None:
    with rig.open(NODE) as journal:
        journal.append(decision(888, NODE, rig.clock.now() + 7200))
        rig.write(journal, NODE, 5)
    assert found(rig.verify(), Problem.CLOCK).position == 0


# --- any byte -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def any_byte(tmp_path_factory: pytest.TempPathFactory) -> tuple[JournalRig, Report]:
    rig = JournalRig(tmp_path_factory.mktemp("any"))
    countersigner = rig.countersigner()
    for _ in range(2):
        rig.boot(NODE, 9)
        countersigner.tick()
    rig.close()
    return rig, rig.verify(witness=True)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_a_doubt_or_is_named(
    any_byte: tuple[JournalRig, Report], data: st.DataObject
) -> None:
    rig, before = any_byte
    folders = (rig.journal, rig.countersigned, rig.witness)
    files = sorted(path for top in folders for path in top.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from([path for path in files if path.stat().st_size]))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[place] ^ data.draw(st.integers(1, 255))
    path.write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
    try:
        after = rig.verify(witness=True)
    finally:
        path.write_bytes(whole)
    named = set(after.unchecked) - set(before.unchecked)
    assert not after.whole or any(path.name in one.text for one in named), (path, place)

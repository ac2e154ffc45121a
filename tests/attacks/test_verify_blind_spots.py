"""What a verification of the log must not be blind to, nor be ended by (law V1)."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from journal_forger import Records, reforge
from journal_rig import JournalRig, decision

from limen.core.record import EventRecord
from limen.journal.checkpoints import (
    CHECKPOINTS,
    append_note,
    load_node_signer,
    open_checkpoint,
    parse_checkpoint,
    read_notes,
)
from limen.journal.findings import Problem, Report
from limen.journal.frame import Kind
from limen.journal.note import Note, NoteRefused, Signer
from limen.journal.records import encode_record
from limen.journal.removals import state_removal
from limen.journal.segments import list_segments

NODE, OTHER = "gateway-a", "control"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> JournalRig:
    rig = JournalRig(tmp_path_factory.mktemp("journals"))
    countersigner = rig.countersigner()
    for _ in range(3):
        for node in (NODE, OTHER):
            rig.boot(node, 12)
            countersigner.tick()
    rig.close()
    assert rig.verify().whole
    return rig


@pytest.fixture
def rig(template: JournalRig, tmp_path: Path) -> Iterator[JournalRig]:
    copied = template.copy(tmp_path)
    yield copied
    copied.close()


def problems(report: Report) -> set[tuple[str, Problem]]:
    assert not report.whole
    return {(doubt.node, doubt.problem) for doubt in report.doubts}


def stolen(rig: JournalRig) -> Signer:
    return load_node_signer(rig.keys, rig.journal, NODE)


def boots(rig: JournalRig) -> list[str]:
    return list(dict.fromkeys(name.boot for name in list_segments(rig.journal / NODE)))


def test_a_node_is_missed_of_which_only_the_readers_checkpoint_knows(rig: JournalRig, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copy(rig.countersigned / NODE, kept)
    shutil.rmtree(rig.journal / NODE)
    (rig.countersigned / NODE).unlink()
    assert (NODE, Problem.BOOT_GONE) in problems(rig.verify(since=kept))


def retained(rig: JournalRig) -> None:
    """Retention takes the first boot, and says so."""
    first, second, _ = boots(rig)
    state_removal(rig.journal / NODE, stolen(rig), second, 0, rig.clock.now())
    for name in list_segments(rig.journal / NODE):
        if name.boot == first:
            name.path.unlink()


def test_records_put_where_retention_has_removed_some_are_found(rig: JournalRig, tmp_path: Path) -> None:
    retained(rig)
    assert rig.verify().whole
    strange = JournalRig(tmp_path / "strange")
    shutil.copy(rig.journal / "salt", strange.journal / "salt")
    strange.boot(NODE, 8)
    for name in list_segments(strange.journal / NODE):
        shutil.copy(name.path, rig.journal / NODE)
    assert problems(rig.verify()) == {(NODE, Problem.UNSIGNED)}


@pytest.mark.parametrize("left", ["nothing", "the newest segment"])
def test_a_removal_that_takes_more_than_retention_does_is_found(rig: JournalRig, left: str) -> None:
    state_removal(rig.journal / NODE, stolen(rig), "99999999-ffffffff", 10**18, rig.clock.now())
    names = list_segments(rig.journal / NODE)
    for name in names if left == "nothing" else names[:-1]:
        name.path.unlink()
    assert (NODE, Problem.BOOT_GONE) in problems(rig.verify())


def test_that_control_has_countersigned_nothing_for_long_is_a_doubt(rig: JournalRig) -> None:
    rig.clock.advance(3_600.0)
    rig.boot(NODE, 5)
    for path in (rig.countersigned / NODE, rig.countersigned / OTHER):
        path.unlink()
    assert problems(rig.verify()) == {(NODE, Problem.CHECKPOINTS_CUT)}


@pytest.mark.parametrize("at", [10**400, -(10**400), -1], ids=["late", "early", "before 1970"])
def test_a_time_that_is_none_ends_neither_verification_nor_countersigning(rig: JournalRig, at: int) -> None:
    newest = open_checkpoint(read_notes(rig.journal / NODE / CHECKPOINTS).notes[-1]).checkpoint
    text = msgspec.structs.replace(newest, at=at).render()
    with pytest.raises(NoteRefused):
        parse_checkpoint(text)
    append_note(rig.journal / NODE / CHECKPOINTS, Note(text, (stolen(rig).sign(text),)))
    assert problems(rig.verify()) == {(NODE, Problem.FALSE_SIGNATURE)}
    rig.boot(OTHER, 3)
    before = (rig.countersigned / OTHER).stat().st_size
    rig.countersigner().tick()
    assert (rig.countersigned / OTHER).stat().st_size > before


def ruin_segment(folder: Path) -> None:
    newest = list_segments(folder)[-1].path
    newest.unlink()
    newest.mkdir()


def ruin_checkpoints(folder: Path) -> None:
    (folder / CHECKPOINTS).unlink()
    (folder / CHECKPOINTS).mkdir()


def ruin_by_loop(folder: Path) -> None:
    (folder / CHECKPOINTS).unlink()
    (folder / CHECKPOINTS).symlink_to(folder / CHECKPOINTS)


@pytest.mark.parametrize("ruin", [ruin_segment, ruin_checkpoints, ruin_by_loop])
def test_what_cannot_be_read_is_a_doubt_and_hides_no_other_node(
    rig: JournalRig, ruin: Callable[[Path], None]
) -> None:
    ruin(rig.journal / NODE)
    report = rig.verify()
    assert not report.whole
    assert {doubt.node for doubt in report.doubts} == {NODE}
    assert next(node for node in report.nodes if node.node == OTHER).records == 36


def test_a_decision_is_not_excused_from_its_time_by_the_name_that_it_has(rig: JournalRig) -> None:
    late = msgspec.structs.replace(decision(1, NODE, rig.clock.now() - 86_400.0), id="chg_0_1")
    forge(rig, late)
    assert (NODE, Problem.CLOCK) in problems(rig.verify())


def test_a_disk_that_was_full_excuses_nothing_older_than_the_boot(rig: JournalRig) -> None:
    now = rig.clock.now()
    late = decision(1, NODE, now - 86_400.0)
    drained = EventRecord("evt_0", now, NODE, "journal.drained", "journal", data={"since": 0.0})
    forge(rig, late, drained)
    assert (NODE, Problem.CLOCK) in problems(rig.verify())


def forge(rig: JournalRig, *records: object) -> None:
    """Append to the last boot as somebody does who has the node's key, before control has seen any of it."""
    boot = rig.boot(NODE, 4)

    def edit(own: Records) -> Records:
        kinds = {"decision": Kind.DECISION, "event": Kind.EVENT}
        return [*own, *((kinds[one.__struct_config__.tag], encode_record(one)) for one in records)]  # type: ignore[attr-defined, arg-type]

    reforge(rig.journal / NODE, boot, edit, stolen(rig))

"""K2: control countersigns what has grown, and says once what has not."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from journal_forger import find, frames_of, reforge, sign
from journal_rig import JournalRig, decision

from limen.administrator.ledger import Ledger
from limen.administrator.node_trust import forget_key
from limen.core.errors import Invalid, NotFound
from limen.core.record import EventRecord
from limen.journal.checkpoints import (
    CHECKPOINTS,
    KEY_FILE,
    append_note,
    load_node_signer,
    open_checkpoint,
    read_notes,
)
from limen.journal.note import Algorithm, Note, Signer, verify_note
from limen.journal.segments import list_segments
from limen.journal.writer import JournalOptions

NODE = "gateway-a"
AGAIN_S = 700.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JournalRig]:
    made = JournalRig(tmp_path)
    yield made
    made.close()


def countersigned(rig: JournalRig, folder: Path | None = None) -> list[tuple[str, int]]:
    found = []
    for data in read_notes((folder or rig.countersigned) / NODE).notes:
        signed = open_checkpoint(data)
        assert verify_note(signed.note, rig.control_key) is not None
        found.append((signed.checkpoint.boot, signed.checkpoint.size))
    return found


def alarms(rig: JournalRig) -> list[EventRecord]:
    return [event for event in rig.events if event.kind != "journal.key_trusted"]


def test_what_has_grown_is_countersigned_and_copied_to_the_witness(rig: JournalRig) -> None:
    countersigner = rig.countersigner()
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 10)
        countersigner.tick()
        countersigner.tick()
        rig.write(journal, NODE, 13)
        countersigner.tick()
    countersigner.tick()
    boot = rig.boot(NODE, 5)
    countersigner.tick()
    assert countersigned(rig) == [(journal.boot, 10), (journal.boot, 20), (journal.boot, 23), (boot, 5)]
    assert countersigned(rig, rig.witness) == countersigned(rig)
    assert (rig.witness / KEY_FILE).read_text() == f"{rig.control_key}\n"
    assert [event.kind for event in rig.events] == ["journal.key_trusted"]


def test_it_goes_on_after_a_restart_and_over_boots_that_nobody_countersigned(rig: JournalRig) -> None:
    rig.boot(NODE, 7)
    rig.countersigner().tick()
    rig.boot(NODE, 8)
    rig.boot(NODE, 0)
    last = rig.boot(NODE, 9)
    rig.countersigner().tick()
    assert countersigned(rig)[-1] == (last, 9)
    rig.boot(NODE, 11)
    rig.countersigner().tick()
    assert alarms(rig) == []
    assert rig.verify().whole


def test_what_was_read_is_not_read_again(rig: JournalRig) -> None:
    countersigner = rig.countersigner()
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 20)
        countersigner.tick()
        for name in list_segments(rig.journal / NODE)[:-1]:
            name.path.write_bytes(b"\0" * name.path.stat().st_size)
        rig.write(journal, NODE, 5)
        countersigner.tick()
    assert countersigned(rig)[-1] == (journal.boot, 25)


def test_changed_records_are_told_once_and_not_countersigned(rig: JournalRig) -> None:
    countersigner = rig.countersigner()
    boot = rig.boot(NODE, 5)
    countersigner.tick()
    rig.clock.advance(60)
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 10)
        path, frame = find(rig.journal / NODE, "000012")
        data = bytearray(path.read_bytes())
        data[frame.offset + 25] ^= 1
        path.write_bytes(data)
        for _ in range(3):
            countersigner.tick()
            rig.clock.advance(AGAIN_S)
    assert countersigned(rig) == [(boot, 5)]
    (alarm,) = alarms(rig)
    assert (alarm.kind, alarm.target) == ("journal.inconsistent", NODE)
    assert "6" in alarm.data["why"]  # where the records that are right end


def test_one_node_that_is_wrong_keeps_no_other_waiting(rig: JournalRig) -> None:
    rig.boot("aaa", 5)
    (rig.journal / "aaa" / CHECKPOINTS).write_bytes(b"rubbish\n\n\xe2\x80\x94 a AAAAAAA=\n\n")
    boot = rig.boot(NODE, 5)
    rig.countersigner().tick()
    assert countersigned(rig) == [(boot, 5)]
    assert [alarm.target for alarm in alarms(rig)] == ["aaa"]


def test_a_rolled_back_log_is_told(rig: JournalRig, tmp_path: Path) -> None:
    rig.boot(NODE, 5)
    backup = tmp_path / "backup"
    shutil.copytree(rig.journal / NODE, backup)
    countersigner = rig.countersigner()
    rig.boot(NODE, 5)
    countersigner.tick()
    shutil.rmtree(rig.journal / NODE)
    shutil.copytree(backup, rig.journal / NODE)
    countersigner.tick()
    assert [alarm.kind for alarm in alarms(rig)] == ["journal.inconsistent"]
    assert "countersigned" in alarms(rig)[0].data["why"]


def test_a_fork_is_told(rig: JournalRig) -> None:
    countersigner = rig.countersigner()
    boot = rig.boot(NODE, 9)
    countersigner.tick()
    stolen = load_node_signer(rig.keys, rig.journal, NODE)
    reforge(
        rig.journal / NODE,
        boot,
        lambda r: [r[0], (r[1][0], r[1][1].replace(b"read", b"edit")), *r[2:]],
        stolen,
    )
    countersigner.tick()
    assert "forked" in alarms(rig)[0].data["why"]


def test_another_key_is_an_alarm_until_an_operator_accepts_it(rig: JournalRig, tmp_path: Path) -> None:
    countersigner = rig.countersigner()
    rig.boot(NODE, 5)
    countersigner.tick()
    (rig.keys / f"journal-{NODE}.key").unlink()
    boot = rig.boot(NODE, 5)
    for _ in range(3):
        countersigner.tick()
    assert [alarm.kind for alarm in alarms(rig)] == ["journal.key_changed"]
    assert len(countersigned(rig)) == 1
    assert rig.store is not None
    assert not rig.verify().whole
    ledger = Ledger(rig.store, rig.events.append)
    with pytest.raises(Invalid):
        forget_key(ledger, rig.journal, NODE, actor="ada", reason=" ")
    with pytest.raises(NotFound):
        forget_key(ledger, rig.journal, "other", actor="ada", reason="set up anew")
    old = forget_key(ledger, rig.journal, NODE, actor="ada", reason="set up anew").key
    countersigner.tick()
    assert countersigned(rig)[-1] == (boot, 5)
    kinds = [(event.kind, event.actor) for event in rig.events[-2:]]
    assert kinds == [("journal.key_forgotten", "ada"), ("journal.key_trusted", "journal")]
    report = rig.verify()
    assert report.whole
    assert [one.what for one in report.unchecked] == ["key_changed"]
    assert report.nodes[0].key != old


def test_an_old_key_counts_no_longer_where_another_has_followed(rig: JournalRig) -> None:
    countersigner = rig.countersigner()
    rig.boot(NODE, 5)
    countersigner.tick()
    stolen = rig.keys / f"journal-{NODE}.key"
    old = stolen.rename(rig.root / "old.key")
    rig.boot(NODE, 5)
    countersigner.tick()
    assert rig.store is not None
    forget_key(Ledger(rig.store, rig.events.append), rig.journal, NODE, actor="ada", reason="stolen")
    countersigner.tick()
    old.rename(stolen)
    rig.boot(NODE, 5)
    countersigner.tick()
    assert not rig.verify().whole
    assert "journal.key_changed" in [event.kind for event in rig.events[-2:]]


def test_controls_own_trouble_is_no_alarm_and_is_over_with_it(
    rig: JournalRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    countersigner = rig.countersigner()
    boot = rig.boot(NODE, 5)
    with monkeypatch.context() as full:
        full.setattr(os, "fdatasync", _no_space)
        countersigner.tick()
        assert countersigned(rig) == []
    countersigner.tick()
    assert countersigned(rig) == [(boot, 5)]
    assert alarms(rig) == []
    assert rig.verify().whole


@pytest.mark.parametrize("trouble", ["gone", "a file", "full"])
def test_a_witness_that_is_away_is_told_once_and_keeps_nothing_waiting(
    rig: JournalRig, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    countersigner = rig.countersigner()
    rig.boot(NODE, 5)
    countersigner.tick()
    with monkeypatch.context() as away:
        if trouble == "full":
            away.setattr("limen.administrator.countersign.append_note", _witness_full(rig.witness))
        else:
            rig.witness.rename(rig.root / "elsewhere")
            if trouble == "a file":
                rig.witness.touch()
        for _ in range(2):
            rig.boot(NODE, 5)
            countersigner.tick()
        if trouble != "full":
            rig.witness.unlink(missing_ok=True)
            (rig.root / "elsewhere").rename(rig.witness)
    boot = rig.boot(NODE, 5)
    countersigner.tick()
    assert len(countersigned(rig)) == 4
    assert countersigned(rig, rig.witness)[-1] == (boot, 5)
    told = [(event.kind, event.target) for event in alarms(rig)]
    assert told == [
        ("journal.witness_away", str(rig.witness)),
        ("journal.witness_back", str(rig.witness)),
    ]
    assert rig.verify(witness=True).whole


def _no_space(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _witness_full(witness: Path) -> Callable[[Path, Note], None]:
    def append(path: Path, note: Note) -> None:
        if path.is_relative_to(witness):
            _no_space(0)
        append_note(path, note)

    return append


def test_a_checkpoint_of_another_node_is_told(rig: JournalRig) -> None:
    rig.boot(NODE, 5)
    rig.boot("gateway-b", 5)
    path = rig.journal / NODE / CHECKPOINTS
    newest = open_checkpoint(read_notes(path).notes[-1]).checkpoint
    sign(path, load_node_signer(rig.keys, rig.journal, "gateway-b"), newest, {})
    rig.countersigner().tick()
    assert [alarm.target for alarm in alarms(rig)] == [NODE]


def test_a_broken_chain_is_told_and_the_new_boot_is_countersigned(rig: JournalRig) -> None:
    countersigner = rig.countersigner()
    rig.boot(NODE, 9)
    countersigner.tick()
    path = list_segments(rig.journal / NODE)[0].path
    path.write_bytes(path.read_bytes()[: frames_of(path)[-3].offset])
    new = rig.boot(NODE, 5)
    rig.countersigner().tick()
    assert countersigned(rig)[-1] == (new, 5)
    assert [alarm.kind for alarm in alarms(rig)] == ["journal.inconsistent"]


def test_a_clock_set_back_is_told(rig: JournalRig) -> None:
    countersigner = rig.countersigner()
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 10)
        countersigner.tick()
        rig.clock.jump(-3600)
        rig.write(journal, NODE, 10)
        countersigner.tick()
    assert countersigned(rig)[-1] == (journal.boot, 20)
    assert "clock" in alarms(rig)[0].data["why"]


def test_a_witness_that_is_away_stops_nothing(rig: JournalRig) -> None:
    shutil.rmtree(rig.witness)
    boot = rig.boot(NODE, 5)
    rig.countersigner().tick()
    assert countersigned(rig) == [(boot, 5)]
    rig.witness.mkdir()
    boot = rig.boot(NODE, 5)
    rig.countersigner().tick()
    assert countersigned(rig, rig.witness) == [(boot, 5)]


def test_foreign_notes_among_the_countersigned_are_told(rig: JournalRig, tmp_path: Path) -> None:
    rig.boot(NODE, 5)
    rig.countersigner().tick()
    other = Signer.load(tmp_path / "other.key", rig.control_key.name)
    note = open_checkpoint(read_notes(rig.countersigned / NODE).notes[-1]).note
    forged = type(note)(note.text, (note.signatures[0], other.cosign(note.text, 1)))
    (rig.countersigned / NODE).write_text(f"{forged}\n")
    assert other.key(Algorithm.COSIGNATURE) != rig.control_key
    rig.boot(NODE, 5)
    rig.countersigner().tick()
    assert [alarm.kind for alarm in alarms(rig)] == ["journal.inconsistent"]


def test_slices_are_short(rig: JournalRig) -> None:
    pauses: list[int] = []
    countersigner = rig.countersigner(lambda: pauses.append(1))
    with rig.open(NODE, JournalOptions(reserve_bytes=0)) as journal:
        for number in range(4000):
            journal.append(decision(number, NODE, rig.clock.now()))
    countersigner.tick()
    assert len(pauses) >= 3  # 256 KB each at most

"""K1 to K3: one key an owner, gone when erased, and heard of by everybody who seals."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from limen.core.errors import Invalid, Unavailable
from limen.journal import keys as module
from limen.journal.key import KEY_BYTES
from limen.journal.keys import FILE, Keys

ADA = 'User::"ada"'


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock by which `Keys` looks at the file; tests set its one element."""
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_k1_one_key_for_all_processes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from limen.journal.keys import Keys\n"
        "print(Keys.open(Path(sys.argv[1])).for_owner('User::\"ada\"').id)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {process.communicate(timeout=30)[0].strip() for process in started}
    keys = Keys.open(tmp_path)
    assert told == {keys.for_owner(ADA).id}
    assert [key.owner for key in keys.keys_of(ADA)] == [ADA]


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    keys = Keys.open(tmp_path / "none")
    assert keys.find("00") is None
    assert keys.owner("00") is None
    assert keys.keys_of(ADA) == keys.all() == keys.erased_ids() == ()
    assert not (tmp_path / "none").exists()


def test_the_file_is_private(tmp_path: Path) -> None:
    Keys.open(tmp_path).for_owner(ADA)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_k2_an_erased_key_is_not_in_the_file_and_never_comes_back(tmp_path: Path) -> None:
    keys = Keys.open(tmp_path)
    mine = keys.for_owner(ADA)
    material = mine.material.reveal()
    keys.add("feedfeedfeedfeed", ADA, b"\x01" * KEY_BYTES)
    others = keys.for_owner('User::"grace"')
    assert material in (tmp_path / FILE).read_bytes()
    assert keys.erase(ADA) == 2
    keys.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE]  # no rollback journal, no write-ahead log
    left = (tmp_path / FILE).read_bytes()
    assert material not in left
    assert b"\x01" * KEY_BYTES not in left
    assert ADA.encode() not in left
    assert others.material.reveal() in left
    again = Keys.open(tmp_path)
    assert again.find(mine.id) is None
    assert not again.add(mine.id, ADA, material)
    assert not again.add("feedfeedfeedfeed", ADA, b"\x01" * KEY_BYTES)
    assert set(again.erased_ids()) == {mine.id, "feedfeedfeedfeed"}
    assert again.for_owner(ADA).id != mine.id


def test_k3_another_process_hears_of_an_erasure_within_a_second(tmp_path: Path, ticks: list[float]) -> None:
    brain, control = Keys.open(tmp_path), Keys.open(tmp_path)
    before = brain.for_owner(ADA)
    sealed = brain.seal(before, "path", "/a")
    assert control.erase(ADA) == 1
    assert brain.for_owner(ADA) is before  # not looked yet
    ticks[0] += module.LOOK_EVERY_S + 0.001
    after = brain.for_owner(ADA)
    assert after.id != before.id
    assert brain.find(before.id) is None
    assert brain.seal(after, "path", "/a") != sealed
    assert control.for_owner(ADA).id == after.id


def test_k1_many_keys_are_made_in_one_commit_and_those_that_stand_are_kept(tmp_path: Path) -> None:
    keys, other = Keys.open(tmp_path), Keys.open(tmp_path)
    ada = other.for_owner(ADA)
    people = [f'User::"p{number}"' for number in range(50)]
    keys.make_for([ADA])
    commits = _commits(tmp_path)
    keys.make_for([*people, ADA, *people])
    assert _commits(tmp_path) == commits + 1
    made = [keys.for_owner(owner) for owner in people]
    assert _commits(tmp_path) == commits + 1
    assert len({key.id for key in made}) == len({key.material.reveal() for key in made}) == len(people)
    assert [key.owner for key in made] == people
    assert keys.for_owner(ADA).id == ada.id
    assert [other.for_owner(owner).id for owner in people] == [key.id for key in made]
    other.make_for(people)
    assert _commits(tmp_path) == commits + 1  # nothing is written where nothing is missing


def test_k2_many_keys_are_made_anew_after_an_erasure(tmp_path: Path) -> None:
    keys = Keys.open(tmp_path)
    keys.make_for([ADA, 'User::"grace"'])
    ada, grace = keys.for_owner(ADA), keys.for_owner('User::"grace"')
    keys.erase(ADA)
    keys.make_for([ADA, 'User::"grace"'])
    assert keys.for_owner(ADA).id != ada.id
    assert keys.for_owner('User::"grace"').id == grace.id
    assert keys.find(ada.id) is None


def test_k3_making_many_keys_hears_of_an_erasure_elsewhere(tmp_path: Path, ticks: list[float]) -> None:
    keys, other = Keys.open(tmp_path), Keys.open(tmp_path)
    keys.make_for([ADA])
    before = keys.for_owner(ADA)
    other.erase(ADA)
    ticks[0] += module.LOOK_EVERY_S + 0.001
    keys.make_for([ADA])
    after = keys.for_owner(ADA)
    assert after.id != before.id
    assert other.for_owner(ADA).id == after.id


def _commits(root: Path) -> int:
    """Return SQLite's file change counter (file format, 1.3.7): one more for each commit that wrote."""
    return int.from_bytes((root / FILE).read_bytes()[24:28])


def test_a_reader_finds_a_key_that_was_made_after_it_looked(tmp_path: Path, ticks: list[float]) -> None:
    reader, brain = Keys.open(tmp_path), Keys.open(tmp_path)
    key = brain.for_owner(ADA)
    assert reader.owner(key.id) == ADA
    assert reader.find("aa") is None
    brain.add("aa", ADA, b"\x02" * KEY_BYTES)
    ticks[0] += module.LOOK_EVERY_S + 0.001
    assert reader.owner("aa") == ADA


def test_a_key_of_another_machine_opens_and_does_not_seal(tmp_path: Path) -> None:
    keys = Keys.open(tmp_path)
    assert keys.add("aa", ADA, b"\x02" * KEY_BYTES)
    assert keys.add("aa", ADA, b"\x02" * KEY_BYTES)  # shipped at least once
    assert keys.for_owner(ADA).id != "aa"
    with pytest.raises(Invalid) as forged:
        keys.add("aa", 'User::"grace"', b"\x03" * KEY_BYTES)
    assert forged.value.code == "KEY_FORGED"
    with pytest.raises(Invalid):
        keys.add("bb", ADA, b"short")


def test_a_key_that_was_erased_elsewhere_is_erased_before_it_comes(tmp_path: Path) -> None:
    keys = Keys.open(tmp_path)
    keys.add("aa", ADA, b"\x02" * KEY_BYTES)
    assert keys.erase_ids(("aa", "bb")) == 1
    assert keys.find("aa") is None
    assert not keys.add("bb", ADA, b"\x02" * KEY_BYTES)


def test_a_sealed_value_opens_with_its_key_for_its_field_alone(tmp_path: Path) -> None:
    keys = Keys.open(tmp_path)
    ada, grace = keys.for_owner(ADA), keys.for_owner('User::"grace"')
    sealed = ada.seal("path", "/secret")
    assert ada.open("path", sealed) == "/secret"
    flipped = ("B" if sealed[0] == "A" else "A") + sealed[1:]
    for key, field, value in ((ada, "ip", sealed), (grace, "path", sealed), (ada, "path", flipped)):
        with pytest.raises(Invalid) as refused:
            key.open(field, value)
        assert refused.value.code == "SEAL_BROKEN"


def test_a_file_that_is_no_database_makes_sealing_unavailable(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"rubbish" * 1000)
    with pytest.raises(Unavailable) as refused:
        Keys.open(tmp_path).for_owner(ADA)
    assert refused.value.code == "KEYS_FAILED"


def test_keys_never_show_themselves(tmp_path: Path) -> None:
    key = Keys.open(tmp_path).for_owner(ADA)
    assert "•" in repr(key.material)
    assert key.material.reveal().hex() not in repr(key)

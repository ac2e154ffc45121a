"""The replica on disk: what a crash may do to it, and how old it then is."""

import math
from pathlib import Path

import pytest

from limen.administrator.active import ActiveBundle
from limen.administrator.feed_wire import Tx
from limen.administrator.replica import Replica
from limen.administrator.replica_file import AGE_EVERY_S, ReplicaFile
from limen.core.catalogue import Catalogue
from limen.core.changes import BundleFact, Change, GroupFact, Snapshot
from limen.core.clock import FakeClock


def load(fact: BundleFact) -> ActiveBundle:
    return ActiveBundle(fact.bundle_id, Catalogue(domain="limen.test"), object(), {})  # type: ignore[arg-type]


def group_tx(seq: int) -> Tx:
    name = f"g{seq}"
    return Tx((Change(seq, seq, "group", name, GroupFact(name), "t", "t", 1.0),))


class Kept:
    """A replica that is kept in a file, at seq 3, confirmed just now."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock()
        self.replica = Replica(load)
        self.replica.apply_snapshot(Snapshot("e", 1, ((1, GroupFact("g1")),)))
        self.file = ReplicaFile(folder, self.clock, "boot-1")
        self.file.save(self.replica)
        for seq in (2, 3):
            self.replica.apply(group_tx(seq).changes)
            self.file.append(group_tx(seq), self.replica)
        self.replica.confirm(self.clock.boot_s(), 3)
        self.file.note_age(self.replica)
        self.file.close()

    def reload(self, boot: str = "boot-1") -> Replica:
        replica = Replica(load)
        ReplicaFile(self.folder, self.clock, boot).load(replica)
        return replica

    @property
    def path(self) -> Path:
        return self.folder / "replica.feed"


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_it_is_read_back_as_it_was(kept: Kept) -> None:
    again = kept.reload()
    assert again.snapshot() == kept.replica.snapshot() and again.age_s(kept.clock.boot_s()) == 0


def test_it_is_private(kept: Kept) -> None:
    assert kept.path.stat().st_mode & 0o777 == 0o600


def test_a_folder_without_one_gives_nothing(tmp_path: Path) -> None:
    replica = Replica(load)
    assert not ReplicaFile(tmp_path, FakeClock(), "b").load(replica) and replica.seq == -1


def test_a_torn_tail_is_left_out_and_takes_the_age_with_it(kept: Kept) -> None:
    kept.path.write_bytes(kept.path.read_bytes()[:-5])
    again = kept.reload()
    assert again.seq == 2 and again.groups() == {"g1", "g2"}
    assert again.age_s(kept.clock.boot_s()) == math.inf


def test_rubbish_in_the_middle_ends_what_is_believed(kept: Kept) -> None:
    lines = kept.path.read_bytes().splitlines(keepends=True)
    kept.path.write_bytes(b"".join([*lines[:-2], b"rubbish\n", lines[-1]]))
    assert kept.reload().seq == 1


def test_a_snapshot_that_is_not_complete_is_nothing(kept: Kept) -> None:
    kept.path.write_bytes(kept.path.read_bytes().splitlines(keepends=True)[0])
    assert kept.reload().seq == -1


def test_in_the_same_boot_the_wall_clock_does_not_matter(kept: Kept) -> None:
    kept.clock.advance(40)
    kept.clock.jump(-10_000)
    assert kept.reload().age_s(kept.clock.boot_s()) == 40


def test_after_a_reboot_the_wall_clock_tells_the_age(kept: Kept) -> None:
    kept.clock.advance(40)
    assert kept.reload("boot-2").age_s(kept.clock.boot_s()) == pytest.approx(40)


def test_after_a_reboot_a_clock_set_back_proves_nothing(kept: Kept) -> None:
    kept.clock.jump(-1)
    assert kept.reload("boot-2").age_s(kept.clock.boot_s()) == math.inf


def test_the_age_of_another_epoch_is_not_believed(kept: Kept) -> None:
    age = kept.folder / "replica.age"
    age.write_bytes(age.read_bytes().replace(b'"epoch":"e"', b'"epoch":"f"'))
    assert kept.reload().age_s(kept.clock.boot_s()) == math.inf


def test_a_broken_age_is_none(kept: Kept) -> None:
    (kept.folder / "replica.age").write_bytes(b"{")
    assert kept.reload().age_s(kept.clock.boot_s()) == math.inf


def test_the_age_is_noted_now_and_then_and_never_flatters(kept: Kept) -> None:
    kept.clock.advance(AGE_EVERY_S - 1)
    kept.replica.confirm(kept.clock.boot_s(), 3)
    kept.file.note_age(kept.replica)
    assert kept.reload().age_s(kept.clock.boot_s()) == AGE_EVERY_S - 1
    kept.clock.advance(1)
    kept.file.note_age(kept.replica)
    assert kept.reload().age_s(kept.clock.boot_s()) == 1


def test_a_long_tail_is_folded_into_a_snapshot(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limen.administrator.replica_file.COMPACT_MIN_BYTES", 1_000)
    for seq in range(4, 60):
        kept.replica.apply(group_tx(seq).changes)
        kept.file.append(group_tx(seq), kept.replica)
    kept.file.close()
    assert kept.path.stat().st_size < 20_000
    assert kept.reload().snapshot() == kept.replica.snapshot()
    assert sum(b'"start"' in line for line in kept.path.read_bytes().splitlines()) == 1

"""Which replica a brain starts from: the newest that a brain of its gateway has kept, with its own age."""

import os
from pathlib import Path

import pytest

from limen.services.gateway_replica import adopt_replica


def keep(folder: Path, text: str, at: float) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("replica.feed", "replica.age"):
        (folder / name).write_text(f"{text} {name}")
        os.utime(folder / name, (at, at))


def kept(folder: Path) -> str:
    feed, age = (folder / "replica.feed").read_text(), (folder / "replica.age").read_text()
    assert feed.split()[0] == age.split()[0], "the age is of this file"
    return feed.split()[0]


@pytest.mark.parametrize("slot", ["a", "b"])
def test_a_brain_starts_from_what_the_brain_before_it_kept(tmp_path: Path, slot: str) -> None:
    other = "b" if slot == "a" else "a"
    keep(tmp_path / f"replica-{slot}", "old", 1000)
    keep(tmp_path / f"replica-{other}", "new", 2000)
    assert adopt_replica(tmp_path, slot) == tmp_path / f"replica-{slot}"
    assert kept(tmp_path / f"replica-{slot}") == "new"
    assert kept(tmp_path / f"replica-{other}") == "new", "the other still writes to its own"


def test_its_own_file_stays_where_it_is_the_newest(tmp_path: Path) -> None:
    keep(tmp_path / "replica-a", "own", 2000)
    keep(tmp_path / "replica-b", "other", 1000)
    adopt_replica(tmp_path, "a")
    assert kept(tmp_path / "replica-a") == "own"


def test_the_file_of_a_release_without_slots_is_adopted(tmp_path: Path) -> None:
    keep(tmp_path / "replica", "before", 1000)
    assert kept(adopt_replica(tmp_path, "a")) == "before"


def test_a_file_without_an_age_is_no_reason_to_leave_ones_own(tmp_path: Path) -> None:
    keep(tmp_path / "replica-b", "other", 2000)
    (tmp_path / "replica-b" / "replica.age").unlink()
    folder = adopt_replica(tmp_path, "a")
    assert not list(folder.iterdir())


def test_a_first_brain_starts_with_nothing_in_a_private_folder(tmp_path: Path) -> None:
    folder = adopt_replica(tmp_path, "a")
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o077 == 0

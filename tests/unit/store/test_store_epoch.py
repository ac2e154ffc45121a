"""Epochs: a database that comes back from a backup is recognised, and ends all sessions."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from limen.core.changes import AppSessionFact, GroupFact, SessionFact
from limen.core.clock import FakeClock
from limen.store.database import Store
from limen.store.directory import create_person
from limen.store.tables import app_session, enrolment_link, session, totp

CLOCK = FakeClock()


def write_groups(store: Store, *names: str) -> None:
    for name in names:
        with store.transaction("a", "b") as tx:
            tx.change("group", name, GroupFact(name))


def sign_in(store: Store) -> None:
    """Store a session with one app session, a TOTP and an open enrolment link."""
    now = CLOCK.now()
    with store.transaction("ada", "sign in") as tx:
        create_person(tx, "ada")
        tx.connection.execute(
            insert(session).values(
                id="ses_1",
                token_hash="t1",
                person="ada",
                state="active",
                aal=2,
                phishing_resistant=True,
                methods=["passkey"],
                started_at=now,
                auth_at=now,
                seen_at=now,
                expires_at=now + 60,
                ip="",
                user_agent="",
            )
        )
        tx.change("session", "ses_1", SessionFact("ses_1", "ada", 2, True, ("passkey",), now, now, now + 60))
        tx.connection.execute(
            insert(app_session).values(
                token_hash="t2",
                parent="ses_1",
                app="wiki",
                kind="cookie",
                created_at=now,
                expires_at=now + 60,
            )
        )
        tx.change("app_session", "t2", AppSessionFact("t2", "ses_1", "wiki", now + 60))
        tx.connection.execute(insert(totp).values(person="ada", seed_sealed="", last_step=0, set_at=now))
        tx.connection.execute(
            insert(enrolment_link).values(token_hash="l", purpose="enrol", expires_at=now + 60)
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "limen.db"


def test_a_restart_keeps_the_epoch(path: Path) -> None:
    with Store.open(path, CLOCK) as store:
        write_groups(store, "a", "b")
        epoch = store.epoch
    with Store.open(path, CLOCK) as store:
        assert store.epoch == epoch


def test_a_state_folder_that_is_moved_keeps_the_epoch(path: Path) -> None:
    with Store.open(path, CLOCK) as store:
        write_groups(store, "a")
        epoch = store.epoch
    moved = path.parent.with_name("moved")
    path.parent.rename(moved)
    with Store.open(moved / "limen.db", CLOCK) as store:
        assert store.epoch == epoch


def older_file_put_back(path: Path) -> None:
    with Store.open(path, CLOCK) as store:
        write_groups(store, "a")
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    with Store.open(path, CLOCK) as store:
        write_groups(store, "b")
    path.write_bytes(backup.read_bytes())


def whole_folder_put_back(path: Path) -> None:
    with Store.open(path, CLOCK) as store:
        write_groups(store, "a")
    backup = path.parent.with_name("backup")
    shutil.copytree(path.parent, backup)
    path.parent.rename(path.parent.with_name("lost"))
    backup.rename(path.parent)


def file_without_its_mark(path: Path) -> None:
    with Store.open(path, CLOCK) as store:
        write_groups(store, "a")
    path.with_name("limen.db.mark").unlink()


def mark_that_is_rubbish(path: Path) -> None:
    with Store.open(path, CLOCK) as store:
        write_groups(store, "a")
    path.with_name("limen.db.mark").write_bytes(os.urandom(40))


@pytest.mark.parametrize(
    "restore", [older_file_put_back, whole_folder_put_back, file_without_its_mark, mark_that_is_rubbish]
)
def test_a_restored_database_begins_a_new_epoch_once(path: Path, restore: Callable[[Path], None]) -> None:
    with Store.open(path, CLOCK) as store:
        before = store.epoch
        sign_in(store)
    restore(path)
    with Store.open(path, CLOCK) as store:
        after = store.epoch
        assert after != before
        assert after == store.snapshot().epoch
        kinds = {value.__struct_config__.tag for _, value in store.snapshot().values}
        assert kinds == {"person", "group"}
    with Store.open(path, CLOCK) as store:
        assert store.epoch == after


def test_a_new_epoch_voids_all_that_works_once(path: Path) -> None:
    with Store.open(path, CLOCK) as store:
        sign_in(store)
    file_without_its_mark(path)
    with Store.open(path, CLOCK) as store, store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(enrolment_link)) == 0
        assert connection.scalar(select(func.count()).select_from(app_session)) == 0
        assert connection.scalar(select(session.c.state)) == "ended"
        assert connection.scalar(select(totp.c.last_step)) == int(CLOCK.now()) // 30 + 1


def test_the_mark_is_never_ahead_of_the_database(path: Path) -> None:
    with Store.open(path, CLOCK) as store:
        heard: list[int] = []

        def compare(_: object) -> None:
            marked = int(path.with_name("limen.db.mark").read_text().split()[1])
            heard.append(marked)
            assert marked <= store.head()

        store.subscribe(compare)
        write_groups(store, "a", "b")
    assert heard == [1, 2]

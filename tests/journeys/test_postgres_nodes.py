"""Several control nodes on one PostgreSQL: what one commits the others hear, in order, once.

And what no node may serve from: a database that was restored, seen at a start or while it runs.
"""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from postgres import Postgres
from sqlalchemy import select
from store_backends import new_database, shared_postgres
from store_nodes import CLOCK, Heard, serves, sign_in, wait_until, write

from limen.core.changes import Change, GroupFact
from limen.core.errors import Unavailable
from limen.store import listener
from limen.store.database import Store
from limen.store.life import EPOCH_STRIDE
from limen.store.tables import session


@pytest.fixture
def url() -> Iterator[str]:
    with new_database("postgresql") as made:
        yield made


@pytest.fixture
def nodes(url: str) -> Iterator[tuple[Store, Store]]:
    with Store.open(url, CLOCK) as one, Store.open(url, CLOCK) as other:
        yield one, other


# --- several nodes ---------------------------------------------------------------------------------


def test_a_node_hears_of_another_nodes_commits_in_order_and_once(nodes: tuple[Store, Store]) -> None:
    one, other = nodes
    heard = Heard()
    other.follow(heard.restart, heard.hear)
    names = [f"g{n}" for n in range(50)]
    write(one, *names)
    heard.wait(lambda h: len(h.changes) >= 50)
    assert [change.id for change in heard.changes] == names
    assert heard.seqs == list(range(1, 51))


def test_a_notification_is_what_wakes_a_node(
    nodes: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look that is made each second anyway."""
    monkeypatch.setattr(listener, "LOOK_EVERY_S", 3600.0)
    one, other = nodes
    heard = Heard()
    other.follow(heard.restart, heard.hear)
    write(one, "first")  # after this look the next one is an hour away
    heard.wait(lambda h: h.seqs == [1])
    write(one, "second")
    heard.wait(lambda h: h.seqs == [1, 2])


def test_two_nodes_that_write_at_once_each_hear_everything_once_and_their_own_first(
    nodes: tuple[Store, Store],
) -> None:
    followers = []
    for store in nodes:
        heard = Heard()
        store.follow(heard.restart, heard.hear)
        followers.append(heard)

    def work(store: Store, heard: Heard, name: str) -> None:
        for number in range(30):
            with store.transaction(name, "race") as tx:
                tx.change("group", f"{name}{number}", GroupFact(f"{name}{number}"))
                tx.change("group", f"extra-{name}{number}", None)
                own = tx.next_seq()
            assert own + 1 in heard.seqs[-120:]  # read your writes: heard before the transaction returned

    threads = [
        threading.Thread(target=work, args=(store, heard, name))
        for store, heard, name in zip(nodes, followers, "ab", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for heard in followers:
        heard.wait(lambda h: len(h.changes) >= 120)
        assert heard.seqs == list(range(1, 121))
        assert {change.actor for change in heard.changes} == {"a", "b"}


def test_what_a_deaf_listener_missed_is_found_when_it_is_back(url: str) -> None:
    server = shared_postgres()
    with Store.open(url, CLOCK) as one, Store.open(url, CLOCK) as other:
        heard = Heard()
        other.follow(heard.restart, heard.hear)
        for number in range(5):
            with server.connect() as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'limen listener'"
                )
            write(one, f"g{number}")
        heard.wait(lambda h: h.seqs == [1, 2, 3, 4, 5])


def test_a_follower_begins_with_a_snapshot_and_misses_nothing_after_it(nodes: tuple[Store, Store]) -> None:
    one, other = nodes
    stop = threading.Event()

    def write_on() -> None:
        number = 0
        while not stop.is_set():
            write(one, f"g{number}")
            number += 1

    writing = threading.Thread(target=write_on)
    writing.start()
    try:
        for _ in range(10):
            heard = Heard()
            leave = other.follow(heard.restart, heard.hear)
            heard.wait(lambda h: len(h.changes) > 3)
            leave()
            start = heard.snapshots[0].seq
            assert heard.seqs == list(range(start + 1, start + 1 + len(heard.seqs)))
    finally:
        stop.set()
        writing.join()


def test_a_follower_that_failed_is_given_a_snapshot(nodes: tuple[Store, Store]) -> None:
    one, other = nodes
    heard = Heard()

    def fail_once(changes: tuple[Change, ...]) -> None:
        if not heard.changes:
            heard.changes.extend(changes)
            raise RuntimeError

        heard.hear(changes)

    other.follow(heard.restart, fail_once)
    write(one, "a")
    heard.wait(lambda h: len(h.snapshots) == 2)
    assert heard.snapshots[1].seq == 1
    write(one, "b")
    heard.wait(lambda h: h.seqs == [1, 2])


def test_a_node_that_holds_the_database_too_long_loses_its_turn(url: str) -> None:
    holder = psycopg.connect(url)
    holder.execute("SELECT pg_advisory_xact_lock(%s)", (0x4C494D454E,))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("limen.store.postgres._MIGRATING", {"lock_timeout": "100ms"})
            with pytest.raises(Unavailable, match="lock timeout") as refusal:
                Store.open(url, CLOCK)
        assert "Another node" in refusal.value.remedy
    finally:
        holder.close()


# --- restored while it runs, and at a start ----------------------------------------------------------


def rewind(url: str, seq: int) -> None:
    """Forget what followed `seq`, as a standby that took over too early has."""
    with psycopg.connect(url) as raw:
        raw.execute("DELETE FROM change WHERE seq > %s", (seq,))
        raw.execute("DELETE FROM projection WHERE version > %s", (seq,))
        raw.execute("UPDATE state SET value = %s WHERE name = 'seq'", (str(seq),))


def test_a_rewound_database_begins_one_new_epoch_under_running_nodes(
    url: str, nodes: tuple[Store, Store]
) -> None:
    one, other = nodes
    sign_in(one)
    write(one, "a", "b", "c")
    followers = [Heard(), Heard()]
    for store, heard in zip(nodes, followers, strict=True):
        store.follow(heard.restart, heard.hear)
    before = one.epoch
    rewind(url, 3)
    for heard in followers:
        heard.wait(lambda h: len(h.snapshots) > 1)
    assert one.epoch == other.epoch != before
    for heard in followers:
        latest = heard.snapshots[-1]
        assert latest.epoch == one.epoch
        assert latest.seq > EPOCH_STRIDE
        assert {value.__struct_config__.tag for _, value in latest.values} == {"person", "group"}
        assert len(heard.snapshots) == 2
    with one.read() as connection:
        assert connection.scalar(select(session.c.state)) == "ended"
    write(other, "after")
    followers[0].wait(lambda h: "after" in [change.id for change in h.changes])


def test_no_head_is_told_from_a_rewound_database(url: str) -> None:
    with Store.open(url, CLOCK) as store:
        write(store, "a", "b", "c")
        rewind(url, 1)
        heads = []
        wait_until(lambda: bool(heads.append(store.head()) or heads) if serves(store) else False)
        assert heads[-1] > 3


def test_a_history_that_parted_and_went_on_is_no_longer_ours(url: str) -> None:
    """The dangerous one: the head alone looks right."""
    with Store.open(url, CLOCK) as store:
        write(store, "a", "b", "c")
        before = store.epoch
        with psycopg.connect(url) as raw:
            raw.execute("UPDATE change SET actor = 'somebody else' WHERE seq = 3")
            raw.execute(
                "INSERT INTO change SELECT 4, 4, kind, 'd', value, actor, reason, at"
                " FROM change WHERE seq = 3"
            )
            raw.execute("UPDATE state SET value = '4' WHERE name = 'seq'")
        wait_until(lambda: store.epoch != before)


def test_an_older_dump_that_is_loaded_under_a_running_node_is_recognised(url: str, tmp_path: Path) -> None:
    server = shared_postgres()
    name = url.partition("@/")[2].partition("?")[0]
    at = ["-h", str(server.folder), "-U", "postgres"]
    with Store.open(url, CLOCK) as store:
        sign_in(store)
        write(store, "old")
        dump = tmp_path / "dump"
        subprocess.run([server.programs / "pg_dump", *at, "-Fc", "-f", dump, name], check=True)
        write(store, "lost")
        before = store.epoch
        restore = ["--clean", "--single-transaction", "-d", name, dump]
        subprocess.run([server.programs / "pg_restore", *at, *restore], check=True)
        wait_until(lambda: store.epoch != before)
        ids = {value.id for _, value in store.snapshot().values}
        assert ids == {"ada", "old"}
        write(store, "after")


def test_an_older_dump_in_a_new_database_is_recognised_by_a_new_node(url: str, tmp_path: Path) -> None:
    server = shared_postgres()
    name = url.partition("@/")[2].partition("?")[0]
    with Store.open(url, CLOCK) as store:
        sign_in(store)
        before = store.epoch
    copy = server.create_database(name)
    try:
        with Store.open(server.url(copy), CLOCK) as store:
            assert store.epoch != before
            after = store.epoch
        with Store.open(server.url(copy), CLOCK) as store:
            assert store.epoch == after
    finally:
        server.drop_database(copy)


def test_a_node_that_starts_knows_from_its_mark_what_was_there(url: str, tmp_path: Path) -> None:
    mark = tmp_path / "postgres.mark"
    with Store.open(url, CLOCK, mark=mark) as store:
        write(store, "a", "b")
        before = store.epoch
    with Store.open(url, CLOCK, mark=mark) as store:
        assert store.epoch == before
    rewind(url, 1)
    with Store.open(url, CLOCK) as store:  # a new node cannot know
        assert store.epoch == before
    with Store.open(url, CLOCK, mark=mark) as store:
        assert store.epoch != before


def test_a_missing_mark_is_a_new_node(url: str, tmp_path: Path) -> None:
    with Store.open(url, CLOCK, mark=tmp_path / "one.mark") as store:
        write(store, "a")
        before = store.epoch
    with Store.open(url, CLOCK, mark=tmp_path / "other.mark") as store:
        assert store.epoch == before


def test_nodes_that_start_together_on_a_restored_database_begin_one_epoch(url: str, tmp_path: Path) -> None:
    marks = [tmp_path / f"{number}.mark" for number in range(4)]
    for mark in marks:
        with Store.open(url, CLOCK, mark=mark) as store:
            write(store, mark.stem)
    rewind(url, 0)
    epochs: list[tuple[str, int]] = []

    def start(mark: Path) -> None:
        with Store.open(url, CLOCK, mark=mark) as store:
            epochs.append((store.epoch, store.head()))

    threads = [threading.Thread(target=start, args=(mark,)) for mark in marks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(epochs)) == 1 and len(epochs) == 4


def test_an_ordinary_owner_of_the_database_is_enough(url: str) -> None:
    server: Postgres = shared_postgres()
    name = url.partition("@/")[2].partition("?")[0]
    role = f"owner_{name}"
    with server.connect() as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
        admin.execute(f"CREATE DATABASE of_{name} OWNER {role}")
    try:
        with Store.open(server.url(f"of_{name}").replace("postgres@", f"{role}@"), CLOCK) as store:
            write(store, "a")
            assert store.head() == 1
    finally:
        server.drop_database(f"of_{name}")
        with server.connect() as admin:
            admin.execute(f"DROP ROLE {role}")

"""PostgreSQL killed, stopped, read only, full, failed over: an outage is told, nothing is half-written.

And recovery needs no hand: the same store serves again when a server does.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Postgres, private_folder, running_postgres
from sqlalchemy import func, insert, select, text
from store_backends import new_database
from store_nodes import CLOCK, Heard, serves, sign_in, wait_until, write

from limen.core.changes import GroupFact
from limen.core.errors import Invalid, Unavailable
from limen.store import postgres as postgres_module
from limen.store.database import Store
from limen.store.tables import group

KILLS = [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server that these tests may kill."""
    with running_postgres() as running:
        yield running


@pytest.fixture
def store(server: Postgres) -> Iterator[Store]:
    with Store.open(server.url(server.create_database()), CLOCK) as opened:
        yield opened


def groups(store: Store) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(group)) or 0


# --- the server goes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_a_server_that_is_killed_inside_a_transaction_leaves_nothing_and_comes_back(
    server: Postgres, store: Store, kill: signal.Signals
) -> None:
    heard = Heard()
    store.follow(heard.restart, heard.hear)
    write(store, "kept")
    epoch = store.epoch
    with pytest.raises(Unavailable) as outage, store.transaction("a", "b") as tx:
        tx.connection.execute(insert(group).values(id="half", name="half", created_at=0.0))
        tx.change("group", "half", GroupFact("half"))
        server.stop(kill)
        tx.connection.execute(select(group.c.id)).all()
    assert outage.value.code == "STORE_UNAVAILABLE"
    assert outage.value.remedy
    for use in (store.head, store.snapshot, lambda: write(store, "no")):
        with pytest.raises(Unavailable):
            use()
    server.start()
    write(store, "after")  # at once: the pool finds out by itself
    assert groups(store) == 0
    assert [c.id for c in store.changes_since(0)] == ["kept", "after"]
    assert store.epoch == epoch  # a crash is not a restore: nobody is signed out by it
    heard.wait(lambda h: [c.id for c in h.changes] == ["kept", "after"])


def test_a_server_that_is_killed_at_the_commit_leaves_all_or_nothing(server: Postgres, store: Store) -> None:
    told = True  # a backend that outlives its server by a moment may still commit
    try:
        with store.transaction("a", "b") as tx:
            tx.connection.execute(insert(group).values(id="x", name="x", created_at=0.0))
            tx.change("group", "x", GroupFact("x"))
            tx.next_seq()
            server.stop(signal.SIGKILL)
    except Unavailable:
        told = False
    server.start()
    assert store.head() == groups(store) == len(store.snapshot().values) == int(told)


def test_other_nodes_hear_again_after_the_server_came_back(server: Postgres) -> None:
    url = server.url(server.create_database())
    with Store.open(url, CLOCK) as one, Store.open(url, CLOCK) as other:
        heard = Heard()
        other.follow(heard.restart, heard.hear)
        write(one, "before")
        server.stop(signal.SIGQUIT)
        server.start()
        write(one, "after")
        heard.wait(lambda h: [c.id for c in h.changes] == ["before", "after"])


NODE = """
import sys
from limen.core.clock import SystemClock
from limen.store.database import Store
store = Store.open(sys.argv[1], SystemClock())
with store.transaction("a", "killed inside") as tx:
    tx.change("group", "half", None)
    tx.next_seq()
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_a_node_that_is_killed_inside_a_transaction_frees_the_others() -> None:
    with new_database("postgresql") as url, Store.open(url, CLOCK) as store:
        command = [sys.executable, "-c", NODE, url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
            assert node.stdout is not None
            assert node.stdout.readline() == "inside\n"
            node.kill()
        write(store, "a")
        assert [c.id for c in store.changes_since(0)] == ["a"]


def test_a_node_that_stops_inside_a_transaction_frees_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = {**postgres_module._WRITING, "idle_in_transaction_session_timeout": "300ms"}
    monkeypatch.setattr(postgres_module, "_WRITING", impatient)
    with new_database("postgresql") as url, Store.open(url, CLOCK) as stuck, Store.open(url, CLOCK) as other:
        with pytest.raises(Unavailable) as outage, stuck.transaction("a", "stops") as tx:
            tx.change("group", "half", None)
            write(other, "a")  # waits until the server has taken the turn away
        assert outage.value.code == "STORE_UNAVAILABLE"
        write(stuck, "b")
        assert [c.id for c in stuck.changes_since(0)] == ["a", "b"]


@pytest.mark.parametrize("code", ["53100", "58030", "40P01", "57014", "XX001"])
def test_what_the_server_cannot_do_is_an_outage_and_leaves_nothing(code: str) -> None:
    """A full disk, an I/O error, a deadlock, a cancelled statement, a damaged page."""
    with new_database("postgresql") as url, Store.open(url, CLOCK) as store:
        with pytest.raises(Unavailable) as outage, store.transaction("a", "b") as tx:
            tx.connection.execute(insert(group).values(id="x", name="x", created_at=0.0))
            tx.connection.execute(
                text(f"DO $$ BEGIN RAISE EXCEPTION 'cannot' USING ERRCODE = '{code}'; END $$")
            )
        assert outage.value.code == "STORE_UNAVAILABLE" and outage.value.remedy
        assert groups(store) == 0
        write(store, "a")


@pytest.mark.parametrize("name", ["x" * 200, "nul\0"])
def test_a_text_that_does_not_fit_is_the_callers_mistake(name: str) -> None:
    with new_database("postgresql") as url, Store.open(url, CLOCK) as store:
        with pytest.raises(Invalid), store.transaction("a", "b") as tx:
            tx.connection.execute(insert(group).values(id=name, name="x", created_at=0.0))
        write(store, "a")


# --- failover ------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[Postgres, Postgres]]:
    """A primary with a streaming standby."""
    with running_postgres() as primary, private_folder("pg") as folder:
        standby = primary.stand_by(folder)
        standby.start("hot_standby=on")
        try:
            yield primary, standby
        finally:
            standby.stop(signal.SIGQUIT)


def streamed(primary: Postgres, standby: Postgres, database: str) -> bool:
    """Whether the standby has replayed all that the primary wrote."""
    with primary.connect() as one, standby.connect(database) as other:
        at = one.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert at is not None
        row = other.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", at).fetchone()
    return row == (True,)


def test_a_standby_alone_is_not_served_from(pair: tuple[Postgres, Postgres]) -> None:
    primary, standby = pair
    name = primary.create_database()
    wait_until(lambda: streamed(primary, standby, "postgres"))
    with pytest.raises(Unavailable, match="read-only"):
        Store.open(standby.url(name), CLOCK)


def test_a_failover_goes_on_in_a_new_epoch_that_all_nodes_share(pair: tuple[Postgres, Postgres]) -> None:
    """By default: nothing proves that the standby had every commit that was answered."""
    primary, standby = pair
    url = primary.url(primary.create_database(), standby)
    with Store.open(url, CLOCK) as one, Store.open(url, CLOCK) as other:
        followers = [Heard(), Heard()]
        for store, heard in zip((one, other), followers, strict=True):
            store.follow(heard.restart, heard.hear)
        sign_in(one)
        before = one.epoch
        wait_until(lambda: streamed(primary, standby, "postgres"))
        primary.stop(signal.SIGKILL)
        with pytest.raises(Unavailable):
            write(one, "nobody can write")
        standby.promote()
        for heard in followers:
            heard.wait(lambda h: len(h.snapshots) == 2)
        assert one.epoch == other.epoch != before
        wait_until(lambda: serves(one) and serves(other))
        write(other, "after")
        followers[0].wait(lambda h: [c.id for c in h.changes][-1:] == ["after"])
        assert "ses_1" not in {value.id for _, value in one.snapshot().values}


def lossless(primary: Postgres, database: str) -> None:
    with primary.connect() as admin:
        admin.execute(f"ALTER DATABASE {database} SET limen.failover = 'lossless'")


def test_a_failover_that_is_declared_lossless_keeps_epoch_and_numbers(
    pair: tuple[Postgres, Postgres],
) -> None:
    primary, standby = pair
    with primary.connect() as admin:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        admin.execute("SELECT pg_reload_conf()")
    name = primary.create_database()
    lossless(primary, name)
    with Store.open(primary.url(name, standby), CLOCK) as store:
        sign_in(store)
        write(store, "a")
        before, head = store.epoch, store.head()
        primary.stop(signal.SIGKILL)
        with standby.connect() as admin:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        standby.promote()
        wait_until(lambda: serves(store))
        write(store, "b")
        assert store.epoch == before
        assert [c.seq for c in store.changes_since(head)] == [head + 1]
        assert "ses_1" in {value.id for _, value in store.snapshot().values}


def test_a_failover_that_lost_commits_begins_an_epoch_whatever_was_declared(
    pair: tuple[Postgres, Postgres], tmp_path: Path
) -> None:
    primary, standby = pair
    name = primary.create_database()
    lossless(primary, name)
    with Store.open(primary.url(name, standby), CLOCK, mark=tmp_path / "mark") as store:
        write(store, "a")
        wait_until(lambda: streamed(primary, standby, "postgres"))
        standby.stop()  # it is gone, and misses what follows
        write(store, "lost")
        before = store.epoch
        primary.stop(signal.SIGKILL)
        standby.start("hot_standby=on")
        standby.promote()
        wait_until(lambda: store.epoch != before)
        wait_until(lambda: serves(store))
        write(store, "b")
        assert {value.id for _, value in store.snapshot().values} == {"a", "b"}


def test_no_two_writers_are_ever_inside(server: Postgres) -> None:
    """The one writer at a time holds among nodes, not only among threads."""
    url = server.url(server.create_database())
    inside, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with Store.open(url, CLOCK) as store:
            for _ in range(10):
                with store.transaction("a", "b") as tx:
                    with lock:
                        inside += 1
                        most = max(most, inside)
                    tx.change("group", "x", GroupFact("x"))
                    with lock:
                        inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    with Store.open(url, CLOCK) as store:
        assert store.head() == 40

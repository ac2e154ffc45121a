"""What every backend of the store must do. A new product adds one line to `store_backends.PRODUCTS`."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError
from store_backends import PRODUCTS, new_database

from limen.core.changes import Change, GroupFact
from limen.core.clock import FakeClock
from limen.core.errors import Conflict, LimenError
from limen.store.database import Store, Transaction
from limen.store.tables import change, group, membership, projection


@pytest.fixture(params=PRODUCTS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with new_database(request.param) as made:
        yield made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(url: str, clock: FakeClock) -> Iterator[Store]:
    with Store.open(url, clock) as opened:
        yield opened


def add_group(tx: Transaction, name: str) -> None:
    tx.connection.execute(insert(group).values(id=name, name=name, created_at=tx.now))
    tx.change("group", name, GroupFact(name))


def rows(store: Store) -> tuple[int, int, int]:
    with store.read() as connection:
        counts = [connection.scalar(select(func.count()).select_from(t)) for t in (group, change, projection)]
    return (counts[0] or 0, counts[1] or 0, counts[2] or 0)


class Boom(Exception):
    pass


def test_a_new_store_is_empty_and_has_an_epoch(store: Store) -> None:
    assert store.head() == 0
    assert store.changes_since(0) == ()
    assert store.snapshot().values == ()
    assert store.snapshot().epoch == store.epoch != ""


def test_a_commit_writes_rows_changes_and_projections(store: Store, clock: FakeClock) -> None:
    with store.transaction("user:ada", "two groups") as tx:
        add_group(tx, "hr")
        add_group(tx, "staff")
    assert rows(store) == (2, 2, 2)
    assert store.changes_since(0) == (
        Change(1, 2, "group", "hr", GroupFact("hr"), "user:ada", "two groups", clock.now()),
        Change(2, 2, "group", "staff", GroupFact("staff"), "user:ada", "two groups", clock.now()),
    )
    assert store.snapshot().values == ((1, GroupFact("hr")), (2, GroupFact("staff")))


def test_a_rolled_back_transaction_leaves_no_trace_and_no_gap(store: Store) -> None:
    with pytest.raises(Boom), store.transaction("a", "b") as tx:
        assert tx.next_seq() == 1
        add_group(tx, "lost")
        raise Boom
    assert rows(store) == (0, 0, 0)
    with store.transaction("a", "b") as tx:
        add_group(tx, "kept")
    assert [c.seq for c in store.changes_since(0)] == [1]


def test_a_failing_statement_rolls_back_what_came_before_it(store: Store) -> None:
    with pytest.raises(SQLAlchemyError), store.transaction("a", "b") as tx:
        add_group(tx, "hr")
        tx.connection.execute(insert(membership).values(person="nobody", group="hr", source="local"))
    assert rows(store) == (0, 0, 0)


def test_a_transaction_without_changes_takes_no_number(store: Store) -> None:
    with store.transaction("a", "b") as tx:
        tx.connection.execute(delete(group))
    assert store.head() == 0


def test_a_tombstone_removes_the_projection_and_keeps_the_record(store: Store) -> None:
    with store.transaction("a", "b") as tx:
        add_group(tx, "hr")
    with store.transaction("a", "b") as tx:
        tx.connection.execute(delete(group))
        tx.change("group", "hr", None)
    assert rows(store) == (0, 2, 0)
    assert [c.value for c in store.changes_since(0)] == [GroupFact("hr"), None]


def test_only_the_last_value_of_one_transaction_counts(store: Store) -> None:
    with store.transaction("a", "b") as tx:
        tx.change("group", "hr", GroupFact("hr"))
        tx.change("group", "staff", GroupFact("staff"))
        tx.change("group", "hr", GroupFact("hr", ("staff",)))
    assert [(c.seq, c.value) for c in store.changes_since(0)] == [
        (1, GroupFact("staff")),
        (2, GroupFact("hr", ("staff",))),
    ]


def test_next_seq_is_the_number_of_the_first_change(store: Store) -> None:
    for name in ("hr", "staff"):
        with store.transaction("a", "b") as tx:
            announced = tx.next_seq()
            add_group(tx, name)
        assert store.changes_since(announced - 1)[0].seq == announced


def test_pages_of_the_feed_never_cut_a_transaction(store: Store) -> None:
    for size in (3, 1, 4):
        with store.transaction("a", "b") as tx:
            for index in range(size):
                tx.change("group", f"g{index}", GroupFact(f"g{index}"))
    assert [c.seq for c in store.changes_since(0, limit=1)] == [1, 2, 3]
    assert [c.seq for c in store.changes_since(0, limit=4)] == [1, 2, 3, 4]
    assert [c.seq for c in store.changes_since(3, limit=2)] == [4, 5, 6, 7, 8]
    assert store.changes_since(8) == ()


def test_a_position_that_was_never_reached_is_refused(store: Store) -> None:
    with pytest.raises(Conflict) as refusal:
        store.changes_since(1)
    assert refusal.value.code == "FEED_AHEAD"


def test_pruned_changes_are_refused_and_the_snapshot_stays(store: Store) -> None:
    for name in ("a", "b", "c", "d"):
        with store.transaction("a", "b") as tx:
            add_group(tx, name)
    before = store.snapshot()
    assert store.prune(keep=2) == 2
    assert store.prune(keep=2) == 0
    assert store.snapshot() == before
    assert [c.id for c in store.changes_since(2)] == ["c", "d"]
    with pytest.raises(Conflict) as refusal:
        store.changes_since(1)
    assert refusal.value.code == "FEED_TRUNCATED"


def test_pruning_keeps_a_transaction_whole(store: Store) -> None:
    with store.transaction("a", "b") as tx:
        add_group(tx, "a")
        add_group(tx, "b")
    assert store.prune(keep=1) == 0


def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(LimenError), store.read() as connection:
        connection.execute(insert(group).values(id="x", name="x", created_at=0.0))
    assert rows(store) == (0, 0, 0)


def test_a_reader_sees_one_state_while_others_commit(store: Store) -> None:
    with store.read() as connection:
        count = select(func.count()).select_from(group)
        assert connection.scalar(count) == 0
        with store.transaction("a", "b") as tx:
            add_group(tx, "hr")
        assert connection.scalar(count) == 0
    assert rows(store)[0] == 1


def test_subscribers_hear_of_commits_in_order_and_of_nothing_else(store: Store) -> None:
    heard: list[tuple[Change, ...]] = []
    stop = store.subscribe(heard.append)
    with store.transaction("a", "b") as tx:
        add_group(tx, "hr")
    with pytest.raises(Boom), store.transaction("a", "b") as tx:
        add_group(tx, "lost")
        raise Boom
    with store.transaction("a", "nothing to tell"):
        pass
    assert heard == [store.changes_since(0)]
    stop()
    with store.transaction("a", "b") as tx:
        add_group(tx, "staff")
    assert len(heard) == 1


def test_a_failing_subscriber_does_not_undo_the_commit_nor_deafen_others(store: Store) -> None:
    heard: list[int] = []

    def fail(_: tuple[Change, ...]) -> None:
        raise Boom

    store.subscribe(fail)
    store.subscribe(lambda changes: heard.append(changes[-1].seq))
    with store.transaction("a", "b") as tx:
        add_group(tx, "hr")
    assert heard == [1]
    assert rows(store) == (1, 1, 1)


def test_writers_in_many_threads_get_numbers_without_gap(store: Store) -> None:
    heard: list[int] = []
    store.subscribe(lambda changes: heard.extend(c.seq for c in changes))

    def write(who: int) -> None:
        for index in range(10):
            with store.transaction(f"user:{who}", "race") as tx:
                add_group(tx, f"{who}-{index}")
                if index % 3 == 0:
                    tx.change("group", f"extra-{who}-{index}", None)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changes = store.changes_since(0)
    assert [c.seq for c in changes] == list(range(1, store.head() + 1)) == heard
    for one in changes:
        together = [c for c in changes if c.tx == one.tx]
        assert together[-1].seq == one.tx
        assert len({c.actor for c in together}) == 1


def test_a_transaction_inside_a_transaction_is_our_own_bug(store: Store) -> None:
    with pytest.raises(AssertionError), store.transaction("a", "b"), store.transaction("c", "d"):
        pass
    with store.transaction("a", "the lock is free again"):
        pass


def test_a_store_that_is_opened_again_is_as_it_was(url: str, clock: FakeClock) -> None:
    with Store.open(url, clock) as first:
        with first.transaction("a", "b") as tx:
            add_group(tx, "hr")
        before = first.snapshot()
    with Store.open(url, clock, migrate=False) as again:
        assert again.snapshot() == before
        assert again.epoch == before.epoch


def test_two_stores_on_one_database_number_together(url: str, clock: FakeClock) -> None:
    with Store.open(url, clock) as one, Store.open(url, clock) as other:
        for store, name in ((one, "a"), (other, "b"), (one, "c")):
            with store.transaction("x", "y") as tx:
                add_group(tx, name)
        assert [c.seq for c in other.changes_since(0)] == [1, 2, 3]
        assert one.epoch == other.epoch

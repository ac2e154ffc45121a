"""Back-fills go in batches, let others write between, and go on where they were stopped."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Row, func, select, update

from limen.core.clock import FakeClock
from limen.store.backfill import Backfill, run_backfill
from limen.store.database import Store, Transaction
from limen.store.directory import create_person
from limen.store.directory.people import emit_people
from limen.store.tables import person

PEOPLE = 25


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with Store.open(database, FakeClock()) as opened:
        with opened.transaction("a", "b") as tx:
            for number in range(PEOPLE):
                create_person(tx, f"u{number:02d}")
        yield opened


def mark_seen(tx: Transaction, rows: Sequence[Row[Any]]) -> None:
    """Count in the name how often a row was filled, and tell the gateways."""
    for row in rows:
        tx.connection.execute(update(person).where(person.c.id == row.id).values(name=row.name + "+"))
    emit_people(tx, [row.id for row in rows])


FILL = Backfill("mark-seen", person, person.c.id, mark_seen)


def filled(store: Store) -> int:
    with store.read() as connection:
        once = select(func.count()).select_from(person).where(person.c.name == person.c.id + "+")
        return connection.scalar(once) or 0


def test_every_row_is_filled_once_in_batches(store: Store) -> None:
    head, told = store.head(), list[int]()
    assert run_backfill(store, FILL, batch_rows=10, progress=told.append) == PEOPLE
    assert told == [10, 20, 25]
    assert filled(store) == PEOPLE
    assert [c.tx - head for c in store.changes_since(head)] == [10] * 10 + [20] * 10 + [25] * 5


def test_a_back_fill_that_is_done_is_not_run_again(store: Store) -> None:
    run_backfill(store, FILL, batch_rows=10)
    assert run_backfill(store, FILL, batch_rows=10) == 0
    assert filled(store) == PEOPLE


def test_a_back_fill_that_was_stopped_goes_on_from_there(store: Store) -> None:
    batches = 0

    def stop_in_the_third(tx: Transaction, rows: Sequence[Row[Any]]) -> None:
        nonlocal batches
        batches += 1
        mark_seen(tx, rows)
        if batches == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_backfill(store, Backfill(FILL.name, person, person.c.id, stop_in_the_third), batch_rows=10)
    assert filled(store) == 20
    assert run_backfill(store, FILL, batch_rows=10) == 5
    assert filled(store) == PEOPLE


def test_others_write_between_batches(store: Store) -> None:
    def write(done: int) -> None:
        with store.transaction("user:ada", "meanwhile") as tx:
            create_person(tx, f"new{done}")

    run_backfill(store, FILL, batch_rows=10, progress=write)
    with store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(person)) == PEOPLE + 3

"""Back-fills: long changes to existing rows, in batches, while the system serves.

A migration that touches every row would hold the database for minutes at a start. So a migration only
alters tables, and what must be computed per row is a `Backfill`: each batch is a transaction of its own
that also stores how far it came, other writers get their turn between batches, and after a kill it goes
on where it was. Code of that release copes with rows that are not filled yet.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, Row, Table, select

from limen.store import feed
from limen.store.database import Store
from limen.store.transaction import Transaction

BATCH_ROWS = 500
"""Rows of one transaction: some tens of milliseconds of lock."""

BACKFILLS: "tuple[Backfill, ...]" = ()
"""Every back-fill that a database of an earlier release may still need, oldest first."""

Fill = Callable[[Transaction, Sequence[Row[Any]]], None]


class Backfill(msgspec.Struct, frozen=True):
    """One back-fill. `key` is a unique, ordered column; `fill` may be given a row again after a kill."""

    name: str
    table: Table
    key: Column[Any]
    fill: Fill


def run_backfill(
    store: Store,
    backfill: Backfill,
    *,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Run a back-fill to its end, from where it stopped; return how many rows were given to it now.

    `progress` is told the number of rows after each batch.
    """
    done = 0
    while True:
        with store.transaction("limen", f"back-fill {backfill.name}") as tx:
            rows = _next_rows(tx, backfill, batch_rows)
            if not rows:
                feed.write_state(tx.connection, _row(backfill), "done")
                return done
            backfill.fill(tx, rows)
            last = msgspec.json.encode(rows[-1]._mapping[backfill.key]).decode()
            feed.write_state(tx.connection, _row(backfill), last)
        done += len(rows)
        if progress is not None:
            progress(done)


def run_backfills(store: Store, progress: Callable[[int], None] | None = None) -> None:
    """Run every back-fill that is not done yet."""
    for backfill in BACKFILLS:
        run_backfill(store, backfill, progress=progress)


def _next_rows(tx: Transaction, backfill: Backfill, batch_rows: int) -> Sequence[Row[Any]]:
    stored = feed.read_state(tx.connection, _row(backfill))
    if stored == "done":
        return ()
    wanted = select(backfill.table).order_by(backfill.key).limit(batch_rows)
    if stored is not None:
        wanted = wanted.where(backfill.key > msgspec.json.decode(stored))
    return tx.connection.execute(wanted).all()


def _row(backfill: Backfill) -> str:
    return f"backfill:{backfill.name}"

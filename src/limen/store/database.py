"""The store: one writer at a time, readers on snapshots, and a feed of what was committed.

    with store.transaction("user:ada", "limen user create") as tx:
        tx.connection.execute(insert(person).values(...))
        tx.change("person", "grace", PersonFact(...))

Change numbers are given at the very end of a transaction, with the counter row held, so they have no
gap and follow the order of commits. A transaction that is rolled back leaves no trace.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from sqlalchemy import Connection

from limen.core.changes import Change, Projection, Snapshot
from limen.core.clock import Clock
from limen.core.errors import Unavailable
from limen.core.ids import Instant
from limen.store import feed, schema
from limen.store.backend import SqliteBackend, open_backend, unavailable_on_fault
from limen.store.mark import Mark
from limen.store.restore import begin_epoch

WRITE_WAIT_S = 30.0
"""How long a writer waits for those before it in this process."""

CHANGES_LIMIT = 10_000
"""How many changes a reader of the feed gets at once, rounded up to whole transactions."""

Subscriber = Callable[[tuple[Change, ...]], None]

_log = structlog.get_logger(__name__)


class Transaction:
    """One atomic piece of work by `actor`, for `reason`. `now` is one instant throughout."""

    def __init__(self, connection: Connection, *, now: Instant, actor: str, reason: str) -> None:
        self.connection = connection
        self.now = now
        self.actor = actor
        self.reason = reason
        self._changes: dict[tuple[str, str], Projection | None] = {}
        self._head: int | None = None

    def change(self, kind: str, id: str, value: Projection | None) -> None:  # noqa: A002
        """Record what gateways may know of the entity from now on; None is a tombstone.

        Recorded twice in one transaction, the last value counts: nobody sees the one between.
        """
        if value is not None:
            assert (value.__struct_config__.tag, value.id) == (kind, id), (
                f"{kind} {id} is given {value!r:.80}"
            )
        self._changes.pop((kind, id), None)
        self._changes[kind, id] = value

    def next_seq(self) -> int:
        """Return the seq of this transaction's first change; a replica at or past it has all of them.

        Holds the counter until commit, so that the number cannot go to another writer.
        """
        if self._head is None:
            self._head = feed.take_counter(self.connection)
        return self._head + 1

    def _finish(self) -> tuple[Change, ...]:
        """Number the changes and write them. The counter row is taken last (law F2)."""
        if not self._changes:
            return ()
        first = self.next_seq()
        last = first + len(self._changes) - 1
        changes = tuple(
            Change(seq, last, kind, id_, value, self.actor, self.reason, self.now)
            for seq, ((kind, id_), value) in enumerate(self._changes.items(), first)
        )
        feed.append_changes(self.connection, changes)
        return changes


class _Turns:
    """Writers of this process, one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @contextmanager
    def next(self) -> Iterator[None]:
        """Wait for this thread's turn, and hold it."""
        me = threading.get_ident()
        assert self._owner != me, "this thread has a transaction open already"
        if not self._lock.acquire(timeout=WRITE_WAIT_S):
            raise Unavailable(
                "Other writers held the database too long.", remedy="Try again.", code="STORE_UNAVAILABLE"
            )
        self._owner = me
        try:
            yield
        finally:
            self._owner = None
            self._lock.release()


class Store:
    """The database of one control plane. Threads may share it; a thread holds one transaction at a time."""

    def __init__(self, backend: SqliteBackend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self._turns = _Turns()
        self._subscribers: list[Subscriber] = []
        self._mark = Mark(backend.path)
        self._epoch = ""

    @classmethod
    def open(cls, url_or_path: str | Path, clock: Clock, *, migrate: bool = True) -> "Store":
        """Open or create the database, bring its schema up to date, and begin a new epoch if it was restored.

        Raises:
            Refused: the schema is newer than this release, too old for it, or (with `migrate=False`)
                not up to date.
            Invalid: not a database of Limen.
            Unavailable: the file is locked or cannot be read.
        """
        backend = open_backend(url_or_path)
        try:
            with backend.migration() as connection:
                schema.prepare(connection, migrate=migrate)
            store = cls(backend, clock)
            store._settle_epoch()
        except BaseException:
            backend.close()
            raise
        return store

    @property
    def epoch(self) -> str:
        """The life of this database: another one begins when it is restored from a backup."""
        return self._epoch

    @contextmanager
    def transaction(self, actor: str, reason: str) -> Iterator[Transaction]:
        """Yield a transaction; commit at the end of the block, roll back if it raises.

        Subscribers are told after the commit and before this returns, in the order of commits.

        Raises:
            Unavailable: other writers held the database too long, or it cannot be written.
        """
        with self._turns.next(), unavailable_on_fault():
            with self._backend.writer.begin() as connection:
                tx = Transaction(connection, now=self._clock.now(), actor=actor, reason=reason)
                yield tx
                changes = tx._finish()
            if changes:
                self._publish(changes)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one consistent state and cannot write."""
        with unavailable_on_fault(), self._backend.reader.begin() as connection:
            yield connection

    def head(self) -> int:
        """Return the seq of the last change, read from the database now."""
        with self.read() as connection:
            return feed.load_head(connection)

    def snapshot(self) -> Snapshot:
        """Return all live projections at the head."""
        with self.read() as connection:
            return feed.load_snapshot(connection)

    def changes_since(self, seq: int, limit: int = CHANGES_LIMIT) -> tuple[Change, ...]:
        """Return what followed `seq`, in whole transactions (see `feed.load_changes`)."""
        with self.read() as connection:
            return feed.load_changes(connection, seq, limit)

    def prune(self, *, keep: int) -> int:
        """Forget old change records, keeping about `keep`; return how many went."""
        with self.transaction("limen", "prune the change feed") as tx:
            return feed.prune_changes(tx.connection, keep=keep)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` after each commit that has changes; return how to stop that.

        It runs in the writer's thread with the next writer waiting: it hands over and returns.
        """
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def close(self) -> None:
        """Close the database."""
        self._mark.close()
        self._backend.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _publish(self, changes: tuple[Change, ...]) -> None:
        self._mark.write(self._epoch, changes[-1].seq)
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(changes)
            except Exception:
                # The commit stands and the writer must hear so. A subscriber that missed changes
                # finds the gap by `seq` and reads them with `changes_since`.
                _log.exception("store.subscriber_failed", seq=changes[-1].seq)

    def _settle_epoch(self) -> None:
        marked = self._mark.load()  # before the head: another process may be committing
        with self.read() as connection:
            epoch, head = feed.read_state(connection, "epoch") or "", feed.load_head(connection)
        if head and (marked is None or marked[0] != epoch or marked[1] > head):
            with self.transaction("limen", "the database was restored") as tx:
                epoch = begin_epoch(tx)
            head = self.head()
            _log.warning("store.new_epoch", epoch=epoch, head=head)
        self._epoch = epoch
        self._mark.create(epoch, head)

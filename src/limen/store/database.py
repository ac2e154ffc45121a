"""The store: one writer at a time, readers on snapshots, and a feed of what was committed.

Several stores may share one PostgreSQL database; each hears what the others commit, in order.

    with store.transaction("user:ada", "limen user create") as tx:
        tx.connection.execute(insert(person).values(...))
        tx.change("person", "grace", PersonFact(...))

Change numbers are given at the very end of a transaction, with the counter row held, so they have no
gap and follow the order of commits. A transaction that is rolled back leaves no trace.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import Connection

from limen.core.changes import Change, Snapshot
from limen.core.clock import Clock
from limen.core.errors import Conflict, Unavailable
from limen.store import feed, schema
from limen.store.backend import Backend, open_backend
from limen.store.life import Found, Known, Verdict, is_lost, is_unnoted, judge
from limen.store.mark import Mark
from limen.store.publish import Publisher, Restart, Subscriber
from limen.store.restore import begin_epoch
from limen.store.transaction import Transaction, Turns

__all__ = ["CHANGES_LIMIT", "Store", "Transaction"]

CHANGES_LIMIT = 10_000
"""How many changes a reader of the feed gets at once, rounded up to whole transactions."""

Guard = Callable[[Transaction], None]

_CHECKED = "limen.checked"  # on a connection that was seen to lead to the database that we know

_log = structlog.get_logger(__name__)


class Store:
    """The database of one control node. Threads may share it; a thread holds one transaction at a time."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self._turns = Turns()
        self._guards: list[Guard] = []
        self._mark = Mark(backend.mark)
        known = self._settle_at_start()
        self._mark.create(known)
        self._publisher = Publisher(known, self._mark)
        self._listener = backend.listen(self.catch_up)

    @classmethod
    def open(
        cls, url_or_path: str | Path, clock: Clock, *, migrate: bool = True, mark: Path | None = None
    ) -> "Store":
        """Open or create the database, bring its schema up to date, and begin a new epoch if it was restored.

        `mark` is where this node keeps its mark of a database that is not a file.

        Raises:
            Refused: the schema is newer than this release, too old for it, or (with `migrate=False`)
                not up to date.
            Invalid: not a database of Limen.
            Unavailable: the database is locked, cannot be read or does not answer.
        """
        backend = open_backend(url_or_path, mark)
        try:
            with backend.migration() as connection:
                schema.prepare(connection, migrate=migrate)
            return cls(backend, clock)
        except BaseException:
            backend.close()
            raise

    @property
    def clock(self) -> Clock:
        """By which its transactions are dated."""
        return self._clock

    @property
    def epoch(self) -> str:
        """The life of this database: another one begins when it is restored from a backup."""
        return self._publisher.known.epoch

    # --- writing -----------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, actor: str, reason: str) -> Iterator[Transaction]:
        """Yield a transaction; commit at the end of the block, roll back if it raises.

        Subscribers are told after the commit and before this returns, in the order of commits.

        Raises:
            Unavailable: other writers held the database too long, it cannot be written, or it was
                restored. If its last words were lost on the way, it may have been committed.
        """
        with self._turns.next(), self._backend.faults():
            known = self._publisher.known
            with self._backend.writer.begin() as connection:
                self._require_life(connection, known)
                tx = Transaction(connection, now=self._clock.now(), actor=actor, reason=reason)
                yield tx
                for guard in self._guards:
                    guard(tx)
                changes = tx.finish()
                if changes:
                    self._backend.announce(connection)
            self._publish(changes)

    def guard(self, guard: Guard) -> None:
        """Have `guard` look at each transaction before it is committed. What it raises undoes that."""
        self._guards.append(guard)

    def prune(self, *, keep: int) -> int:
        """Forget old change records, keeping about `keep`; return how many went."""
        with self.transaction("limen", "prune the change feed") as tx:
            return feed.prune_changes(tx.connection, keep=keep)

    # --- reading -----------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one consistent state and cannot write.

        Raises:
            Unavailable: the database does not answer, or was restored and no new epoch began yet.
        """
        known = self._publisher.known  # before the snapshot that it is compared with
        with self._backend.faults(), self._backend.reader.begin() as connection:
            if not connection.info.get(_CHECKED):
                self._require_life(connection, known)
            yield connection

    def head(self) -> int:
        """Return the seq of the last change, read from the database now."""
        with self._read_feed() as connection:
            return feed.load_head(connection)

    def snapshot(self) -> Snapshot:
        """Return all live projections at the head."""
        with self._read_feed() as connection:
            return feed.load_snapshot(connection)

    def changes_since(self, seq: int, limit: int = CHANGES_LIMIT) -> tuple[Change, ...]:
        """Return what followed `seq`, in whole transactions (see `feed.load_changes`)."""
        with self._read_feed() as connection:
            return feed.load_changes(connection, seq, limit)

    @contextmanager
    def _read_feed(self) -> Iterator[Connection]:
        known = self._publisher.known
        with self.read() as connection:
            self._require_life(connection, known)
            yield connection

    # --- following ---------------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` after each commit that has changes; return how to stop that.

        It runs in the writer's thread with the next writer waiting, or in the thread that heard of
        another node's commit: it hands over and returns. Nothing at all means: begin anew, with a snapshot.
        """
        return self._publisher.add(subscriber)

    def follow(self, restart: Restart, hear: Subscriber) -> Callable[[], None]:
        """Call `restart` with a snapshot now, then `hear` with each transaction that follows (law P1).

        `restart` is called again when what comes does not continue that: in a new epoch, and after
        `hear` failed.
        """
        with self._publisher.lock, self._backend.faults(), self._backend.reader.begin() as connection:
            if self._tell(connection)[0] is Verdict.RESTORED:
                raise _restored()
            restart(feed.load_snapshot(connection))
            return self._publisher.add(hear, restart)

    def catch_up(self) -> None:
        """Tell what other nodes committed; begin a new epoch if the database was restored meanwhile."""
        known = self._publisher.known
        verdict, found = self._look_and_tell()
        if verdict is Verdict.RESTORED or is_unnoted(found):
            with self._turns.next(), self._backend.faults():
                self._settle(known)
            self._look_and_tell()

    def _publish(self, changes: tuple[Change, ...]) -> None:
        with self._publisher.lock:
            if not changes or changes[-1].seq <= self._publisher.known.seq:
                return  # the listener was quicker
            if self._publisher.continues(changes):
                self._publisher.publish(changes)
                return
        self._look_and_tell()  # other nodes committed before us

    def _look_and_tell(self) -> tuple[Verdict, Found]:
        with self._publisher.lock, self._backend.faults(), self._backend.reader.begin() as connection:
            return self._tell(connection)

    def _tell(self, connection: Connection) -> tuple[Verdict, Found]:
        """Bring the followers to the state that `connection` sees, unless it is a restored one."""
        publisher = self._publisher
        found = self._look(connection, publisher.known)
        verdict = judge(publisher.known, found)
        if verdict is Verdict.RESTORED:
            return verdict, found
        try:
            while changes := feed.load_changes(connection, publisher.known.seq, CHANGES_LIMIT):
                publisher.publish(changes)
            if publisher.lost:
                publisher.restart(feed.load_snapshot(connection), publisher.known, only_lost=True)
        except Conflict:  # of another epoch, or so far behind that they are no longer kept
            publisher.restart(feed.load_snapshot(connection), _known(connection))
        return verdict, found

    # --- is it still the same database? ------------------------------------------------------------

    def _look(self, connection: Connection, known: Known | None) -> Found:
        found = feed.load_found(connection, known.seq if known else None)
        return msgspec.structs.replace(found, home=self._backend.home(connection))

    def _require_life(self, connection: Connection, known: Known) -> None:
        """Refuse to serve from a restored database; the listener is about to begin a new epoch."""
        if self._listener is None:
            return
        checked = connection.info.get(_CHECKED)
        found = feed.load_found(connection) if checked else self._look(connection, known)
        if judge(known, found) is Verdict.RESTORED:
            self._listener.wake()
            raise _restored()
        connection.info[_CHECKED] = True

    def _settle_at_start(self) -> Known:
        marked = self._mark.load()  # before the head: another process may be committing
        with self._turns.next(), self._backend.faults():
            self._settle(marked, must_be_marked=self._backend.mark_required)
            with self._backend.reader.begin() as connection:
                return _known(connection)

    def _settle(self, known: Known | None, *, must_be_marked: bool = False) -> None:
        """Begin a new epoch if it is time to, and note where the database lives. In this thread's turn."""
        with self._backend.reader.begin() as connection:
            found = self._look(connection, known)
        if not is_lost(known, found, must_be_marked) and not is_unnoted(found):
            return
        with self._backend.writer.begin() as connection:
            found = self._look(connection, known)  # another node may have been first
            if found.home is not None:
                feed.write_state(connection, "home", found.home.render())
            if not is_lost(known, found, must_be_marked):
                return
            why = "the database was restored"
            tx = Transaction(connection, now=self._clock.now(), actor="limen", reason=why)
            epoch = begin_epoch(tx, known.seq if known else 0)
            tx.finish()
            self._backend.announce(connection)
        _log.warning("store.new_epoch", epoch=epoch, head=found.head, known=known.seq if known else None)

    # --- closing -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the database."""
        if self._listener is not None:
            self._listener.close()
        self._mark.close()
        self._backend.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _known(connection: Connection) -> Known:
    head = feed.load_head(connection)
    found = feed.load_found(connection, head)
    return Known(found.epoch, head, found.proof or "")


def _restored() -> Unavailable:
    return Unavailable(
        "The database was restored or another server took over: a new epoch begins.",
        remedy="Try again in a moment. Everybody signs in again.",
        code="STORE_RESTORED",
    )

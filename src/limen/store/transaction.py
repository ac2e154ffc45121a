"""One write transaction: its changes get their numbers at its very end, with the counter row held."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection

from limen.core.changes import Change, Projection
from limen.core.errors import Unavailable
from limen.core.ids import Instant
from limen.store import feed
from limen.store.backend import WRITE_WAIT_S


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

    def recorded(self, kind: str) -> Mapping[str, Projection | None]:
        """Return what this transaction has recorded of a kind so far, by id."""
        return {name: value for (of, name), value in self._changes.items() if of == kind}

    def next_seq(self) -> int:
        """Return the seq of this transaction's first change; a replica at or past it has all of them.

        Holds the counter until commit, so that the number cannot go to another writer.
        """
        if self._head is None:
            self._head = feed.take_counter(self.connection)
        return self._head + 1

    def finish(self) -> tuple[Change, ...]:
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


class Turns:
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

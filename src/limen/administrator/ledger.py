"""Writing with a witness: a transaction whose events reach the journal once it is committed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from limen.core.ids import new_id
from limen.core.record import EventRecord
from limen.store.database import Store, Transaction

EventSink = Callable[[EventRecord], object]
"""Where events go: the journal. It has kept the record when it returns."""


class Entry:
    """One transaction together with the events that it will have caused."""

    def __init__(self, tx: Transaction, ip: str) -> None:
        self.tx = tx
        self.notes: list[tuple[str, str, Mapping[str, Any]]] = []
        self.ip = ip

    def act_as(self, person: str) -> None:
        """Say who it was, once that is known."""
        self.tx.actor = person

    def note(self, kind: str, /, *, target: str = "", **data: Any) -> None:
        """Record an event. `data` never holds a secret, nor text that a stranger typed."""
        self.notes.append((kind, target, data))


class Ledger:
    """Opens entries and, after their commit, hands their events to the journal."""

    def __init__(self, store: Store, sink: EventSink, node: str = "control") -> None:
        self.store = store
        self._sink = sink
        self._node = node

    @contextmanager
    def entry(self, actor: str, reason: str, *, ip: str = "") -> Iterator[Entry]:
        """Yield an entry; a block that raises leaves neither rows nor events."""
        with self.store.transaction(actor, reason) as tx:
            entry = Entry(tx, ip)
            yield entry
        for kind, target, data in entry.notes:
            self._sink(
                EventRecord(
                    id=new_id("evt"),
                    at=tx.now,
                    node=self._node,
                    kind=kind,
                    actor=tx.actor,
                    target=target,
                    reason=reason,
                    ip=entry.ip,
                    data=data,
                )
            )

    def tell(
        self, kind: str, /, *, actor: str, reason: str, target: str = "", ip: str = "", **data: Any
    ) -> None:
        """Record an event that changes nothing in the database, before this returns. `data` as of `note`."""
        self._sink(
            EventRecord(
                id=new_id("evt"),
                at=self.store.clock.now(),
                node=self._node,
                kind=kind,
                actor=actor,
                target=target,
                reason=reason,
                ip=ip,
                data=data,
            )
        )

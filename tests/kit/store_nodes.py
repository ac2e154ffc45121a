"""Control nodes as the store's journeys see them: followers that keep what they hear, and small writes."""

import threading
import time
from collections.abc import Callable

from sqlalchemy import insert

from limen.core.changes import Change, GroupFact, SessionFact, Snapshot
from limen.core.clock import FakeClock
from limen.core.errors import Unavailable
from limen.store.database import Store
from limen.store.directory import create_person
from limen.store.tables import session

CLOCK = FakeClock()
WAIT_S = 20.0


class Heard:
    """A follower that keeps what it heard, as control's replica does."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.snapshots: list[Snapshot] = []
        self._news = threading.Condition()

    def restart(self, snapshot: Snapshot) -> None:
        with self._news:
            self.snapshots.append(snapshot)
            self._news.notify_all()

    def hear(self, changes: tuple[Change, ...]) -> None:
        with self._news:
            self.changes.extend(changes)
            self._news.notify_all()

    @property
    def seqs(self) -> list[int]:
        return [change.seq for change in self.changes]

    def wait(self, holds: Callable[["Heard"], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: holds(self), WAIT_S), (self.seqs, self.snapshots)


def write(store: Store, *names: str) -> None:
    for name in names:
        with store.transaction("a", "b") as tx:
            tx.change("group", name, GroupFact(name))


def sign_in(store: Store) -> None:
    now = CLOCK.now()
    with store.transaction("ada", "sign in") as tx:
        create_person(tx, "ada")
        values = dict.fromkeys(("started_at", "auth_at", "seen_at"), now) | {
            "id": "ses_1", "token_hash": "t1", "person": "ada", "state": "active", "aal": 2,
            "phishing_resistant": True, "methods": ["passkey"], "expires_at": now + 60,
            "ip": "", "user_agent": "",
        }  # fmt: skip
        tx.connection.execute(insert(session).values(**values))
        tx.change("session", "ses_1", SessionFact("ses_1", "ada", 2, True, ("passkey",), now, now, now + 60))


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something that no event tells of, such as what another thread wrote to the database."""
    pause, deadline = threading.Event(), time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def serves(store: Store) -> bool:
    try:
        store.head()
    except Unavailable:
        return False
    return True

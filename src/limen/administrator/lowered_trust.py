"""Lower trust after a recovery: a signal that policies read, for a while, then taken back.

Laws:
    T1 no recovery without it: whoever comes back by other means than a factor of theirs has the signal from
       the same transaction on in which they come in.
    T2 it ends as it began: by a change that gateways are told.
"""

from limen.administrator.ledger import Entry
from limen.administrator.notices import Notices
from limen.core.errors import NotFound
from limen.store import directory, recoveries
from limen.store.recoveries import Recovered

SIGNAL = "recovered"
"""What `context.signals` then holds."""

WORDS = {"recovery-code": "A recovery code was used to sign in", "reset": "Your sign-in was set up anew"}


def lower(entry: Entry, notices: Notices, person: str, how: str, lowered_s: float) -> None:
    """Note that somebody came back, and tell them on every channel.

    Args:
        how: a key of `WORDS`.
        lowered_s: how long it counts, in seconds; 0 is not at all. A longer time that runs already stays.
    """
    tx = entry.tx
    if lowered_s > 0:
        running = [one for one in recoveries.list_recovered(tx.connection) if one.person == person]
        until = max([tx.now + lowered_s, *(one.until for one in running)])
        recoveries.set_recovered(tx.connection, Recovered(person, tx.now, until, how))
        signals = directory.get_person(tx.connection, person).signals
        directory.update_person(tx, person, signals=tuple(sorted({*signals, SIGNAL})))
        entry.note("recovery.lowered", target=person, how=how, until=until)
    notices.queue(entry, person, "recovery", what=WORDS[how], when_at=tx.now, ip=entry.ip, done="yes")


def restore(entry: Entry, person: str) -> None:
    """End it before its time.

    Raises:
        NotFound: this person's trust is not lowered.
    """
    if not recoveries.clear_recovered(entry.tx.connection, person):
        raise NotFound(
            f"The trust in {person!r} is not lowered.", remedy="See `limen recovery lowered`.",
            code="NOT_RECOVERED",
        )  # fmt: skip
    _take_signal(entry, person)


def sweep(entry: Entry) -> None:
    """End what is over (law T2)."""
    for one in recoveries.list_recovered(entry.tx.connection, until=entry.tx.now):
        recoveries.clear_recovered(entry.tx.connection, one.person)
        _take_signal(entry, one.person)
    recoveries.purge_recoveries(entry.tx.connection, entry.tx.now)


def _take_signal(entry: Entry, person: str) -> None:
    signals = directory.get_person(entry.tx.connection, person).signals
    directory.update_person(entry.tx, person, signals=tuple(one for one in signals if one != SIGNAL))
    entry.note("recovery.restored", target=person)

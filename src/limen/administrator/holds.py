"""Legal holds, kept in the database and told to whatever applies retention on this machine.

Laws:
    L1 told first. A hold stands in `JOURNAL/holds.json` before the transaction that adds it has committed,
       and goes from there after the one that ended it: between the two, more is held and never less.
"""

from pathlib import Path

from sqlalchemy import Connection

from limen.administrator.ledger import Ledger
from limen.core.ids import EntityRef
from limen.journal.retention import Hold, Holds, save_holds
from limen.store import holds
from limen.store.database import Store
from limen.store.directory import get_person
from limen.store.holds import LegalHold


def add_hold(ledger: Ledger, root: Path, actor: str, reason: str, person: str | None) -> LegalHold:
    """Hold all that is recorded of a person; without one, everything.

    Raises:
        Invalid: without a reason.
        NotFound: nobody has this username.
    """
    with ledger.entry(actor, reason) as entry:
        if person is not None:
            get_person(entry.tx.connection, person)
        subject = None if person is None else str(EntityRef("User", person))
        hold = holds.add_hold(entry.tx, subject, reason)
        _tell(entry.tx.connection, root)
        entry.note("hold.added", target=hold.id, **({"person": person} if person else {}))
    return hold


def end_hold(ledger: Ledger, root: Path, actor: str, reason: str, hold_id: str) -> LegalHold:
    """End a hold; retention and erasure may then go on.

    Raises:
        NotFound, Conflict: there is no such hold in force.
    """
    with ledger.entry(actor, reason) as entry:
        hold = holds.end_hold(entry.tx, hold_id)
        about = {"person": username(hold.subject)} if hold.subject else {}
        entry.note("hold.ended", target=hold.id, **about)
    tell_holds(ledger.store, root)
    return hold


def tell_holds(store: Store, root: Path) -> None:
    """Write the holds in force where the journals are. Call it at start: a restored database has others."""
    with store.read() as connection:
        _tell(connection, root)


def username(subject: str) -> str:
    """Return the username of a person as holds and keys name them."""
    return subject.removeprefix('User::"').removesuffix('"')


def _tell(connection: Connection, root: Path) -> None:
    found = holds.list_holds(connection)
    save_holds(root, Holds(tuple(Hold(hold.id, hold.subject) for hold in found)))

"""Erasing a person: what the database holds goes, and the keys under which the journal sealed the rest.

The journal's bytes stay as they are, and so do its proofs; what was sealed can be read by nobody any more.

Laws:
    L2 in this order. The database forgets first, since what it tells the journal of that is sealed under the
       keys that go next; the event that says so comes last, and names nobody.
    L3 not while it matters. Nobody is erased who may still come in, or whom a legal hold names.
"""

from pathlib import Path

import msgspec
from sqlalchemy import Connection

from limen.administrator.ledger import Ledger
from limen.core.entities import Status
from limen.core.errors import Invalid, Refused
from limen.core.ids import EntityRef
from limen.journal.keys import Keys
from limen.journal.sealed import erased_name
from limen.store.directory import get_person
from limen.store.erasure import forget_person
from limen.store.holds import holds_on
from limen.store.sessions import list_sessions

ERASED = "subject.erased"


class Erased(msgspec.Struct, frozen=True):
    """What was erased. `names` are those under which the journal shows the person from now on."""

    person: str
    keys: int
    names: tuple[str, ...]


def erase_subject(ledger: Ledger, root: Path, actor: str, reason: str, person: str) -> Erased:
    """Erase an ended person, here and, once they hear of it, on the machines of joined gateways.

    Done again, it does what the first time left undone.

    Raises:
        Invalid: without a reason.
        NotFound: nobody has this username.
        Refused: they may still come in (`SUBJECT_ACTIVE`), or a legal hold names them (`LEGAL_HOLD`).
        Unavailable: the keys cannot be written; then they are all there still.
    """
    if not reason.strip():
        raise Invalid("reason: an erasure needs one.", remedy="Say who asked for it, and when.")
    owner = str(EntityRef("User", person))
    with ledger.entry(actor, "erasure") as entry:
        _demand_erasable(entry.tx.connection, person, owner)
        forget_person(entry.tx, person)
    ledger.store.prune(keep=1)  # who they were stands in earlier changes; who is behind takes a snapshot
    keys = Keys.open(root)
    with ledger.entry(actor, "erasure") as entry:
        _demand_erasable(entry.tx.connection, person, owner)  # a hold may have come between
        names = tuple(sorted({erased_name(key.id) for key in keys.keys_of(owner)}))
        count = keys.erase(owner)
    shown = names[0] if names else "nobody"
    ledger.tell(ERASED, actor=actor, reason=reason, target=f"subject:{shown}", keys=count, names=names)
    return Erased(person, count, names)


def _demand_erasable(connection: Connection, person: str, owner: str) -> None:
    if get_person(connection, person).status is not Status.ENDED or list_sessions(connection, person):
        raise Refused(
            f"{person} may still come in.",
            remedy=f"End them first: `limen user set {person} --status ended`.",
            code="SUBJECT_ACTIVE",
        )
    holds = holds_on(connection, owner)
    if holds:
        named = ", ".join(f"{hold.id} ({hold.reason})" for hold in holds)
        raise Refused(
            f"{person} is under a legal hold: {named}.",
            remedy="Erase them once it has ended: `limen audit hold end ID --reason …`.",
            code="LEGAL_HOLD",
        )

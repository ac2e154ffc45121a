"""One-time enrolment links: given by an administrator, or printed on an empty system."""

import secrets

from limen.administrator.desk import Desk
from limen.administrator.hands import demand_another
from limen.administrator.ledger import Entry
from limen.core.errors import Conflict, NotFound
from limen.core.roles import BREAK_GLASS, EMERGENCY
from limen.core.secret import Secret
from limen.core.tokens import token_hash
from limen.store import credentials as keys
from limen.store import sign_ins
from limen.store.database import Transaction
from limen.store.directory import get_person
from limen.store.sign_ins import EnrolmentLink

LINK_S = 3600.0  # the one hour

FIRST_ADMIN = "first-admin"
ENROL = "enrol"
"""Sets up sign-in anew. Whoever has a password keeps it and must know it; other factors are added to."""

RESET = "reset"
"""As `enrol`, but the old password, factors and codes are gone and every session ends."""

ADMIN_GROUP = "limen-admins"


def is_empty(desk: Desk) -> bool:
    """Return whether nobody is in the directory, so that only the first administrator's link answers."""
    with desk.ledger.store.read() as connection:
        return not keys.anybody(connection)


def make_first_admin_link(desk: Desk, *, actor: str = "host-operator") -> Secret[str]:
    """Return the URL that enrols the first administrator; one made before stops working.

    Raises:
        Conflict: there are people already.
    """
    with desk.ledger.entry(actor, "first administrator's link") as entry:
        url = new_link(desk, entry.tx, None)
        entry.note("enrolment.link_made", purpose=FIRST_ADMIN)
        return url


def make_link(desk: Desk, person: str, *, actor: str, reason: str = "", reset: bool = False) -> Secret[str]:
    """Return the URL with which a person sets up sign-in; one made before stops working.

    Who can sign in already is told that it was made.

    Raises:
        NotFound: no such person.
        Conflict: the person is not active.
        Refused: `actor` is the person, or has just come back by recovery.
    """
    with desk.ledger.entry(actor, reason or f"enrolment link for {person}") as entry:
        url = _make(desk, entry, person, actor, reset=reset)
        owner = keys.load_credentials(entry.tx.connection, person)
        if owner is not None and owner.password_hash is not None:  # a newcomer has nothing to lose yet
            what = f"{actor} made a one-time link with which your sign-in can be set up"
            desk.notices.queue(entry, person, "enrolment", what=what, when_at=entry.tx.now)
        return url


def send_link(
    desk: Desk, person: str, *, actor: str, reason: str = "", reset: bool = False
) -> tuple[str, ...]:
    """Send the person such a link; return the channels that carry it. Who sends it never learns it.

    Raises:
        NotFound, Conflict, Refused: as `make_link`.
        Conflict: nothing would carry it; nothing was made.
    """
    with desk.ledger.entry(actor, reason or f"enrolment link for {person}") as entry:
        url = _make(desk, entry, person, actor, reset=reset)
        until = entry.tx.now + LINK_S
        link = url.reveal()
        channels = desk.notices.queue(
            entry, person, "invitation", until=until, link=link, by=actor, until_at=until
        )
        if not channels:
            raise Conflict(
                f"Nothing would carry a link to {person}.",
                remedy="Set `notices:` in limen.yaml and their email, or hand the link over yourself.",
                code="NO_NOTICE_CHANNEL",
            )
        return channels


def _make(desk: Desk, entry: Entry, person: str, actor: str, *, reset: bool) -> Secret[str]:
    """Make a link for another person (SP 800-63B-4 4.2: a second person stands behind a recovery)."""
    demand_another(entry.tx.connection, actor, person, own="Nobody makes their own link.")
    url = new_link(desk, entry.tx, person, reset=reset)
    entry.note("enrolment.link_made", target=person, purpose=RESET if reset else ENROL)
    return url


def new_link(desk: Desk, tx: Transaction, person: str | None, *, reset: bool = False) -> Secret[str]:
    """Make a link inside a caller's transaction; the caller notes the event. None: the first administrator.

    Raises:
        NotFound: no such person.
        Conflict: the person is not active, or (for None) there are people already.
    """
    purpose = RESET if reset else ENROL
    if person is None:
        purpose = FIRST_ADMIN
        if keys.anybody(tx.connection):
            raise Conflict("There are people here already.", remedy="Use `limen user link NAME`.")
    else:
        owner = keys.load_credentials(tx.connection, person)
        if owner is None:
            raise NotFound(f"There is no person named {person!r}.", remedy="See `limen user list`.")
        if not owner.active_at(tx.now):
            raise Conflict(
                f"{person} is not active.", remedy="Make them active first: limen user set --status active."
            )
        if person == EMERGENCY and get_person(tx.connection, person).groups == (BREAK_GLASS,):
            raise Conflict(
                f"{person} is nobody who signs in: it is whoever has the sealed credential.",
                remedy="Seal another: `limen break-glass seal`.",
                code="EMERGENCY_PERSON",
            )
    token = secrets.token_urlsafe(32)
    sign_ins.add_link(tx.connection, EnrolmentLink(token_hash(token), person, purpose, tx.now + LINK_S))
    return Secret(f"{desk.auth_origin}/enrol/{token}")

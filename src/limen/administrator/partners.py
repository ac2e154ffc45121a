"""People from outside: who answers for them, until when, and what happens by itself at the end.

Laws:
    P1 terms. Whoever is not an employee has a sponsor, who is an active employee, and an end at most a year
       away. Nothing that a call changes leaves them without.
    P2 ends by itself. At the end the engine denies, sessions end, links and tokens are worth nothing; that is
       noted once. Both are told before, once.
    P3 no orphans. When a sponsor may not come in any more, the end of those they answer for moves to two
       weeks from then at the latest. It moves back if the sponsor is back before.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from limen.administrator.desk import Desk
from limen.administrator.hands import demand_another
from limen.administrator.invitations import new_invitation
from limen.administrator.ledger import Entry
from limen.administrator.links import ENROL
from limen.administrator.notice_words import plain_name
from limen.core.entities import Kind, Status
from limen.core.errors import Conflict, Invalid, LimenError
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.core.tokens import token_hash
from limen.store import directory, person_care, sign_ins
from limen.store.directory import Person
from limen.store.directory.csv_import import WrongTerms
from limen.store.directory.people import load_people
from limen.store.person_care import Care
from limen.store.sign_ins import EnrolmentLink

DAY_S = 86_400.0
TERM_MAX_S = 366 * DAY_S  # NIST SP 800-53r5 AC-2(3): accounts that are no longer needed do not stay
INVITED_S = 7 * DAY_S  # an invitation's life: longer than a link that somebody waits for
ORPHANED_S = 14 * DAY_S
TERMS = frozenset({"kind", "sponsor", "expires_at"})

log = structlog.get_logger("limen.partners")


def demand_terms(
    connection: Connection,
    username: str,
    *,
    kind: Kind,
    sponsor: str | None,
    expires_at: Instant | None,
    now: Instant,
) -> None:
    """Look at the terms of somebody (law P1).

    Raises:
        Invalid: somebody from outside lacks a sponsor or an end, or has one that will not do.
    """
    if sponsor is not None:
        _demand_sponsor(connection, username, sponsor, now)
    if kind is Kind.EMPLOYEE:
        return
    if sponsor is None:
        remedy = "Name the employee who answers for them: --sponsor NAME, in a file the column sponsor."
        raise Invalid(f"sponsor: a {kind} needs somebody who answers for them.", remedy=remedy)
    if expires_at is None:
        remedy = "Give a date: --expires 2027-01-31, in a file the column expires."
        raise Invalid(f"expires_at: a {kind} needs an end.", remedy=remedy)
    if expires_at > now + TERM_MAX_S:
        raise Invalid(
            "expires_at: the end is too far away.",
            remedy=f"At most {TERM_MAX_S / DAY_S:.0f} days; extend it when it is near: `limen user extend`.",
        )


def terms_reader(connection: Connection, now: Instant) -> WrongTerms:
    """Return what says, for an import, what is wrong with the terms of a row (law P1)."""
    known: dict[tuple[Kind, str | None, Instant | None], str] = {}

    def wrong(username: str, kind: Kind, sponsor: str | None, expires_at: Instant | None) -> str:
        key = (kind, sponsor, expires_at)
        if sponsor == username or key not in known:
            try:
                demand_terms(connection, username, kind=kind, sponsor=sponsor, expires_at=expires_at, now=now)
                said = ""
            except Invalid as refusal:
                said = f"{refusal.message} {refusal.remedy}"
            if sponsor == username:
                return said
            known[key] = said
        return known[key]

    return wrong


def _demand_sponsor(connection: Connection, username: str, sponsor: str, now: Instant) -> None:
    found = directory.find_person(connection, sponsor)
    if found is None or not answers(found, now) or sponsor == username:
        raise Invalid(
            f"sponsor: {sponsor[:80]} cannot answer for {username[:80]}.",
            remedy="Name an active employee, other than themselves.",
        )


def answers(person: Person, now: Instant) -> bool:
    """Whether a person may answer for others: an employee who may come in."""
    over = person.expires_at is not None and person.expires_at <= now
    return person.status is Status.ACTIVE and person.kind is Kind.EMPLOYEE and not over


def demand_changed_terms(tx: Any, before: Person, given: Mapping[str, Any]) -> None:
    """Look at the terms that a change would leave, if it changes them.

    Raises:
        Invalid: as `demand_terms`.
    """
    if TERMS & given.keys():
        terms: dict[str, Any] = {name: given.get(name, getattr(before, name)) for name in TERMS}
        demand_terms(tx.connection, before.id, now=tx.now, **terms)


class Partners:
    """Invites, extends, and cares for ends. Threads may share it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # --- by people -----------------------------------------------------------------------------------

    def invite(
        self, entry: Entry, username: str, by: str, provider: str = ""
    ) -> tuple[Secret[str], tuple[str, ...]]:
        """Make a one-time link inside the caller's entry, and queue it to the person and word to the sponsor.

        With a provider it is taken up by a sign-in there; else by setting up a sign-in here. Returns the
        link, and the channels that carry it; with none, it is for the administrator to hand over.

        Raises:
            Refused: `by` is the person, or has just come back by recovery.
            Conflict: the person may not come in.
            Invalid: there is no such provider.
        """
        demand_another(entry.tx.connection, by, username, own="Nobody invites themselves.")
        person = directory.get_person(entry.tx.connection, username)
        over = person.expires_at is not None and person.expires_at <= entry.tx.now
        if person.status is not Status.ACTIVE or over:
            remedy = f"Give them more time first: limen user extend {username}."
            raise Conflict(f"{username} may not come in.", remedy=remedy)
        ends_at = min(entry.tx.now + INVITED_S, person.expires_at or entry.tx.now + INVITED_S)
        if provider:
            url = new_invitation(self._desk, entry, username, provider, ends_at)
        else:
            url = self._enrolment(entry, username, ends_at)
        entry.note(
            "enrolment.link_made",
            target=username,
            purpose="invitation",
            expires_at=ends_at,
            **({"provider": provider} if provider else {}),
        )
        notices = self._desk.notices
        about: dict[str, Any] = {"link": url.reveal(), "by": by, "until_at": ends_at}
        channels = notices.queue(entry, username, "invitation", until=ends_at, **about)
        if person.sponsor is not None:
            notices.queue(entry, person.sponsor, "sponsor", who=person.name, at=person.expires_at)
        return url, channels

    def _enrolment(self, entry: Entry, username: str, ends_at: Instant) -> Secret[str]:
        token = secrets.token_urlsafe(32)
        sign_ins.add_link(entry.tx.connection, EnrolmentLink(token_hash(token), username, ENROL, ends_at))
        return Secret(f"{self._desk.auth_origin}/enrol/{token}")

    def extend(self, entry: Entry, username: str, expires_at: Instant, sponsor: str | None) -> Person:
        """Give somebody more time, or less, inside the caller's entry; and name another sponsor.

        Raises:
            Invalid: as `demand_terms`, or the end is past.
            Conflict: they have ended, or no end is needed.
        """
        tx = entry.tx
        before = directory.get_person(tx.connection, username)
        if before.status is Status.ENDED:
            raise Conflict(f"{username} has ended.", remedy="Make another username: nobody comes back.")
        if expires_at <= tx.now:
            raise Invalid("expires_at: the end is past.", remedy="Give a later day, or suspend them.")
        named = before.sponsor if sponsor is None else sponsor
        demand_terms(
            tx.connection, username, kind=before.kind, sponsor=named, expires_at=expires_at, now=tx.now
        )
        found = directory.update_person(tx, username, expires_at=expires_at, sponsor=named)
        person_care.forget_care(tx.connection, username)
        told = {"expires_at": before.expires_at, "sponsor": before.sponsor}
        after = {"expires_at": expires_at, "sponsor": named}
        entry.note("person.extended", target=username, before=told, after=after)
        return found

    # --- by itself -----------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Tell of ends that are near, note those that have come, and care for orphans."""
        now = self._desk.clock.now()
        ahead_s = self._desk.notices.config().expiry_days * DAY_S
        with self._desk.ledger.store.read() as connection:
            ending = person_care.list_ending(connection, now, now + ahead_s)
            bound = person_care.list_sponsored(connection)
            people = load_people(connection, (*ending, *bound))
            orphans = {care.person for care in person_care.list_orphans(connection)}
        sponsors = {person.sponsor for person in people.values() if person.sponsor}
        with self._desk.ledger.store.read() as connection:
            known = load_people(connection, tuple(sponsors))
        gone = {name for name in sponsors if name not in known or not answers(known[name], now)}
        for name in dict.fromkeys((*ending, *bound)):
            orphan = people[name].sponsor in gone
            if name in ending or orphan != (name in orphans):
                try:
                    self._care(name, ahead_s)
                except LimenError as error:  # one who cannot be cared for keeps nobody else waiting
                    log.warning("partners.not_cared_for", person=name, why=error.message)

    def _care(self, username: str, ahead_s: float) -> None:
        with self._desk.ledger.entry("limen", f"the end of {username}'s time") as entry:
            person = directory.get_person(entry.tx.connection, username)
            care = person_care.load_care(entry.tx.connection, username)
            person, care = self._adopt(entry, person, care)
            after = self._tell(entry, person, care, ahead_s)
            if after != person_care.load_care(entry.tx.connection, username):
                person_care.save_care(entry.tx.connection, after)

    def _adopt(self, entry: Entry, person: Person, care: Care) -> tuple[Person, Care]:
        """Bring the end forward of somebody whose sponsor is gone, or back if they are back (law P3)."""
        tx, now = entry.tx, entry.tx.now
        sponsor = directory.find_person(tx.connection, person.sponsor) if person.sponsor else None
        gone = person.sponsor is not None and (sponsor is None or not answers(sponsor, now))
        if person.kind is Kind.EMPLOYEE or person.status is Status.ENDED:
            gone = False
        if gone and care.orphaned_at is None:
            ends_at = min(now + ORPHANED_S, person.expires_at or now + ORPHANED_S)
            care = msgspec.structs.replace(
                care, orphaned_at=now, sponsor=person.sponsor, expires_before=person.expires_at
            )
            entry.note("person.orphaned", target=person.id, sponsor=person.sponsor, expires_at=ends_at)
            return directory.update_person(tx, person.id, expires_at=ends_at), care
        if not gone and care.orphaned_at is not None:
            brought = min(care.orphaned_at + ORPHANED_S, care.expires_before or care.orphaned_at + ORPHANED_S)
            untouched = person.expires_at == brought and now < brought
            back = care.expires_before if untouched else person.expires_at
            care = msgspec.structs.replace(care, orphaned_at=None, sponsor=None, expires_before=None)
            entry.note("person.adopted", target=person.id, sponsor=person.sponsor, expires_at=back)
            return directory.update_person(tx, person.id, expires_at=back), care
        return person, care

    def _tell(self, entry: Entry, person: Person, care: Care, ahead_s: float) -> Care:
        """Tell person and sponsor of an end that is near, and note one that has come (law P2)."""
        ends_at, now = person.expires_at, entry.tx.now
        if ends_at is None or person.status is not Status.ACTIVE or ends_at > now + ahead_s:
            return care
        if ends_at <= now:
            if care.over_for == ends_at:
                return care
            entry.note("person.expired", target=person.id, sponsor=person.sponsor, expires_at=ends_at)
            return msgspec.structs.replace(care, over_for=ends_at, warned_for=ends_at)
        if care.warned_for == ends_at:
            return care
        notices = self._desk.notices
        notices.queue(entry, person.id, "expiry", what="Your access", at=ends_at, ask=person.sponsor)
        if person.sponsor is not None:
            what = f"The access of {plain_name(person.name)}"
            notices.queue(entry, person.sponsor, "expiry", what=what, at=ends_at)
        entry.note("person.expiry_told", target=person.id, expires_at=ends_at)
        return msgspec.structs.replace(care, warned_for=ends_at, over_for=None)

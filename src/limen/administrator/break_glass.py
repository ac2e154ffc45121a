"""Break-glass: one sealed credential that lets an administrator in when nothing else does.

It needs neither a provider nor mail, nor anybody's factors. Whoever has it is a person of the directory of
their own, in the group `limen-break-glass`, for one hour; what they may do, policies say, which see the
method `break-glass`. It is AAL 1, which is the truth: something that was in an envelope.

Laws:
    B1 once. A credential opens one session; of two that race, one is let in. Sealing another voids it.
    B2 one hour, from its use, whatever else a session may last; nothing raises or lengthens it.
    B3 told. Its use, and each attempt that failed, is an event; its use queues a notice to everybody who has
       a role, in the same transaction, and stands on every page of whoever is signed in.
    B4 reviewed. A use stays open until somebody else has said what it was for.
    B5 nobody shuts it out. What is no credential of ours is refused before anything is looked up, and counts
       for its network; one of ours is looked up always.
"""

from collections.abc import Callable, Iterable

import msgspec

from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.session_life import SessionEvent
from limen.administrator.session_values import Answer, Opened, Proof, SignedIn, TooMany, Visit, Wrong
from limen.core.entities import Status
from limen.core.errors import Conflict, Invalid, NotFound, Refused
from limen.core.ids import Instant, new_id
from limen.core.roles import BREAK_GLASS, BREAK_GLASS_METHOD, EMERGENCY, ROLE_GROUPS
from limen.core.secret import Secret
from limen.information.identity import sealed_credential, throttle
from limen.information.identity.assurance import Assurance
from limen.store import break_glass as rows
from limen.store import credentials as keys
from limen.store import directory
from limen.store import sessions as session_rows
from limen.store.break_glass import BreakGlass

PERSON = EMERGENCY
PERSON_NAME = "Emergency access"
HOUR_S = 3_600.0
ATTEMPTS = throttle.Limit(burst=10, interval_s=60)  # wrong ones, per network; right ones are never refused
REVIEW_MAX = 2_000  # characters
WORTH = Assurance(1)  # one thing that somebody had

Alarmed = Callable[[], Iterable[str]]
"""Who is told at once: everybody who has a role of Limen."""


def _nobody() -> Iterable[str]:
    return ()


class BreakGlassDesk:
    """Seals, opens and reviews. Threads may share it.

    Attributes:
        alarmed: asked at each use, before its transaction.
    """

    def __init__(self, desk: Desk, alarmed: Alarmed = _nobody) -> None:
        self._desk = desk
        self.alarmed = alarmed

    # --- the credential ------------------------------------------------------------------------------

    def seal(self, entry: Entry, reason: str) -> tuple[Secret[str], BreakGlass]:
        """Make a credential inside the caller's entry, and void the one before. It is told once.

        Raises:
            Conflict: the emergency person is somebody else, or may not come in.
        """
        self._ready_person(entry)
        credential = sealed_credential.new_credential(self._desk.key)
        plain = sealed_credential.parse_credential(self._desk.key, credential.reveal())
        assert plain is not None
        row = BreakGlass(
            id=new_id("bgl"),
            hash=sealed_credential.hash_credential(self._desk.key, plain),
            person=PERSON,
            sealed_at=entry.tx.now,
            sealed_by=entry.tx.actor,
            reason=reason,
        )
        rows.add_sealed(entry.tx.connection, row)
        entry.note("break_glass.sealed", target=row.id, person=PERSON)
        return credential, row

    def withdraw(self, *, actor: str, reason: str) -> None:
        """Make the sealed credential void.

        Raises:
            NotFound: there is none.
        """
        with self._desk.ledger.entry(actor, reason) as entry:
            if not rows.void_sealed(entry.tx.connection, entry.tx.now):
                raise NotFound("No credential is sealed.", remedy="Seal one: `limen break-glass seal`.")
            entry.note("break_glass.withdrawn", person=PERSON)

    def _ready_person(self, entry: Entry) -> None:
        """Make the emergency person, or see that they are as they must be: in their group, and active."""
        tx = entry.tx
        found = directory.find_person(tx.connection, PERSON)
        if all(group.id != BREAK_GLASS for group in directory.list_groups(tx.connection)):
            directory.create_group(tx, BREAK_GLASS, title=ROLE_GROUPS[BREAK_GLASS])
        if found is None:
            directory.create_person(tx, PERSON, name=PERSON_NAME)
            directory.add_member(tx, BREAK_GLASS, PERSON)
            return
        if found.groups != (BREAK_GLASS,) or found.source != directory.LOCAL:
            raise Conflict(
                f"{PERSON} is not in the group {BREAK_GLASS} alone.",
                remedy=f"Put them there, and nowhere else: `limen group add-member {BREAK_GLASS} {PERSON}`.",
            )
        if found.status is not Status.ACTIVE or found.quarantined or found.expires_at is not None:
            raise Conflict(f"{PERSON} may not come in.", remedy=f"`limen user release {PERSON}`.")

    # --- its use -------------------------------------------------------------------------------------

    def open(self, typed: str, visit: Visit) -> Answer:
        """Let in whoever has the credential; it is spent. Every failure has one answer."""
        desk = self._desk
        plain = sealed_credential.parse_credential(desk.key, typed)
        if plain is None:
            return self._refuse(visit, "it is no credential of this Limen")
        hashed = sealed_credential.hash_credential(desk.key, plain)
        told = tuple(sorted({*self.alarmed()} - {PERSON}))
        with desk.ledger.entry("nobody", "break-glass", ip=visit.browser.ip) as entry:
            row = rows.find_good(entry.tx.connection, hashed)
            owner = keys.load_credentials(entry.tx.connection, PERSON) if row else None
            may = owner is not None and owner.active_at(entry.tx.now)
            if row is not None and may and rows.spend_sealed(entry.tx.connection, row, entry.tx.now):
                return self._let_in(entry, row, visit, told)
        return self._refuse(visit, "it was used, withdrawn or replaced, or its person may not come in")

    def _let_in(self, entry: Entry, row: BreakGlass, visit: Visit, told: Iterable[str]) -> SignedIn:
        tx, sessions = entry.tx, self._desk.sessions
        entry.act_as(PERSON)
        if visit.presented is not None:
            why = "signed in anew in the same browser"
            sessions.end_in(entry, visit.presented.id, SessionEvent.REPLACE, why)
        proof = Proof((BREAK_GLASS_METHOD,), WORTH, tx.now)
        opened = sessions.start(entry, PERSON, proof, visit.browser)
        ends_at = min(opened.session.expires_at, tx.now + HOUR_S)
        session = msgspec.structs.replace(opened.session, expires_at=ends_at)
        session_rows.save_session(tx, session)
        rows.note_use(tx.connection, row.id, session=session.id, ip=visit.browser.ip, ends_at=ends_at)
        directory.note_signed_in(tx.connection, PERSON, tx.now)
        entry.note("break_glass.used", target=row.id, person=PERSON, session=session.id, ends_at=ends_at)
        entry.note("sign_in.succeeded", target=PERSON, session=session.id, methods=[BREAK_GLASS_METHOD],
                   aal=WORTH.aal)  # fmt: skip
        for name in told:
            self._desk.notices.queue(entry, name, "break_glass", when_at=tx.now, ip=visit.browser.ip)
        return SignedIn(Opened(session, opened.token))

    def _refuse(self, visit: Visit, why: str) -> Wrong | TooMany:
        """Record that an attempt failed. Of a flood only what passes the throttle is recorded one by one."""
        network = throttle.address_network(visit.browser.ip)
        charges = ((f"address:break-glass:{network}", ATTEMPTS),)
        with self._desk.ledger.entry("nobody", "break-glass", ip=visit.browser.ip) as entry:
            wait_s = self._desk.charge(entry.tx.connection, charges)
            if wait_s:
                self._desk.note_throttled(entry)
                return TooMany(wait_s)
            entry.note("break_glass.failed", why=why)
        return Wrong()

    # --- afterwards ----------------------------------------------------------------------------------

    def list_all(self) -> tuple[BreakGlass, ...]:
        """Return every credential, the newest first."""
        with self._desk.ledger.store.read() as connection:
            return rows.list_sealed(connection)

    def find(self, use: str) -> BreakGlass:
        """Return a use.

        Raises:
            NotFound: there is none.
        """
        with self._desk.ledger.store.read() as connection:
            found = rows.find_one(connection, use)
        if found is None or found.used_at is None:
            raise NotFound(f"There is no use '{use[:80]}'.", remedy="See `limen break-glass status`.")
        return found

    def review(self, use: str, text: str, *, actor: str) -> BreakGlass:
        """Say what a use was for (law B4). Its session ends, if it is still open.

        Raises:
            Invalid: no text, or too long a one.
            NotFound, Conflict: there is no such use, or it was reviewed.
            Refused: the emergency person reviews nothing.
        """
        said = text.strip()
        if not said or len(said) > REVIEW_MAX:
            raise Invalid(f"text: {len(said)} characters.", remedy=f"Write 1 to {REVIEW_MAX:,} characters.")
        if actor == PERSON:
            raise Refused("Emergency access does not review itself.", remedy="Sign in as yourself.")
        before = self.find(use)
        with self._desk.ledger.entry(actor, said) as entry:
            reviewed = rows.review_use(
                entry.tx.connection, use, by=entry.tx.actor, text=said, now=entry.tx.now
            )
            if not reviewed:
                raise Conflict("It was reviewed already.", remedy="See `limen break-glass status`.")
            if before.session is not None:
                self._desk.sessions.end_in(entry, before.session, SessionEvent.REVOKE, "reviewed")
            entry.note("break_glass.reviewed", target=use, person=PERSON)
        return self.find(use)

    def running(self) -> Instant | None:
        """Return until when emergency access is in use; None when it is not."""
        with self._desk.ledger.store.read() as connection:
            found = rows.list_running(connection, self._desk.clock.now())
            sessions = {one.id: session_rows.load_session(connection, one.session or "") for one in found}
        live = (one.ends_at for one in found if one.ends_at is not None and _is_live(sessions[one.id]))
        return max(live, default=None)


def _is_live(session: session_rows.Session | None) -> bool:
    return session is not None and session.state == "active"

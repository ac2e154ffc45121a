"""Coming back without one's factors: two different things, or another person's approval.

A browser asks by a name. It is told the same, in the same time, and may do the same, whether there is such
a person or not. What it then shows counts together: nobody learns which of two things was wrong. The mailed
link brings the recovery to the browser in which it is opened, so a victim who follows a stranger's link has
it, and the stranger has lost it. Whoever is recovered sets up all of sign-in anew, through a one-time link.

Laws: V1 to V3 are kept by `recovery_life`.
    V4 nothing tells a stranger who is here: not the answer, not its time, not a mail that somebody sees.
    V5 no factor is guessed here: attempts have buckets of their own, and end the recovery.
"""

import hmac
import secrets
from urllib.parse import urlsplit

import msgspec

from limen.administrator import links
from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.recovery_life import RecoveryEvent, RecoveryState, step
from limen.administrator.session_values import Over, TooMany, Visit, Wrong
from limen.core.errors import Conflict
from limen.core.ids import Instant, new_id
from limen.core.secret import Secret
from limen.core.tokens import token_hash
from limen.information.identity import known_browser, throttle
from limen.information.identity.passwords import PasswordVerdict
from limen.information.identity.recovery import hash_spoken, spoken_code
from limen.store import credentials as keys
from limen.store import recoveries
from limen.store.credentials import Credentials
from limen.store.recoveries import StoredRecovery

RECOVERY_S = 3600.0  # SP 800-63B-4 4.2.1.2 allows a mailed code 24 hours; ours are links, as enrolment's
FAILURES_MAX = 3
NAME_LENGTH_MAX = 129
ANNOUNCED_AT_ONCE = 50
THINGS_NEEDED = 2


class Shown(msgspec.Struct, frozen=True):
    """What somebody who recovers still has. Empty: not this."""

    password: Secret[str] = Secret("")
    code: str = ""  # of the authenticator app
    recovery_code: str = ""


class Pending(msgspec.Struct, frozen=True):
    """A recovery under way in a browser. `spoken` is what an approver is told."""

    state: RecoveryState
    spoken: str
    mailed: bool
    alone: bool


class Mailed(msgspec.Struct, frozen=True):
    """What a mailed link is about."""

    person: str
    asked_at: Instant
    ip: str
    agent: str


class Recovery:
    """The part of whoever recovers. Approval is in `recovery_approval`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # --- asking --------------------------------------------------------------------------------------

    def ask(self, name: str, visit: Visit) -> TooMany | Secret[str]:
        """Begin; return the token of the browser's flow. The same statements for every name (law V4)."""
        desk, name = self._desk, name.strip().lower()[:NAME_LENGTH_MAX]
        mark = known_browser.verify_mark(desk.key, name, visit.browser.mark, desk.clock.now())
        charges = throttle.recovery_ask_charges(name, visit.browser.ip, mark)
        with desk.ledger.entry("nobody", "ask for recovery", ip=visit.browser.ip) as entry:
            wait_s = desk.charge(entry.tx.connection, charges)
            if wait_s:
                desk.note_throttled(entry)
                return TooMany(wait_s)
            owner = keys.load_credentials(entry.tx.connection, name)
            able = can_recover(owner, entry.tx.now)
            token, row = self._row(visit, owner.person if owner and able else None, name, entry.tx.now)
            recoveries.add_recovery(entry.tx.connection, row)
            why = "" if able else ("unknown" if owner is None else "has no password here, or is not active")
            entry.note("recovery.asked", target=row.person or "", recovery=row.id, why=why)
        return token

    def _row(
        self, visit: Visit, person: str | None, name: str, now: Instant
    ) -> tuple[Secret[str], StoredRecovery]:
        token, recovery = secrets.token_urlsafe(32), new_id("rcv")
        name_hash = hmac.digest(self._desk.key, f"recovery-name\0{name}".encode(), "sha256").hex()
        row = StoredRecovery(
            id=recovery,
            token_hash=token_hash(token),
            person=person,
            name_hash=name_hash,
            state=RecoveryState.OPEN,
            approval_hash=hash_spoken(self._desk.key, spoken_code(self._desk.key, recovery)),
            ip=visit.browser.ip[:64],
            agent="".join(c for c in visit.browser.user_agent if c.isprintable())[:255],
            asked_at=now,
            expires_at=now + RECOVERY_S,
        )
        return Secret(token), row

    def announce(self) -> int:
        """Tell the people who recover, with the link; return how many. Beside the requests (law V4)."""
        with self._desk.ledger.store.read() as connection:
            now = self._desk.clock.now()
            waiting = recoveries.list_unannounced(connection, now, ANNOUNCED_AT_ONCE)
        for row in waiting:
            with self._desk.ledger.entry("limen", "announce a recovery") as entry:
                self._announce(entry, row)
        return len(waiting)

    def _announce(self, entry: Entry, row: StoredRecovery) -> None:
        assert row.person is not None
        token = secrets.token_urlsafe(32)
        after = msgspec.structs.replace(row, announced_at=entry.tx.now, mail_hash=token_hash(token))
        if not recoveries.save_recovery(entry.tx.connection, row, after):
            return  # another node was first, or the browser was faster: the next turn looks again
        self._desk.notices.queue(
            entry,
            row.person,
            "recovery",
            until=row.expires_at,
            what="Somebody asked to recover your sign-in",
            when_at=row.asked_at,
            ip=row.ip,
            link=f"{self._desk.auth_origin}/recover/link/{token}",
            until_at=row.expires_at,
        )

    # --- what the browser has ------------------------------------------------------------------------

    def pending(self, visit: Visit) -> Pending | None:
        """Return the recovery under way in this browser."""
        with self._desk.ledger.store.read() as connection:
            row = recoveries.find_by_token(connection, token_hash(visit.flow_token), self._desk.clock.now())
        if row is None or row.state not in (RecoveryState.OPEN, RecoveryState.READY):
            return None
        spoken = spoken_code(self._desk.key, row.id)
        return Pending(RecoveryState(row.state), spoken, row.mailed, self._alone())

    def show(self, shown: Shown, visit: Visit) -> Over | TooMany | Wrong | None:
        """Look at what somebody still has, all together (law V5). None: it was enough."""
        desk = self._desk
        with desk.ledger.entry("nobody", "attempt a recovery", ip=visit.browser.ip) as entry:
            row = self._find(entry, visit)
            if row is None or not self._alone():
                return Over()
            charges = throttle.recovery_show_charges(row.name_hash, visit.browser.ip)
            wait_s = desk.charge(entry.tx.connection, charges)
            if wait_s:
                desk.note_throttled(entry)
                return TooMany(wait_s)
            owner = keys.load_credentials(entry.tx.connection, row.person) if row.person else None
        right = not shown.password.reveal() or (
            desk.hasher.check(owner.password_hash if owner else None, shown.password)
            is not PasswordVerdict.WRONG
        )
        with desk.ledger.entry("nobody", "show what is left", ip=visit.browser.ip) as entry:
            row = self._find(entry, visit)
            if row is None:
                return Over()
            how = self._enough(entry, row, shown, password_right=right)
            if how:
                return self._go(entry, row, RecoveryEvent.TWO_SHOWN, how=how)
            spent = row.failures + 1 >= FAILURES_MAX
            event = RecoveryEvent.SHOWN_TOO_OFTEN if spent else RecoveryEvent.WRONG_SHOWN
            entry.note("recovery.failed", target=row.person or "", recovery=row.id, why="shown")
            gone = self._go(entry, row, event, failures=row.failures + 1)
            return Over() if spent or gone else Wrong()

    def _enough(self, entry: Entry, row: StoredRecovery, shown: Shown, *, password_right: bool) -> str:
        """Return what was shown if all of it is right and enough (law V1); codes are spent only then."""
        connection = entry.tx.connection
        owner = keys.load_credentials(connection, row.person) if row.person else None
        given = [kind for kind, value in (("totp", shown.code), ("recovery", shown.recovery_code)) if value]
        things = [
            *(["link"] if row.mailed else []), *(["password"] if shown.password.reveal() else []), *given
        ]  # fmt: skip
        if owner is None or not can_recover(owner, entry.tx.now) or not password_right:
            return ""
        if len(set(things)) < THINGS_NEEDED:
            return ""
        attempt = connection.begin_nested()
        typed = {"totp": shown.code, "recovery": shown.recovery_code}
        if all(self._desk.spend_code(connection, owner, typed[kind]) == kind for kind in given):
            attempt.commit()
            return "+".join(things)
        attempt.rollback()
        return ""

    def take(self, visit: Visit) -> Over | str:
        """Return the path on which sign-in is set up anew, once (law V2)."""
        with self._desk.ledger.entry("nobody", "recovered", ip=visit.browser.ip) as entry:
            row = self._find(entry, visit)
            if row is None or row.person is None or row.state != RecoveryState.READY:
                return Over()
            if self._go(entry, row, RecoveryEvent.TAKEN) is not None:
                return Over()
            url = links.new_link(self._desk, entry.tx, row.person, reset=True)
            entry.note("recovery.completed", target=row.person, recovery=row.id, how=row.how)
            return urlsplit(url.reveal()).path

    # --- the mailed link -----------------------------------------------------------------------------

    def look(self, token: str) -> Mailed | None:
        """Return what a link is about. Looking spends nothing: mail scanners look, too."""
        with self._desk.ledger.store.read() as connection:
            row = recoveries.find_by_mail(connection, token_hash(token), self._desk.clock.now())
        if row is None or row.person is None or row.state == RecoveryState.STOPPED:
            return None
        return Mailed(row.person, row.asked_at, row.ip, row.agent)

    def open_link(self, token: str, visit: Visit) -> Over | Secret[str]:
        """Use the link: this browser has the recovery from now on; return its token."""
        with self._desk.ledger.entry("nobody", "open a recovery link", ip=visit.browser.ip) as entry:
            row = recoveries.find_by_mail(entry.tx.connection, token_hash(token), entry.tx.now)
            if row is None or row.state != RecoveryState.OPEN:
                return Over()
            mine = secrets.token_urlsafe(32)
            gone = self._go(
                entry, row, RecoveryEvent.LINK_OPENED,
                token_hash=token_hash(mine), mailed=True, mail_hash=None, ip=visit.browser.ip[:64],
            )  # fmt: skip
            return gone or Secret(mine)

    def stop(self, token: str, visit: Visit) -> bool:
        """Take the word of whoever got the link that it was not them (law V3)."""
        with self._desk.ledger.entry("nobody", "that was not me", ip=visit.browser.ip) as entry:
            row = recoveries.find_by_mail(entry.tx.connection, token_hash(token), entry.tx.now)
            if row is None or row.person is None:
                return False
            recoveries.stop_recoveries(entry.tx.connection, row.person)
            entry.note("recovery.stopped", target=row.person, recovery=row.id, asked_from=row.ip)
            return True

    # --- inside --------------------------------------------------------------------------------------

    def _alone(self) -> bool:
        return self._desk.catalogue().sources.recovery.alone

    def _find(self, entry: Entry, visit: Visit) -> StoredRecovery | None:
        found = recoveries.find_by_token(entry.tx.connection, token_hash(visit.flow_token), entry.tx.now)
        return found if found and found.state in (RecoveryState.OPEN, RecoveryState.READY) else None

    def _go(self, entry: Entry, row: StoredRecovery, event: RecoveryEvent, **changes: object) -> Over | None:
        try:
            then = step(RecoveryState(row.state), event)
        except Conflict:
            return Over()
        after = msgspec.structs.replace(row, state=then, **changes)
        return None if recoveries.save_recovery(entry.tx.connection, row, after) else Over()


def can_recover(owner: Credentials | None, now: Instant) -> bool:
    """Whether somebody is recovered here: who signs in elsewhere is recovered there."""
    return owner is not None and owner.active_at(now) and owner.password_hash is not None

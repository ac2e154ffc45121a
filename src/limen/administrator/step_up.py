"""Step-up: what a session lacks, what can bring it, and the forms' part of bringing it.

A passkey or a provider brings it through their own sign-in, which raises the session that the browser
presents. A *fresh* sign-in replaces what the session proves, because its age is the age of all of it.
A second factor alone adds to it, and leaves the age as it was.
"""

import msgspec
from sqlalchemy import Connection

from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.session_values import Over, Proof, SignedIn, TooMany, Visit, Wrong
from limen.core.identity_config import PasskeyConfig
from limen.core.ids import Instant
from limen.core.needs import FRESH_SIGN_IN, HARDWARE_KEY, PASSKEY, SECOND_FACTOR
from limen.core.secret import Secret
from limen.information.identity import known_browser, passkeys, throttle
from limen.information.identity.assurance import (
    PASSWORD,
    PROVIDERS,
    RECOVERY,
    Assurance,
    assess_methods,
)
from limen.information.identity.passwords import PasswordVerdict
from limen.store import credentials as keys
from limen.store.credentials import Credentials
from limen.store.sessions import Session

_LEVELS = {SECOND_FACTOR: 2, HARDWARE_KEY: 3}  # needs that are an assurance level (NIST SP 800-63B)
FRESH_S = 900  # how young a "fresh" sign-in is where nobody says (15 minutes)


class Need(msgspec.Struct, frozen=True):
    """What a session must achieve (`core.needs`), and how young the sign-in that achieves it must be.

    Attributes:
        since: it must be later than this instant, whatever its age: somebody is asked once more.
    """

    id: str
    max_age_s: int | None = None
    since: Instant | None = None

    @property
    def age_s(self) -> int | None:
        """The bound on the age of the sign-in, if there is one."""
        return FRESH_S if self.id == FRESH_SIGN_IN and self.max_age_s is None else self.max_age_s


def is_met(need: Need | None, session: Session, now: Instant) -> bool:
    """Return whether a session has what is needed already."""
    if need is None:
        return True
    if need.since is not None and session.auth_at < need.since:
        return False
    if need.age_s is not None and now - session.auth_at > need.age_s:
        return False
    if need.id in _LEVELS:
        return session.aal >= _LEVELS[need.id]
    return session.phishing_resistant if need.id == PASSKEY else need.id == FRESH_SIGN_IN


def methods_for(need: Need, owner: Credentials) -> frozenset[str]:
    """Return what this person can use for it: of password, totp, recovery, passkey."""
    has = owner.second_factors
    if need.id in (PASSKEY, HARDWARE_KEY):
        return has & {"passkey"}
    if need.age_s is None:
        return has
    if "totp" in has and owner.password_hash:
        return frozenset({"password"}) | (has - {"recovery"})
    if has:
        return has & {"passkey"}
    return frozenset({"password"}) if owner.password_hash else frozenset()


def providers_for(session: Session) -> tuple[str, ...]:
    """Return the sources (`oidc:corp`) through which this session was begun, and can be begun anew."""
    return tuple(method for method in session.methods if method.startswith(PROVIDERS))


def hardware_passkeys(connection: Connection, person: str, rules: PasskeyConfig) -> list[str]:
    """Return the ids of a person's passkeys that are proven to stay in hardware, under the rules of today."""
    return [
        key.id
        for key in keys.list_passkeys(connection, person)
        if passkeys.is_hardware(key.aaguid, rules, bound=key.bound)
    ]


class StepUp:
    """The typed part of step-up: password and code."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def owner(self, session: Session) -> Credentials | None:
        """Return the credentials behind a session."""
        with self._desk.ledger.store.read() as connection:
            return keys.load_credentials(connection, session.person)

    def methods(self, need: Need, owner: Credentials) -> frozenset[str]:
        """Return what this person can use for it: for a hardware key, only one that is proven to be one."""
        found = methods_for(need, owner)
        if need.id != HARDWARE_KEY or not found:
            return found
        rules = self._desk.catalogue().sources.passkeys
        with self._desk.ledger.store.read() as connection:
            return found if hardware_passkeys(connection, owner.person, rules) else frozenset()

    @property
    def hardware_listed(self) -> bool:
        """Whether any model is listed as one whose keys stay in hardware: else nobody has such a key."""
        return bool(self._desk.catalogue().sources.passkeys.hardware)

    def typed(
        self, need: Need, password: Secret[str], code: str, visit: Visit
    ) -> Wrong | TooMany | Over | SignedIn:
        """Check what was typed, all at once, so that a wrong password does not test the code."""
        session = visit.presented
        owner = self.owner(session) if session else None
        if session is None or owner is None:
            return Over()
        asked = methods_for(need, owner)
        charges = self._charges(owner.person, visit, with_password="password" in asked)
        with self._desk.ledger.entry(owner.person, "attempt a step-up", ip=visit.browser.ip) as entry:
            wait_s = self._desk.charge(entry.tx.connection, charges)
        if wait_s:
            return TooMany(wait_s)
        if "password" in asked:
            right = self._desk.hasher.check(owner.password_hash, password) is not PasswordVerdict.WRONG
        else:
            right = bool(asked & {"totp", "recovery"})
        with self._desk.ledger.entry(owner.person, f"step-up: {need.id}", ip=visit.browser.ip) as entry:
            proof = self._prove(entry, need, session, asked, code) if right else None
            if proof is None:
                entry.note("sign_in.failed", target=owner.person, why=f"step-up: {need.id}")
                return Wrong()
            self._desk.forgive(entry.tx.connection, charges)
            return SignedIn(self._desk.sessions.raise_to(entry, session, proof))

    def _charges(self, person: str, visit: Visit, *, with_password: bool) -> tuple[throttle.Charge, ...]:
        desk = self._desk
        mark = known_browser.verify_mark(desk.key, person, visit.browser.mark, desk.clock.now())
        make = throttle.password_charges if with_password else throttle.code_charges
        return make(person, visit.browser.ip, mark)

    def _prove(
        self, entry: Entry, need: Need, session: Session, asked: frozenset[str], code: str
    ) -> Proof | None:
        """Return what the session proves from now on, or None if something typed was wrong."""
        connection, now = entry.tx.connection, entry.tx.now
        owner = keys.load_credentials(connection, session.person)
        if owner is None or not owner.active_at(now):
            return None
        method: str | None = PASSWORD
        if asked & {"totp", "recovery"}:
            method = self._desk.spend_code(connection, owner, code)
        if method is None:
            return None
        if method == RECOVERY:
            self._desk.lower_trust(entry, owner.person, "recovery-code")
        if need.age_s is not None:
            methods = tuple(sorted({PASSWORD, method}))
            return Proof(methods, assess_methods(methods), now)
        methods = tuple(sorted({*session.methods, method}))
        before = Assurance(session.aal, phishing_resistant=session.phishing_resistant)
        return Proof(methods, assess_methods(methods, before), session.auth_at)

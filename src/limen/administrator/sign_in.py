"""Signing in: the shell of `sign_in_life`. Every failure has one answer (`Wrong`) and costs the same."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from limen.administrator.desk import Desk, Flow, FlowData
from limen.administrator.ledger import Entry
from limen.administrator.session_values import (
    Answer,
    Over,
    Proof,
    SecondStep,
    SignedIn,
    TooMany,
    Visit,
    Wrong,
)
from limen.administrator.sign_in_life import SignInCommand, SignInEvent, SignInState, step
from limen.administrator.step_up import hardware_passkeys
from limen.core.errors import Refused
from limen.core.secret import Secret
from limen.information.identity import known_browser, passkeys, throttle
from limen.information.identity.assurance import HARDWARE, PASSKEY, PASSWORD, RECOVERY, assess_methods
from limen.information.identity.passwords import PasswordVerdict
from limen.information.identity.throttle import Charge
from limen.store import credentials as keys
from limen.store import directory
from limen.store.credentials import Credentials

USERNAME_LENGTH_MAX = 129
AAL_OF_KNOWN_BROWSERS = 2


class Attempt:
    """One event of a sign-in, on its way through the commands that the table asks for."""

    def __init__(self, visit: Visit, *, person: str | None = None, why: str = "") -> None:
        self.visit = visit
        self.person = person
        self.why = why  # for the journal: which part failed
        self.proof: Proof | None = None
        self.flow: Flow | None = None
        self.data = FlowData()
        self.second: frozenset[str] = frozenset()
        self.token: Secret[str] | None = None
        self.challenge = ""
        self.charges: Sequence[Charge] = ()
        self.answer: Answer = Wrong()


class SignIn:
    """Password, second factor and passkey. Providers are in `upstream`, step-up in `step_up`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._commands: Mapping[SignInCommand, Callable[[Entry, Attempt, SignInState], None]] = {
            SignInCommand.OPEN_FLOW: self._open_flow,
            SignInCommand.COUNT_FAILURE: self._count_failure,
            SignInCommand.CLOSE_FLOW: self._close_flow,
            SignInCommand.NOTE_FAILURE: self._note_failure,
            SignInCommand.FORGIVE: self._forgive,
            SignInCommand.OPEN_SESSION: self._open_session,
        }

    def advance(self, entry: Entry, attempt: Attempt, state: SignInState, event: SignInEvent) -> Answer:
        """Take one step of the table, and do what it says."""
        then, commands = step(state, event)
        for command in commands:
            self._commands[command](entry, attempt, then)
        return attempt.answer

    # --- password ----------------------------------------------------------------------------------

    def password(self, username: str, password: Secret[str], visit: Visit) -> Answer:
        """Check a password. Unknown, suspended and wrong are told apart in the journal alone (law P1)."""
        desk, name = self._desk, username.strip().lower()[:USERNAME_LENGTH_MAX]
        mark = known_browser.verify_mark(desk.key, name, visit.browser.mark, desk.clock.now())
        charges = throttle.password_charges(name, visit.browser.ip, mark)
        wait_s, found = self._admit(charges, name, visit)
        if wait_s:
            return TooMany(wait_s)
        verdict = desk.hasher.check(found.password_hash if found else None, password)
        right = verdict is not PasswordVerdict.WRONG
        attempt = Attempt(visit, person=found.person if found else None, why=_why(found, right, desk))
        attempt.charges = charges
        attempt.data = FlowData(methods=(PASSWORD,))
        attempt.proof = Proof((PASSWORD,), assess_methods((PASSWORD,)), desk.clock.now())
        event = SignInEvent.PASSWORD_WRONG
        if found is not None and not attempt.why:
            attempt.second = found.second_factors
            event = SignInEvent.PASSWORD_RIGHT if attempt.second else SignInEvent.PASSWORD_RIGHT_ALONE
        fresh = desk.hasher.hash(password) if verdict is PasswordVerdict.RIGHT_OUTDATED else None
        with desk.ledger.entry(_actor(attempt), "sign in with a password", ip=visit.browser.ip) as entry:
            if fresh is not None and found is not None:
                keys.set_password(entry.tx.connection, found.person, fresh, entry.tx.now)
            return self.advance(entry, attempt, SignInState.BEGIN, event)

    def _admit(self, charges: Sequence[Charge], name: str, visit: Visit) -> tuple[float, Credentials | None]:
        with self._desk.ledger.entry("nobody", "attempt to sign in", ip=visit.browser.ip) as entry:
            wait_s = self._desk.charge(entry.tx.connection, charges)
            if wait_s:
                self._desk.note_throttled(entry)
                return wait_s, None
            return 0.0, keys.load_credentials(entry.tx.connection, name)

    # --- second factor -----------------------------------------------------------------------------

    def pending(self, visit: Visit) -> Credentials | None:
        """Return whose second factor is awaited in this browser."""
        with self._desk.ledger.store.read() as connection:
            flow = self._desk.find_flow(connection, visit.flow_token, SignInState.SECOND)
            return keys.load_credentials(connection, flow.person) if flow and flow.person else None

    def code(self, code: str, visit: Visit) -> Answer:
        """Check a TOTP or recovery code after a right password."""
        desk = self._desk
        owner = self.pending(visit)
        if owner is None:
            return Over()
        now = desk.clock.now()
        mark = known_browser.verify_mark(desk.key, owner.person, visit.browser.mark, now)
        charges = throttle.code_charges(owner.person, visit.browser.ip, mark)
        with desk.ledger.entry(owner.person, "sign in with a code", ip=visit.browser.ip) as entry:
            connection = entry.tx.connection
            flow = desk.find_flow(connection, visit.flow_token, SignInState.SECOND)
            current = keys.load_credentials(connection, owner.person)
            if flow is None or current is None:
                return Over()
            wait_s = desk.charge(connection, charges)
            if wait_s:
                desk.note_throttled(entry)
                return TooMany(wait_s)
            method = desk.spend_code(connection, current, code) if current.active_at(now) else None
            attempt = Attempt(visit, person=owner.person, why="code")
            attempt.flow, attempt.charges = flow, charges
            if method is not None:
                methods = tuple(sorted({*flow.data.methods, method}))
                attempt.proof = Proof(methods, assess_methods(methods), now)
                return self.advance(entry, attempt, SignInState.SECOND, SignInEvent.CODE_RIGHT)
            spent = flow.data.failures + 1 >= throttle.CODES_PER_SIGN_IN_MAX
            event = SignInEvent.CODES_SPENT if spent else SignInEvent.CODE_WRONG
            self.advance(entry, attempt, SignInState.SECOND, event)
            return Over() if spent else attempt.answer

    # --- passkey -----------------------------------------------------------------------------------

    def challenge(
        self, visit: Visit, person: str | None = None, *, hardware: bool = False
    ) -> dict[str, Any] | TooMany:
        """Return options for the browser. With `person`, only that person's passkeys will do.

        With `hardware` the browser asks only for those that are proven to stay in hardware.
        """
        desk = self._desk
        with desk.ledger.entry("nobody", "ask for a passkey", ip=visit.browser.ip) as entry:
            connection = entry.tx.connection
            wait_s = desk.charge(connection, throttle.challenge_charges(visit.browser.ip))
            if wait_s:
                return TooMany(wait_s)
            if person and hardware:
                allowed = hardware_passkeys(connection, person, desk.catalogue().sources.passkeys)
            else:
                allowed = [key.id for key in keys.list_passkeys(connection, person)] if person else []
            ceremony = passkeys.authentication_options(desk.relying_party(), allowed=allowed)
            attempt = Attempt(visit, person=person)
            attempt.challenge = ceremony.challenge
            attempt.data = FlowData(challenge=ceremony.challenge, browser=visit.form_id)
            self.advance(entry, attempt, SignInState.BEGIN, SignInEvent.CHALLENGE_ASKED)
            return ceremony.options

    def passkey(self, credential: str, visit: Visit) -> Answer:
        """Check a passkey's assertion. Its challenge is spent whatever comes of it (law I2)."""
        desk = self._desk
        with desk.ledger.entry("nobody", "sign in with a passkey", ip=visit.browser.ip) as entry:
            connection = entry.tx.connection
            wait_s = desk.charge(connection, throttle.challenge_charges(visit.browser.ip))
            if wait_s:
                return TooMany(wait_s)
            challenge = passkeys.claimed_challenge(credential)
            flow = desk.find_flow(connection, challenge, SignInState.CEREMONY)
            if flow is None or flow.data.browser != visit.form_id:
                return Over()
            attempt = Attempt(visit, why="passkey")
            attempt.flow, attempt.challenge = flow, challenge
            try:
                attempt.person, methods = self._verify_passkey(entry, credential, flow)
            except Refused as error:
                attempt.why = "passkey: model" if error.code == "PASSKEY_MODEL" else attempt.why
                return self.advance(entry, attempt, SignInState.CEREMONY, SignInEvent.PASSKEY_WRONG)
            entry.act_as(attempt.person)
            attempt.proof = Proof(methods, assess_methods(methods), entry.tx.now)
            return self.advance(entry, attempt, SignInState.CEREMONY, SignInEvent.PASSKEY_RIGHT)

    def _verify_passkey(self, entry: Entry, credential: str, flow: Flow) -> tuple[str, tuple[str, ...]]:
        """Return whose passkey it is, and the methods that it is worth under the rules of today."""
        connection, now = entry.tx.connection, entry.tx.now
        assertion = passkeys.parse_assertion(credential)
        key = keys.load_passkey(connection, assertion.id)
        owner = keys.load_by_handle(connection, assertion.user_handle)
        if key is None or owner is None or key.person != owner.person or not owner.active_at(now):
            raise Refused("Not a passkey of anybody here.")
        if flow.person not in (None, owner.person):
            raise Refused("Somebody else's passkey.")
        use = passkeys.verify_assertion(
            self._desk.relying_party(),
            assertion,
            challenge=flow.data.challenge,
            public_key=key.public_key,
            sign_count=key.sign_count,
        )
        spent = keys.spend_passkey_use(
            connection, key, sign_count=use.sign_count, backed_up=use.backed_up, at=now
        )
        if not spent:
            raise Refused("The passkey was used elsewhere at the same time.")
        rules = self._desk.catalogue().sources.passkeys
        if not passkeys.counts(key.aaguid, rules, attested=key.attested):
            raise Refused("A model that is not accepted any more.", code="PASSKEY_MODEL")
        hardware = passkeys.is_hardware(key.aaguid, rules, bound=key.bound and not use.movable)
        return owner.person, (HARDWARE, PASSKEY) if hardware else (PASSKEY,)

    # --- commands of the table -----------------------------------------------------------------------

    def _open_flow(self, entry: Entry, attempt: Attempt, then: SignInState) -> None:
        connection = entry.tx.connection
        if then is SignInState.CEREMONY:  # a challenge stands beside a flow under way
            life_s = float(passkeys.CEREMONY_S)
            self._desk.open_flow(
                connection, then, person=attempt.person, data=attempt.data, life_s=life_s,
                token=attempt.challenge,
            )  # fmt: skip
            return
        self._desk.close_flow(connection, attempt.visit.flow_token)
        token, _ = self._desk.open_flow(connection, then, person=attempt.person, data=attempt.data)
        attempt.token = token
        attempt.answer = SecondStep(token, attempt.second)

    def _count_failure(self, entry: Entry, attempt: Attempt, _: SignInState) -> None:
        assert attempt.flow is not None
        data = msgspec.structs.replace(attempt.flow.data, failures=attempt.flow.data.failures + 1)
        self._desk.save_flow(entry.tx.connection, msgspec.structs.replace(attempt.flow, data=data))

    def _close_flow(self, entry: Entry, attempt: Attempt, then: SignInState) -> None:
        self._desk.close_flow(entry.tx.connection, attempt.challenge)
        if then is SignInState.DONE or not attempt.challenge:
            self._desk.close_flow(entry.tx.connection, attempt.visit.flow_token)

    def _note_failure(self, entry: Entry, attempt: Attempt, _: SignInState) -> None:
        entry.note("sign_in.failed", target=attempt.person or "", why=attempt.why)

    def _forgive(self, entry: Entry, attempt: Attempt, _: SignInState) -> None:
        self._desk.forgive(entry.tx.connection, attempt.charges)

    def _open_session(self, entry: Entry, attempt: Attempt, _: SignInState) -> None:
        person, proof = attempt.person, attempt.proof
        assert person is not None and proof is not None
        visit = attempt.visit
        opened = self._desk.sessions.settle(entry, person, proof, visit.browser, visit.presented)
        directory.note_signed_in(entry.tx.connection, person, entry.tx.now)
        if RECOVERY in proof.methods:
            self._desk.lower_trust(entry, person, "recovery-code")
        entry.note("sign_in.succeeded", target=person, session=opened.session.id,
                   methods=list(proof.methods), aal=proof.assurance.aal)  # fmt: skip
        earned = proof.assurance.aal >= AAL_OF_KNOWN_BROWSERS
        mark = known_browser.mint_mark(self._desk.key, person, entry.tx.now) if earned else ""
        attempt.answer = SignedIn(opened, mark)


def _why(found: Credentials | None, right: bool, desk: Desk) -> str:
    """Return which part of a password attempt failed, for the journal; empty if none did."""
    if found is None:
        return "unknown"
    if not right:
        return "password"
    return "" if found.active_at(desk.clock.now()) else "inactive"


def _actor(attempt: Attempt) -> str:
    return attempt.person or "nobody"

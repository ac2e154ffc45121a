"""Enrolment through a one-time link: a password, a second factor, recovery codes, signed in."""

import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from limen.administrator import links
from limen.administrator.desk import Desk, Flow, FlowData, seal_context
from limen.administrator.enrolment_life import EnrolmentEvent, EnrolmentState
from limen.administrator.enrolment_work import EnrolmentShell, Work
from limen.administrator.ledger import Entry
from limen.administrator.session_values import Over, SignedIn, TooMany, Visit, Wrong
from limen.core.errors import Invalid
from limen.core.secret import Secret
from limen.core.tokens import token_hash
from limen.information.identity import passkeys, throttle, totp
from limen.information.identity.assurance import PASSKEY, PASSWORD, TOTP
from limen.information.identity.passwords import PasswordVerdict, parse_new_password
from limen.store import credentials as keys
from limen.store import sign_ins
from limen.store.credentials import StoredPasskey
from limen.store.directory.fields import parse_email, parse_name, parse_username

PASSKEY_NAME_LENGTH_MAX = 64
PENDING = (EnrolmentState.CHOOSE, EnrolmentState.TOTP, EnrolmentState.PASSKEY)

T = TypeVar("T")


class Invitation(msgspec.Struct, frozen=True):
    """What an open link is for. `knows_password`: it is asked for rather than set."""

    purpose: str
    person: str | None
    name: str
    knows_password: bool


class Pending(msgspec.Struct, frozen=True):
    """An enrolment under way, as its page needs it. `secret` is there while an app is being paired."""

    state: EnrolmentState
    username: str
    name: str
    secret: Secret[str] | None = None
    uri: Secret[str] | None = None


class FirstStep(msgspec.Struct, frozen=True):
    """The form of the first step. `username`, `name`, `email` count for the first administrator."""

    password: Secret[str]
    again: Secret[str]
    username: str = ""
    name: str = ""
    email: str = ""


class Enrolment:
    """Sets up sign-in for whoever holds a link."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shell = EnrolmentShell(desk)

    # --- the first step ------------------------------------------------------------------------------

    def look(self, token: str) -> Invitation | None:
        """Return what a link is for; None if it is used, over, or was never made. Looking spends nothing."""
        with self._desk.ledger.store.read() as connection:
            now = self._desk.clock.now()
            link = sign_ins.load_link(connection, token_hash(token), now)
            owner = keys.load_credentials(connection, link.person) if link and link.person else None
        if link is None:
            return None
        if link.person is None:
            return Invitation(link.purpose, None, "", knows_password=False)
        if owner is None or not owner.active_at(now):
            return None
        knows = owner.password_hash is not None and link.purpose != links.RESET
        return Invitation(link.purpose, owner.person, owner.name, knows)

    def begin(self, token: str, form: FirstStep, visit: Visit) -> Over | TooMany | Wrong | Secret[str]:
        """Take the first step; return the token of the flow that goes on from there.

        Raises:
            Invalid: a field does not have its form; the message says which.
        """
        desk, invitation = self._desk, self.look(token)
        with desk.ledger.entry("nobody", "open an enrolment link", ip=visit.browser.ip) as entry:
            charges = throttle.address_charges(visit.browser.ip)
            if invitation is not None and invitation.knows_password and invitation.person:
                charges = throttle.code_charges(invitation.person, visit.browser.ip, None)
            wait_s = desk.charge(entry.tx.connection, charges)
        if wait_s:
            return TooMany(wait_s)
        if invitation is None:
            return Over()
        hashed = self._check(invitation, form) if invitation.knows_password else self._set(invitation, form)
        if hashed is None:
            return Wrong()
        data = FlowData(
            methods=(PASSWORD,),
            link=token_hash(token),
            purpose=invitation.purpose,
            name=parse_name(form.name),
            email=form.email,
            password_hash=hashed,
            handle=secrets.token_hex(32),
        )
        person = invitation.person or form.username
        with desk.ledger.entry(person, "begin enrolment", ip=visit.browser.ip) as entry:
            work = Work(visit, Flow("", EnrolmentState.LINK, person, data, 0.0))
            self._shell.advance(entry, work, EnrolmentEvent.PASSWORD_GIVEN)
        assert work.token is not None
        return work.token

    def _check(self, invitation: Invitation, form: FirstStep) -> str | None:
        """Return an empty hash (the password stays) if the password is right, else None."""
        assert invitation.person is not None
        with self._desk.ledger.store.read() as connection:
            owner = keys.load_credentials(connection, invitation.person)
        verdict = self._desk.hasher.check(owner.password_hash if owner else None, form.password)
        return None if verdict is PasswordVerdict.WRONG else ""

    def _set(self, invitation: Invitation, form: FirstStep) -> str:
        """Return the hash of the new password."""
        if invitation.person is None:
            parse_username(form.username)
            parse_name(form.name)
            parse_email(form.email)
        if form.password != form.again:
            raise Invalid("The two passwords differ.", remedy="Type the same one twice.")
        who = invitation.person or form.username
        words = (who, invitation.name or form.name, self._desk.catalogue().domain)
        new = parse_new_password(form.password.reveal(), with_second_factor=True, known_words=words)
        return self._desk.hasher.hash(new)

    # --- the second step -----------------------------------------------------------------------------

    def pending(self, visit: Visit) -> Pending | None:
        """Return the enrolment under way in this browser."""
        with self._desk.ledger.store.read() as connection:
            flow = self._desk.find_flow(connection, visit.flow_token, *PENDING)
        if flow is None or flow.person is None:
            return None
        state = EnrolmentState(flow.state)
        if state is not EnrolmentState.TOTP:
            return Pending(state, flow.person, flow.data.name)
        seed = self._desk.sealer.open(flow.data.seed_sealed, seal_context(flow.person))
        uri = totp.provisioning_uri(seed, flow.person, self._desk.catalogue().domain)
        return Pending(state, flow.person, flow.data.name, seed, uri)

    def choose(self, method: str, visit: Visit) -> Over | None:
        """Choose totp or passkey; changing one's mind is fine until one is proven."""
        event = EnrolmentEvent.PASSKEY_CHOSEN if method == PASSKEY else EnrolmentEvent.TOTP_CHOSEN

        def advance(entry: Entry, work: Work) -> None:
            if not (event is EnrolmentEvent.TOTP_CHOSEN and work.flow.state == EnrolmentState.TOTP):
                self._shell.advance(entry, work, event)

        return self._with_flow(visit, "choose a second factor", advance)

    def code(self, code: str, visit: Visit) -> Over | Wrong | SignedIn:
        """Prove the pairing of an authenticator app, and finish."""

        def check(entry: Entry, work: Work) -> Over | Wrong | SignedIn:
            if work.flow.state != EnrolmentState.TOTP:
                return Over()
            seed = self._desk.sealer.open(work.flow.data.seed_sealed, seal_context(work.person))
            found = totp.accepted_step(seed, code, entry.tx.now, last_step=0)
            if found is None:
                spent = work.flow.data.failures + 1 >= throttle.CODES_PER_SIGN_IN_MAX
                event = EnrolmentEvent.CODES_SPENT if spent else EnrolmentEvent.CODE_WRONG
                self._shell.advance(entry, work, event)
                return Over() if spent else Wrong()
            work.totp_step, work.methods = found, (PASSWORD, TOTP)
            self._shell.advance(entry, work, EnrolmentEvent.CODE_RIGHT)
            assert work.signed_in is not None
            return work.signed_in

        return self._with_flow(visit, "prove the authenticator app", check)

    def passkey_options(self, visit: Visit) -> Over | dict[str, Any]:
        """Return options for the browser to make a passkey."""

        def ask(entry: Entry, work: Work) -> dict[str, Any]:
            owner = keys.load_credentials(entry.tx.connection, work.person)
            existing = keys.list_passkeys(entry.tx.connection, work.person)
            ceremony = passkeys.registration_options(
                self._desk.relying_party(),
                self._desk.catalogue().sources.passkeys,
                handle=owner.handle if owner else bytes.fromhex(work.flow.data.handle),
                username=work.person,
                name=owner.name if owner else work.flow.data.name,
                existing=[key.id for key in existing],
            )
            work.remember(challenge=ceremony.challenge)
            self._shell.advance(entry, work, EnrolmentEvent.PASSKEY_CHOSEN)
            return ceremony.options

        return self._with_flow(visit, "ask for a passkey", ask)

    def passkey(self, credential: str, name: str, visit: Visit) -> Over | SignedIn:
        """Take the new passkey, and finish.

        Raises:
            Refused: the passkey does not verify.
        """

        def take(entry: Entry, work: Work) -> Over | SignedIn:
            if work.flow.state != EnrolmentState.PASSKEY or not work.flow.data.challenge:
                return Over()
            made = passkeys.verify_registration(
                self._desk.relying_party(),
                credential,
                work.flow.data.challenge,
                self._desk.catalogue().sources.passkeys,
            )
            work.passkey = stored_passkey(made, work.person, name, entry.tx.now)
            work.methods = tuple(sorted((PASSKEY, PASSWORD)))
            work.remember(challenge="")
            self._shell.advance(entry, work, EnrolmentEvent.PASSKEY_MADE)
            assert work.signed_in is not None
            return work.signed_in

        return self._with_flow(visit, "make a passkey", take)

    # --- the codes -----------------------------------------------------------------------------------

    def codes(self, visit: Visit) -> tuple[str, ...]:
        """Return the recovery codes that are being shown to the person who has just enrolled."""
        with self._desk.ledger.store.read() as connection:
            flow = self._desk.find_flow(connection, visit.flow_token, EnrolmentState.CODES)
        if flow is None or visit.presented is None or visit.presented.person != flow.person:
            return ()
        opened = self._desk.sealer.open(flow.data.codes_sealed, f"codes:{flow.person}")
        return tuple(opened.reveal().split())

    def kept(self, visit: Visit) -> None:
        """Forget the codes in clear: the person has them."""
        with self._desk.ledger.entry("limen", "recovery codes were kept") as entry:
            flow = self._desk.find_flow(entry.tx.connection, visit.flow_token, EnrolmentState.CODES)
            if flow is not None:
                self._shell.advance(entry, Work(visit, flow), EnrolmentEvent.KEPT)

    def _with_flow(self, visit: Visit, reason: str, act: Callable[[Entry, Work], T]) -> T | Over:
        desk = self._desk
        with desk.ledger.entry("nobody", reason, ip=visit.browser.ip) as entry:
            flow = desk.find_flow(entry.tx.connection, visit.flow_token, *PENDING)
            return Over() if flow is None else act(entry, Work(visit, flow))


def passkey_name(text: str) -> str:
    """Return what a passkey is called; one without a name is called after its kind."""
    return parse_name(text, field="passkey name")[:PASSKEY_NAME_LENGTH_MAX] or "Passkey"


def stored_passkey(made: passkeys.NewPasskey, person: str, name: str, now: float) -> StoredPasskey:
    """Return the row of a new passkey."""
    return StoredPasskey(
        id=made.id,
        person=person,
        public_key=made.public_key,
        sign_count=made.sign_count,
        aaguid=made.aaguid,
        name=passkey_name(name),
        backed_up=made.backed_up,
        created_at=now,
        attested=made.attested,
        bound=made.bound,
    )

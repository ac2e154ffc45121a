"""A signed-in person's own keys: passkeys, authenticator app, recovery codes.

Laws:
    K1 keys change only under a fresh sign-in with a second factor, so a stolen session makes none.
    K2 the last second factor stays: whoever removed it could only come back by a one-time link.
"""

from typing import Any

import msgspec

from limen.administrator.desk import Desk, FlowData, seal_context
from limen.administrator.enrolment import passkey_name, stored_passkey
from limen.administrator.ledger import Entry
from limen.administrator.session_values import Over, Visit, Wrong
from limen.administrator.step_up import Need, is_met
from limen.core.errors import Conflict, Invalid, NotFound, Refused
from limen.core.identity_config import PasskeyConfig
from limen.core.secret import Secret
from limen.information.identity import passkeys, recovery, throttle, totp
from limen.store import credentials as keys
from limen.store.credentials import Credentials, StoredPasskey
from limen.store.sessions import Session

ADD_PASSKEY = "account-passkey"
PAIR_TOTP = "account-totp"


class Keys(msgspec.Struct, frozen=True):
    """What a person can sign in with."""

    passkeys: tuple[StoredPasskey, ...]
    totp: bool
    recovery_left: int
    rules: PasskeyConfig


class Pairing(msgspec.Struct, frozen=True):
    """An authenticator app that is being paired."""

    secret: Secret[str]
    uri: Secret[str]


class Authenticators:
    """Adds and removes a person's own keys. Callers have asked `lacks` first; every change asks again."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def show(self, session: Session) -> Keys:
        """Return a person's keys."""
        with self._desk.ledger.store.read() as connection:
            owner = _owner(keys.load_credentials(connection, session.person))
            found = keys.list_passkeys(connection, session.person)
        rules = self._desk.catalogue().sources.passkeys
        return Keys(found, owner.totp is not None, owner.recovery_left, rules)

    def lacks(self, session: Session) -> Need | None:
        """Return what a session must achieve before keys may change (law K1).

        Raises:
            Refused: there is no second factor yet: only a one-time link enrols the first.
        """
        with self._desk.ledger.store.read() as connection:
            owner = _owner(keys.load_credentials(connection, session.person))
        if not owner.second_factors and session.aal < 2:
            raise Refused(
                "Your first second factor is set up through a one-time link.",
                remedy="Ask an administrator for one.",
                code="LINK_NEEDED",
            )
        now = self._desk.clock.now()
        for need in (Need("second-factor"), Need("fresh-sign-in")):
            if not is_met(need, session, now):
                return need
        return None

    # --- passkeys ------------------------------------------------------------------------------------

    def passkey_options(self, session: Session, visit: Visit) -> dict[str, Any]:
        """Return options for the browser to make a passkey."""
        with self._change(session, "ask for a passkey") as entry:
            connection = entry.tx.connection
            owner = _owner(keys.load_credentials(connection, session.person))
            existing = [key.id for key in keys.list_passkeys(connection, session.person)]
            if len(existing) >= passkeys.PASSKEYS_MAX:
                raise Invalid(f"You have {len(existing)} passkeys.", remedy="Remove one first.")
            ceremony = passkeys.registration_options(
                self._desk.relying_party(),
                self._desk.catalogue().sources.passkeys,
                handle=owner.handle,
                username=owner.person,
                name=owner.name,
                existing=existing,
            )
            self._desk.open_flow(
                connection,
                ADD_PASSKEY,
                person=owner.person,
                data=FlowData(challenge=ceremony.challenge, browser=visit.form_id),
                life_s=float(passkeys.CEREMONY_S),
                token=ceremony.challenge,
            )
            return ceremony.options

    def add_passkey(self, session: Session, credential: str, name: str, visit: Visit) -> Over | None:
        """Take a new passkey.

        Raises:
            Refused: it does not verify.
        """
        challenge = passkeys.claimed_challenge(credential)
        with self._change(session, "bring a new passkey") as entry:
            flow = self._desk.find_flow(entry.tx.connection, challenge, ADD_PASSKEY)
            if flow is None or flow.person != session.person or flow.data.browser != visit.form_id:
                return Over()
            self._desk.close_flow(entry.tx.connection, challenge)  # spent, whatever comes of it
        rules = self._desk.catalogue().sources.passkeys
        made = passkeys.verify_registration(self._desk.relying_party(), credential, challenge, rules)
        with self._change(session, "add a passkey") as entry:
            row = stored_passkey(made, session.person, name, entry.tx.now)
            keys.add_passkey(entry.tx.connection, row)
            entry.note("authenticator.added", target=session.person, kind="passkey", aaguid=row.aaguid,
                       attested=row.attested, bound=row.bound)  # fmt: skip
            self._tell(entry, session, "A passkey was added")
            return None

    def rename_passkey(self, session: Session, credential_id: str, name: str) -> None:
        """Rename a passkey. A name protects nothing, so no fresh sign-in is asked for.

        Raises:
            NotFound: not one of this person's.
            Invalid: a name that is none.
        """
        words = passkey_name(name)
        with self._desk.ledger.entry(session.person, "rename a passkey", ip=session.ip) as entry:
            if not keys.rename_passkey(entry.tx.connection, session.person, credential_id, words):
                raise NotFound("This passkey is not one of yours.", remedy="Reload the page.")
            entry.note("authenticator.renamed", target=session.person, kind="passkey")

    def remove_passkey(self, session: Session, credential_id: str) -> None:
        """Remove a passkey (law K2).

        Raises:
            NotFound: not one of this person's.
            Conflict: it is the last second factor.
        """
        with self._change(session, "remove a passkey") as entry:
            if not keys.remove_passkey(entry.tx.connection, session.person, credential_id):
                raise NotFound("This passkey is not one of yours.", remedy="Reload the page.")
            self._keep_one(entry, session)
            entry.note("authenticator.removed", target=session.person, kind="passkey")
            self._tell(entry, session, "A passkey was removed")

    # --- the authenticator app -------------------------------------------------------------------------

    def start_totp(self, session: Session, visit: Visit) -> Secret[str]:
        """Begin to pair an authenticator app; return the flow's token."""
        with self._change(session, "pair an authenticator app") as entry:
            sealed = self._desk.sealer.seal(totp.new_seed(), seal_context(session.person))
            self._desk.close_flow(entry.tx.connection, visit.flow_token)
            token, _ = self._desk.open_flow(
                entry.tx.connection, PAIR_TOTP, person=session.person, data=FlowData(seed_sealed=sealed)
            )
            return token

    def pairing(self, session: Session, visit: Visit) -> Pairing | None:
        """Return the pairing under way in this browser."""
        with self._desk.ledger.store.read() as connection:
            flow = self._desk.find_flow(connection, visit.flow_token, PAIR_TOTP)
        if flow is None or flow.person != session.person:
            return None
        seed = self._desk.sealer.open(flow.data.seed_sealed, seal_context(session.person))
        return Pairing(seed, totp.provisioning_uri(seed, session.person, self._desk.catalogue().domain))

    def finish_totp(self, session: Session, code: str, visit: Visit) -> Over | Wrong | None:
        """Prove the pairing."""
        with self._change(session, "prove the authenticator app") as entry:
            connection = entry.tx.connection
            flow = self._desk.find_flow(connection, visit.flow_token, PAIR_TOTP)
            if flow is None or flow.person != session.person:
                return Over()
            seed = self._desk.sealer.open(flow.data.seed_sealed, seal_context(session.person))
            found = totp.accepted_step(seed, code, entry.tx.now, last_step=0)
            if found is None:
                failures = flow.data.failures + 1
                if failures >= throttle.CODES_PER_SIGN_IN_MAX:
                    self._desk.close_flow(connection, visit.flow_token)
                    return Over()
                data = msgspec.structs.replace(flow.data, failures=failures)
                self._desk.save_flow(connection, msgspec.structs.replace(flow, data=data))
                return Wrong()
            self._desk.close_flow(connection, visit.flow_token)
            keys.set_totp(connection, session.person, flow.data.seed_sealed, found, entry.tx.now)
            entry.note("authenticator.added", target=session.person, kind="totp")
            self._tell(entry, session, "An authenticator app was paired")
            return None

    def remove_totp(self, session: Session) -> None:
        """Unpair the authenticator app (law K2).

        Raises:
            Conflict: it is the last second factor.
        """
        with self._change(session, "unpair the authenticator app") as entry:
            if keys.remove_totp(entry.tx.connection, session.person):
                self._keep_one(entry, session)
                entry.note("authenticator.removed", target=session.person, kind="totp")
                self._tell(entry, session, "The authenticator app was removed")

    # --- recovery codes --------------------------------------------------------------------------------

    def new_codes(self, session: Session) -> tuple[Secret[str], ...]:
        """Replace the recovery codes; the new ones are shown once."""
        codes = recovery.new_codes()
        hashes = [recovery.hash_code(self._desk.key, session.person, code) for code in codes]
        with self._change(session, "replace recovery codes") as entry:
            keys.replace_recovery_codes(entry.tx.connection, session.person, hashes)
            entry.note("authenticator.added", target=session.person, kind="recovery")
            self._tell(entry, session, "New recovery codes were made")
        return codes

    # --- inside ----------------------------------------------------------------------------------------

    def _change(self, session: Session, reason: str) -> Any:
        lacking = self.lacks(session)
        if lacking is not None:
            raise Refused("This needs a fresh sign-in.", remedy="Sign in again.", code="STEP_UP_NEEDED")
        return self._desk.ledger.entry(session.person, reason, ip=session.ip)

    def _tell(self, entry: Entry, session: Session, what: str) -> None:
        self._desk.notices.queue(
            entry, session.person, "enrolment", what=what, when_at=entry.tx.now, ip=session.ip
        )

    def _keep_one(self, entry: Entry, session: Session) -> None:
        owner = _owner(keys.load_credentials(entry.tx.connection, session.person))
        if not owner.second_factors:
            raise Conflict(
                "This is your last second factor.", remedy="Add another one first.", code="LAST_FACTOR"
            )


def _owner(found: Credentials | None) -> Credentials:
    if found is None:
        raise Conflict("This session is over.", remedy="Sign in again.", code="SESSION_ENDED")
    return found

"""The commands of `enrolment_life`: what one step of an enrolment writes."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from limen.administrator import links
from limen.administrator.desk import Desk, Flow, seal_context
from limen.administrator.enrolment_life import EnrolmentCommand, EnrolmentEvent, EnrolmentState, step
from limen.administrator.ledger import Entry
from limen.administrator.session_life import SessionEvent
from limen.administrator.session_values import Opened, Proof, SignedIn, Visit
from limen.core.errors import Conflict
from limen.core.secret import Secret
from limen.information.identity import known_browser, recovery, totp
from limen.information.identity.assurance import assess_methods
from limen.store import credentials as keys
from limen.store import directory, recoveries, sign_ins
from limen.store import sessions as session_rows
from limen.store.credentials import StoredPasskey

FLOW_S = links.LINK_S  # the link itself is looked at again at the end


class Work:
    """One event of an enrolment, on its way through the commands that the table asks for."""

    def __init__(self, visit: Visit, flow: Flow) -> None:
        self.visit = visit
        self.flow = flow
        self.totp_step = 0
        self.passkey: StoredPasskey | None = None
        self.methods: tuple[str, ...] = ()
        self.token: Secret[str] | None = None
        self.signed_in: SignedIn | None = None
        self.came_back = False
        """They could sign in before: this is a recovery (law T1 of `lowered_trust`)."""

    @property
    def person(self) -> str:
        """Whose sign-in is set up."""
        assert self.flow.person is not None
        return self.flow.person

    def remember(self, **changes: Any) -> None:
        """Change what the flow remembers; `SAVE_FLOW` stores it."""
        data = msgspec.structs.replace(self.flow.data, **changes)
        self.flow = msgspec.structs.replace(self.flow, data=data)


class EnrolmentShell:
    """Takes steps of the table and does what it says."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._commands: Mapping[EnrolmentCommand, Callable[[Entry, Work], None]] = {
            EnrolmentCommand.OPEN_FLOW: self._open_flow,
            EnrolmentCommand.MAKE_SEED: self._make_seed,
            EnrolmentCommand.COUNT_FAILURE: self._count_failure,
            EnrolmentCommand.SPEND_LINK: self._spend_link,
            EnrolmentCommand.STORE_PERSON: self._store_person,
            EnrolmentCommand.STORE_PASSWORD: self._store_password,
            EnrolmentCommand.STORE_TOTP: self._store_totp,
            EnrolmentCommand.STORE_PASSKEY: self._store_passkey,
            EnrolmentCommand.MAKE_CODES: self._make_codes,
            EnrolmentCommand.OPEN_SESSION: self._open_session,
            EnrolmentCommand.SAVE_FLOW: self._save_flow,
            EnrolmentCommand.CLOSE_FLOW: self._close_flow,
        }

    def advance(self, entry: Entry, work: Work, event: EnrolmentEvent) -> None:
        """Take one step of the table, and do what it says."""
        then, commands = step(EnrolmentState(work.flow.state), event)
        work.flow = msgspec.structs.replace(work.flow, state=then)
        for command in commands:
            self._commands[command](entry, work)

    def _open_flow(self, entry: Entry, work: Work) -> None:
        connection, flow = entry.tx.connection, work.flow
        self._desk.close_flow(connection, work.visit.flow_token)
        work.token, work.flow = self._desk.open_flow(
            connection, flow.state, person=flow.person, data=flow.data, life_s=FLOW_S
        )

    def _make_seed(self, _: Entry, work: Work) -> None:
        work.remember(seed_sealed=self._desk.sealer.seal(totp.new_seed(), seal_context(work.person)))

    def _count_failure(self, _: Entry, work: Work) -> None:
        work.remember(failures=work.flow.data.failures + 1)

    def _spend_link(self, entry: Entry, work: Work) -> None:
        """Law E1. Whoever comes second, or too late, has stored nothing."""
        if not sign_ins.spend_link(entry.tx.connection, work.flow.data.link, entry.tx.now):
            raise Conflict(
                "This link was used already, or its hour is over.",
                remedy="Ask for a new one.",
                code="LINK_OVER",
            )

    def _store_person(self, entry: Entry, work: Work) -> None:
        data, connection = work.flow.data, entry.tx.connection
        before = keys.load_credentials(connection, work.person)
        came_back = before is not None and bool(before.second_factors or before.password_hash)
        if data.purpose == links.RESET or (before is not None and before.second_factors):
            work.came_back = came_back
        if data.purpose == links.RESET:
            keys.remove_all(connection, work.person)
            entry.note("authenticator.removed", target=work.person, kind="all", by="reset")
            for session in session_rows.list_sessions(connection, work.person):
                self._desk.sessions.end_in(entry, session.id, SessionEvent.REVOKE, "sign-in was reset")
        if data.purpose != links.FIRST_ADMIN:
            return
        if keys.anybody(connection):
            raise Conflict("Somebody administers this system already.", remedy="Ask them.", code="LINK_OVER")
        directory.create_person(entry.tx, work.person, name=data.name, email=data.email)
        keys.set_handle(connection, work.person, bytes.fromhex(data.handle))
        if all(group.id != links.ADMIN_GROUP for group in directory.list_groups(connection)):
            directory.create_group(entry.tx, links.ADMIN_GROUP)
        directory.add_member(entry.tx, links.ADMIN_GROUP, work.person)
        entry.note("person.created", target=work.person, by="first administrator's link")

    def _store_password(self, entry: Entry, work: Work) -> None:
        if work.flow.data.password_hash:
            keys.set_password(entry.tx.connection, work.person, work.flow.data.password_hash, entry.tx.now)

    def _store_totp(self, entry: Entry, work: Work) -> None:
        keys.set_totp(
            entry.tx.connection, work.person, work.flow.data.seed_sealed, work.totp_step, entry.tx.now
        )

    def _store_passkey(self, entry: Entry, work: Work) -> None:
        assert work.passkey is not None
        keys.add_passkey(entry.tx.connection, work.passkey)

    def _make_codes(self, entry: Entry, work: Work) -> None:
        codes = recovery.new_codes()
        hashes = [recovery.hash_code(self._desk.key, work.person, code) for code in codes]
        keys.replace_recovery_codes(entry.tx.connection, work.person, hashes)
        shown = Secret(" ".join(code.reveal() for code in codes))
        work.remember(
            codes_sealed=self._desk.sealer.seal(shown, f"codes:{work.person}"),
            seed_sealed="",
            password_hash="",
        )

    def _open_session(self, entry: Entry, work: Work) -> None:
        entry.act_as(work.person)
        proof = Proof(work.methods, assess_methods(work.methods), entry.tx.now)
        presented = work.visit.presented
        if (
            presented is not None
            and work.flow.data.purpose == links.RESET
            and presented.person == work.person
        ):
            presented = None  # it has just ended
        opened: Opened = self._desk.sessions.settle(entry, work.person, proof, work.visit.browser, presented)
        directory.note_signed_in(entry.tx.connection, work.person, entry.tx.now)
        mark = known_browser.mint_mark(self._desk.key, work.person, entry.tx.now)
        work.signed_in = SignedIn(opened, mark)
        self._tell(entry, work)
        purpose = work.flow.data.purpose
        entry.note("enrolment.completed", target=work.person, methods=list(work.methods), purpose=purpose)
        entry.note("sign_in.succeeded", target=work.person, session=opened.session.id,
                   methods=list(work.methods), aal=proof.assurance.aal)  # fmt: skip

    def _tell(self, entry: Entry, work: Work) -> None:
        if work.came_back:
            recoveries.stop_recoveries(entry.tx.connection, work.person)
            self._desk.lower_trust(entry, work.person, "reset")
            return
        what = "Your sign-in was set up"
        self._desk.notices.queue(
            entry, work.person, "enrolment", what=what, when_at=entry.tx.now, ip=entry.ip
        )

    def _save_flow(self, entry: Entry, work: Work) -> None:
        self._desk.save_flow(entry.tx.connection, work.flow)

    def _close_flow(self, entry: Entry, work: Work) -> None:
        self._desk.close_flow(entry.tx.connection, work.visit.flow_token)

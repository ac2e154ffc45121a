"""Sessions: begun, raised, carried to apps, ended. The table is in `session_life`; this is its shell.

A token is random and only its hash is stored. It says the feed position of the change that made it
good, so a gateway that is not there yet knows to wait (law F4).
"""

import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping

import msgspec
from sqlalchemy import Connection

from limen.administrator.ledger import Entry, Ledger
from limen.administrator.session_life import SessionCommand, SessionEvent, SessionState, step
from limen.administrator.session_values import Browser, Destination, Opened, Proof
from limen.core.catalogue import CONNECT_APP, Catalogue
from limen.core.clock import Clock
from limen.core.errors import Conflict, Invalid, LimenError, NotFound
from limen.core.ids import Instant, TokenHash, new_id
from limen.core.secret import Secret
from limen.core.tokens import mint_token, token_hash, verify_token
from limen.store import sessions as rows
from limen.store.database import Transaction
from limen.store.sessions import AppSession, ExchangeCode, Session

CODE_S = 60.0  # an exchange code's life: one redirect
TOKEN_S = 3600.0  # a client token's life, never longer than its session's
TOKENS_MAX = 50  # live client tokens below one session
ENDED_KEPT_S = 30 * 86_400.0  # ended sessions are listed in the history for this long
SEEN_EVERY_S = 60.0  # last-seen is written no more often than this
USER_AGENT_LENGTH_MAX = 255


class Sessions:
    """The session life cycle. `catalogue` is asked each time: the bundle may change."""

    def __init__(
        self, ledger: Ledger, clock: Clock, token_key: bytes, catalogue: Callable[[], Catalogue]
    ) -> None:
        self.ledger = ledger
        self._clock = clock
        self._key = token_key
        self._catalogue = catalogue

    # --- finding -----------------------------------------------------------------------------------

    def find(self, token: str) -> Session | None:
        """Return the live session of a token, or None; rubbish never reaches the database."""
        try:
            verified = verify_token(self._key, token)
        except LimenError:
            return None
        now = self._clock.now()
        with self.ledger.store.read() as connection:
            found = rows.find_session(connection, verified.hash, now)
        return found if found is not None and self._live(found, now) else None

    def load_live(self, connection: Connection, session_id: str) -> Session | None:
        """Return a session by its id, if it is live."""
        found = rows.load_session(connection, session_id)
        return found if found is not None and self._live(found, self._clock.now()) else None

    def see(self, session: Session) -> None:
        """Note that a session is in use."""
        now = self._clock.now()
        if now - session.seen_at >= SEEN_EVERY_S:
            self.note_seen({session.id: now})

    def note_seen(self, seen: Mapping[str, Instant]) -> None:
        """Note when sessions were last in use, as gateways report it.

        Never later than now: a gateway whose clock is ahead, or that lies, would keep sessions from going
        idle long after it was removed.
        """
        if seen:
            with self.ledger.store.transaction("limen", "sessions in use") as tx:
                rows.note_seen(tx.connection, {one: min(at, tx.now) for one, at in seen.items()})

    def list_live(self, person: str | None = None) -> tuple[tuple[Session, tuple[AppSession, ...]], ...]:
        """Return live sessions with their children, newest first."""
        now = self._clock.now()
        with self.ledger.store.read() as connection:
            found = [s for s in rows.list_sessions(connection, person) if self._live(s, now)]
            return tuple((s, rows.list_app_sessions(connection, s.id)) for s in found)

    # --- beginning and raising ---------------------------------------------------------------------

    def start(self, entry: Entry, person: str, proof: Proof, browser: Browser) -> Opened:
        """Begin a session. Its token is new whatever the browser presented."""
        step(SessionState.NEW, SessionEvent.SIGN_IN)
        token, hashed = self._mint(entry.tx)
        now = entry.tx.now
        session = Session(
            id=new_id("ses"),
            token_hash=hashed,
            person=person,
            state=SessionState.ACTIVE,
            aal=proof.assurance.aal,
            phishing_resistant=proof.assurance.phishing_resistant,
            methods=proof.methods,
            started_at=now,
            auth_at=proof.auth_at,
            seen_at=now,
            expires_at=now + self._catalogue().session_max_s,
            ip=browser.ip,
            user_agent=browser.user_agent[:USER_AGENT_LENGTH_MAX],
        )
        rows.add_session(entry.tx, session)
        return Opened(session, token)

    def raise_to(self, entry: Entry, session: Session, proof: Proof) -> Opened:
        """Give a session what a step-up has proven, under a new token; the old one overlaps 15 s."""
        current = self._reload(entry, session)
        step(SessionState(current.state), SessionEvent.STEP_UP)
        token, hashed = self._mint(entry.tx)
        raised = msgspec.structs.replace(
            current,
            token_hash=hashed,
            old_token_hash=current.token_hash,
            rotated_at=entry.tx.now,
            aal=proof.assurance.aal,
            phishing_resistant=proof.assurance.phishing_resistant,
            methods=proof.methods,
            auth_at=proof.auth_at,
            seen_at=entry.tx.now,
        )
        rows.save_session(entry.tx, raised)
        entry.note("session.stepped_up", target=session.id, aal=raised.aal, methods=list(raised.methods))
        return Opened(raised, token)

    def settle(
        self, entry: Entry, person: str, proof: Proof, browser: Browser, presented: Session | None
    ) -> Opened:
        """Begin a session, or raise the one that this browser has for the same person.

        A browser has one session: that of somebody else ends.
        """
        if presented is not None and presented.person == person:
            return self.raise_to(entry, presented, proof)
        if presented is not None:
            self.end_in(entry, presented.id, SessionEvent.REPLACE, "signed in anew in the same browser")
        return self.start(entry, person, proof, browser)

    # --- to an app ---------------------------------------------------------------------------------

    def issue_code(self, session: Session, destination: Destination) -> Secret[str]:
        """Return a one-time code that opens `destination.app` for the browser whose nonce it names."""
        code = Secret(secrets.token_urlsafe(32))
        with self.ledger.store.transaction(session.person, f"go on to {destination.app}") as tx:
            rows.add_code(
                tx.connection,
                ExchangeCode(
                    code_hash=token_hash(code.reveal()),
                    session=session.id,
                    app=destination.app,
                    nonce_hash=destination.nonce_hash,
                    return_to=destination.return_to,
                    cure=destination.cure,
                    expires_at=tx.now + CODE_S,
                ),
            )
        return code

    def redeem_code(
        self, code: str, *, app: str, nonce: str, replaces: str = ""
    ) -> tuple[Secret[str], ExchangeCode] | None:
        """Return the app's token for a code, or None. The code is spent either way.

        Args:
            nonce: the flow cookie of the browser that brings the code.
            replaces: the app token that the browser holds already; it overlaps 15 s.
        """
        with self.ledger.entry("limen", f"open {app}") as entry:
            found = rows.spend_code(entry.tx.connection, token_hash(code))
            if found is None or found.app != app or found.expires_at <= entry.tx.now:
                return None
            # Without a flow cookie no browser asked: a code may have been made for the hash of nothing.
            if not nonce or not hmac.compare_digest(found.nonce_hash, token_hash(nonce)):
                return None
            parent = rows.load_session(entry.tx.connection, found.session)
            if parent is None or not self._live(parent, entry.tx.now):
                return None
            self._overlap_app_token(entry, replaces, parent)
            token, _ = self._open_child(entry, parent, app, kind="cookie", expires_at=parent.expires_at)
            return token, found

    def issue_token(self, session: Session, app: str, name: str) -> tuple[Secret[str], AppSession]:
        """Return a short-lived token of one app for automation; it ends with its session.

        Raises:
            NotFound: there is no such app.
            Invalid: too many live tokens.
        """
        if app not in self._catalogue().apps:
            raise NotFound(f"There is no app named {app!r}.", remedy="Choose one of your apps.")
        with self.ledger.entry(session.person, f"make a token for {app}", ip=session.ip) as entry:
            parent = self._reload(entry, session)
            live = [c for c in rows.list_app_sessions(entry.tx.connection, parent.id) if c.kind == "token"]
            if len(live) >= TOKENS_MAX:
                raise Invalid(f"This session has {len(live)} tokens.", remedy="Revoke one first.")
            ends = min(parent.expires_at, entry.tx.now + TOKEN_S)
            token, row = self._open_child(entry, parent, app, kind="token", expires_at=ends, name=name)
            entry.note("token.created", target=parent.id, app=app, name=name, expires_at=ends)
            return token, row

    # --- to services, for a program ------------------------------------------------------------------

    def redeem_program(
        self, code: str, *, verifier: str, redirect_uri: str, ip: str
    ) -> tuple[Secret[str], Instant] | None:
        """Return a program's token and its end for a code, or None. The code is spent either way."""
        with self.ledger.entry("limen", "sign in a program", ip=ip) as entry:
            found = rows.spend_code(entry.tx.connection, token_hash(code))
            if found is None or found.app != CONNECT_APP or found.expires_at <= entry.tx.now:
                return None
            if found.return_to != redirect_uri or not hmac.compare_digest(
                found.nonce_hash, token_hash(verifier)
            ):
                return None
            return self.open_program(entry, found.session, "limen login")

    def open_program(self, entry: Entry, session_id: str, name: str) -> tuple[Secret[str], Instant] | None:
        """Give a program a token below a session, as long-lived as it; None when the session is over."""
        parent = rows.load_session(entry.tx.connection, session_id)
        if parent is None or not self._live(parent, entry.tx.now):
            return None
        entry.act_as(parent.person)
        live = [c for c in rows.list_app_sessions(entry.tx.connection, parent.id) if c.app == CONNECT_APP]
        if len(live) >= TOKENS_MAX:
            rows.remove_app_session(entry.tx, live[0])  # the oldest program signs in again
            _note_ended(entry, live[0], parent.person, "displaced")
        token, row = self._open_child(
            entry, parent, CONNECT_APP, kind="token", expires_at=parent.expires_at, name=name
        )
        entry.note(
            "connect.signed_in",
            target=parent.id,
            person=parent.person,
            client=name,
            expires_at=row.expires_at,
        )
        return token, row.expires_at

    def find_program(self, token: str) -> tuple[Session, Instant] | None:
        """Return the live session of a program's token, and the token's end."""
        found = self._program(token)
        now = self._clock.now()
        if found is None or now >= found.expires_at:
            return None
        with self.ledger.store.read() as connection:
            parent = rows.load_session(connection, found.parent)
        return (parent, found.expires_at) if parent is not None and self._live(parent, now) else None

    def end_program(self, token: str) -> None:
        """End a program's token, if it is one."""
        found = self._program(token)
        if found is None:
            return
        with self.ledger.entry("limen", "sign out a program") as entry:
            parent = rows.load_session(entry.tx.connection, found.parent)
            rows.remove_app_session(entry.tx, found)
            _note_ended(entry, found, parent.person if parent else "", "sign-out")

    def _program(self, token: str) -> AppSession | None:
        try:
            verified = verify_token(self._key, token)
        except LimenError:
            return None
        with self.ledger.store.read() as connection:
            found = rows.load_app_session(connection, verified.hash)
        return found if found is not None and found.app == CONNECT_APP else None

    # --- ending ------------------------------------------------------------------------------------

    def end(self, session_id: str, event: SessionEvent, *, actor: str, why: str) -> bool:
        """End a session and its children; return whether it was active."""
        with self.ledger.entry(actor, why) as entry:
            return self.end_in(entry, session_id, event, why)

    def end_person(self, person: str, *, actor: str, why: str, event: SessionEvent) -> int:
        """End every session of a person; return how many."""
        with self.ledger.entry(actor, why) as entry:
            found = rows.list_sessions(entry.tx.connection, person)
            return sum(self.end_in(entry, session.id, event, why) for session in found)

    def end_in(self, entry: Entry, session_id: str, event: SessionEvent, why: str) -> bool:
        """End a session inside an entry; return whether it was active."""
        session = rows.load_session(entry.tx.connection, session_id)
        if session is None:
            return False
        _, commands = step(SessionState(session.state), event)
        if SessionCommand.TOMBSTONE not in commands:
            return False
        rows.end_session(entry.tx, session, why)
        entry.note("session.ended", target=session.id, person=session.person, by=event.value)
        return True

    def end_child(self, person: str, token_hash: str, *, actor: str) -> bool:
        """End one app session of a person; return whether it was there and theirs."""
        with self.ledger.entry(actor, "end an app session") as entry:
            child = rows.load_app_session(entry.tx.connection, token_hash)
            parent = rows.load_session(entry.tx.connection, child.parent) if child else None
            if child is None or parent is None or parent.person != person:
                return False
            rows.remove_app_session(entry.tx, child)
            _note_ended(entry, child, parent.person, "revoke")
            return True

    def sweep(self) -> int:
        """End what time has ended; return how many sessions. Call it every half minute or so."""
        idle_s = self._catalogue().session_idle_s
        now = self._clock.now()
        with self.ledger.store.read() as connection:
            over = rows.list_over(connection, now, idle_s)
            children = rows.list_over_app_sessions(connection, now)
        for session in over:
            event = SessionEvent.EXPIRE if session.expires_at <= now else SessionEvent.IDLE
            self.end(session.id, event, actor="limen", why=f"the session is over: {event}")
        with self.ledger.store.transaction("limen", "sweep sessions") as tx:
            for child in children:
                rows.remove_app_session(tx, child)
            rows.purge_codes(tx.connection, now)
            rows.forget_ended(tx.connection, now - ENDED_KEPT_S)
        return len(over)

    # --- inside ------------------------------------------------------------------------------------

    def _live(self, session: Session, now: Instant) -> bool:
        idle = now - session.seen_at >= self._catalogue().session_idle_s
        return session.state == SessionState.ACTIVE and now < session.expires_at and not idle

    def _reload(self, entry: Entry, session: Session) -> Session:
        found = rows.load_session(entry.tx.connection, session.id)
        if found is None or not self._live(found, entry.tx.now):
            raise Conflict("This session is over.", remedy="Sign in again.", code="SESSION_ENDED")
        return found

    def _mint(self, tx: Transaction) -> tuple[Secret[str], TokenHash]:
        return mint_token(self._key, tx.next_seq())

    def _open_child(
        self, entry: Entry, parent: Session, app: str, *, kind: str, expires_at: Instant, name: str = ""
    ) -> tuple[Secret[str], AppSession]:
        step(SessionState(parent.state), SessionEvent.OPEN_APP)
        token, hashed = self._mint(entry.tx)
        row = AppSession(hashed, parent.id, app, kind, name, entry.tx.now, expires_at)
        rows.add_app_session(entry.tx, row)
        return token, row

    def _overlap_app_token(self, entry: Entry, token: str, parent: Session) -> None:
        try:
            verified = verify_token(self._key, token)
        except LimenError:
            return
        old = rows.load_app_session(entry.tx.connection, verified.hash)
        if old is not None and old.kind == "cookie" and old.parent == parent.id:
            rows.shorten_app_session(entry.tx, old, entry.tx.now + rows.ROTATION_OVERLAP_S)


def apps_of(children: Iterable[AppSession]) -> tuple[str, ...]:
    """Return the apps that a session has opened, sorted."""
    return tuple(sorted({child.app for child in children}))


def _note_ended(entry: Entry, ended: AppSession, person: str, by: str) -> None:
    about = {"person": person} if person else {}
    entry.note("app_session.ended", target=ended.parent, app=ended.app, kind=ended.kind, by=by, **about)

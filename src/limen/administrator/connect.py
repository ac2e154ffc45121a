"""Signing in a program: the client of `limen connect`, by a browser on its machine or by a code.

The program gets a token that is a child of the person's own session: it ends with that session, and what
the session has proven is what it has proven. It opens services by CONNECT, and no app.

Source: RFC 8252 (native apps), RFC 7636 (PKCE, S256 only), RFC 8628 (device flow), RFC 6749 §5.2 (errors).
"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.session_values import Destination
from limen.core.catalogue import CONNECT_APP
from limen.core.errors import Conflict, Invalid, LimenError, NotFound
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.core.tokens import token_hash
from limen.information.identity import throttle
from limen.store import devices
from limen.store.devices import DeviceCode
from limen.store.sessions import Session

CLIENT_ID = "limen-connect"
SCOPE = "connect"
CODE_GRANT = "authorization_code"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

DEVICE_CODE_S = 600.0
POLL_EVERY_S = 5  # RFC 8628 §3.2
USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 §6.1: no vowels, nothing that is misread
USER_CODES = throttle.Limit(burst=7, interval_s=20)  # typed or answered by one person; a sign-in takes two
USER_CODE_LENGTH = 8  # 20^8: at the throttle's pace nobody meets a code that lives ten minutes
WAITING_PER_ADDRESS_MAX = 20
WAITING_MAX = 1_000
CLIENT_NAME_MAX = 64
QUOTES = frozenset('"“”„‟«»')
"""A program's name is shown in quotes before the address that it asks from: it may not end them itself."""
STATE_MAX = 512

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 §4.1
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


class OAuthError(LimenError):
    """An error of RFC 6749 §5.2 or RFC 8628 §3.5; `code` is its name there."""


class ConnectRequest(msgspec.Struct, frozen=True):
    """What a program asked the browser to be sent to. `challenge` is the SHA-256 in hex."""

    redirect_uri: str
    state: str
    challenge: str


class Issued(msgspec.Struct, frozen=True):
    """A token of a program."""

    token: Secret[str]
    expires_at: Instant


class DeviceStart(msgspec.Struct, frozen=True):
    """What a program shows and keeps."""

    device_code: Secret[str]
    user_code: str


def parse_connect(query: Mapping[str, str]) -> ConnectRequest:
    """Parse the query of the authorization request.

    The redirect goes to a port of the browser's own machine and nowhere else, so there is nothing to
    register (RFC 8252 §7.3).

    Raises:
        Invalid: anything else. It is shown as a page; nobody is redirected to an address that is not sure.
    """
    redirect_uri, state = query.get("redirect_uri", ""), query.get("state", "")
    challenge = query.get("code_challenge", "")
    if query.get("response_type") != "code" or query.get("client_id") != CLIENT_ID:
        raise _damaged("it does not come from `limen login`")
    if not _is_loopback(redirect_uri):
        raise _damaged("its redirect_uri is not http://127.0.0.1:PORT/callback")
    if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise _damaged("it lacks a code_challenge of method S256")
    if not state or len(state) > STATE_MAX or not _PRINTABLE.fullmatch(state):
        raise _damaged("its state is missing or too long")
    try:
        digest = base64.urlsafe_b64decode(challenge + "=")
    except binascii.Error:
        raise _damaged("its code_challenge is not base64url") from None
    return ConnectRequest(redirect_uri, state, digest.hex())


def parse_user_code(text: str) -> str:
    """Return a user code as it is stored, however it was typed."""
    return re.sub(r"[^A-Z]", "", text.upper())[:16]


def render_user_code(code: str) -> str:
    """Return a user code as people read it."""
    half = len(code) // 2
    return f"{code[:half]}-{code[half:]}"


class ConnectDesk:
    """Gives programs their tokens."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._sessions = desk.sessions

    # --- a browser on the same machine -------------------------------------------------------------

    def issue_code(self, session: Session, request: ConnectRequest) -> Secret[str]:
        """Return a one-time code that only the program with the verifier can use."""
        return self._sessions.issue_code(
            session, Destination(CONNECT_APP, request.redirect_uri, request.challenge, "")
        )

    def redeem_code(self, form: Mapping[str, str], ip: str) -> Issued:
        """Exchange a code. It is spent either way.

        Raises:
            OAuthError: it is not good, or not with this verifier or redirect_uri.
        """
        verifier = form.get("code_verifier", "")
        if not _VERIFIER.fullmatch(verifier):
            raise OAuthError("code_verifier is not one of RFC 7636.", code="invalid_request")
        redeemed = self._sessions.redeem_program(
            form.get("code", ""), verifier=verifier, redirect_uri=form.get("redirect_uri", ""), ip=ip
        )
        if redeemed is None:
            raise OAuthError("The code is not good, or was used before.", code="invalid_grant")
        return Issued(*redeemed)

    # --- a browser elsewhere -----------------------------------------------------------------------

    def start_device(
        self, client: str, ip: str, *, client_id: str = CLIENT_ID, asked: Mapping[str, Any] | None = None
    ) -> DeviceStart:
        """Begin a device flow.

        Args:
            client: what people are told that it is.
            ip: where it asks from.
            client_id: what it is; of a client of the bundle, `asked` is what it asks for.
            asked: JSON-ready.

        Raises:
            OAuthError: too many wait for an answer already.
        """
        code = Secret(secrets.token_urlsafe(32))
        letters = (secrets.choice(USER_CODE_LETTERS) for _ in range(USER_CODE_LENGTH))
        user_code = "".join(letters)
        name = "".join(c for c in client if c.isprintable() and c not in QUOTES)[:CLIENT_NAME_MAX]
        with self._desk.ledger.store.transaction("limen", "begin a device flow") as tx:
            devices.purge_devices(tx.connection, tx.now)
            waiting = [throttle.address_network(one) for one in devices.list_waiting(tx.connection, tx.now)]
            near = waiting.count(throttle.address_network(ip))
            if near >= WAITING_PER_ADDRESS_MAX or len(waiting) >= WAITING_MAX:
                raise OAuthError("Too many programs wait to be signed in.", code="slow_down")
            devices.add_device(
                tx.connection,
                DeviceCode(
                    code_hash=token_hash(code.reveal()),
                    user_code=user_code,
                    state="pending",
                    client=name.strip() or "a program",
                    ip=ip,
                    created_at=tx.now,
                    expires_at=tx.now + DEVICE_CODE_S,
                    client_id=client_id,
                    asked=asked,
                ),
            )
        return DeviceStart(code, user_code)

    def find_device(self, session: Session, typed: str) -> DeviceCode:
        """Return the program that waits under a user code.

        Raises:
            NotFound: none does.
            Conflict: this person has guessed too often.
        """
        with self._desk.ledger.store.transaction(session.person, "look up a device code") as tx:
            charges = _guesses(session)
            if self._desk.charge(tx.connection, charges) > 0:
                raise Conflict("Too many codes were tried.", remedy="Wait a minute, then type it again.")
            found = devices.find_pending(tx.connection, parse_user_code(typed), tx.now)
        if found is None:
            raise NotFound(
                "No program waits under this code.", remedy="Check the code, or run `limen login` again."
            )
        return found

    def answer_device(self, session: Session, typed: str, *, approve: bool) -> bool:
        """Store a person's answer; return whether a program still waited for it.

        A code that is answered without having been looked up first is a guess like any other.
        """
        charges = _guesses(session)
        with self._desk.ledger.entry(session.person, "answer a device code", ip=session.ip) as entry:
            if self._desk.charge(entry.tx.connection, charges) > 0:
                return False
            found = devices.find_pending(entry.tx.connection, parse_user_code(typed), entry.tx.now)
            if found is None:
                return False
            state = "approved" if approve else "denied"
            answered = devices.answer_device(
                entry.tx.connection, found, state, session.id if approve else None
            )
            if answered:
                entry.note(f"connect.device_{state}", target=session.id, client=found.client, ip=found.ip)
            return answered

    def poll_device(self, device_code: str, ip: str) -> Issued:
        """Return the token, once the person has approved.

        Raises:
            OAuthError: not yet, never, or asked too often (RFC 8628 §3.5).
        """
        failure, issued = self._poll(device_code, ip)
        if issued is None:
            raise OAuthError(f"The device flow says {failure}.", code=failure)
        return issued

    def _poll(self, device_code: str, ip: str) -> tuple[str, Issued | None]:
        with self._desk.ledger.entry("limen", "poll of a device flow", ip=ip) as entry:
            failure, found = claim_device(entry, device_code, CLIENT_ID)
            if found is None or found.session is None:
                return failure, None
            opened = self._sessions.open_program(entry, found.session, found.client)
            return ("access_denied", None) if opened is None else ("", Issued(*opened))

    # --- a token in use ----------------------------------------------------------------------------

    def find(self, token: str) -> tuple[Session, Instant] | None:
        """Return the session of a program's token and the token's end, or None."""
        return self._sessions.find_program(token)

    def revoke(self, token: str) -> None:
        """End a program's token; one that is not good is as good as ended (RFC 7009 §2.2)."""
        self._sessions.end_program(token)


def claim_device(entry: Entry, device_code: str, client_id: str) -> tuple[str, DeviceCode | None]:
    """Return what a person has approved for a client, once; or the error of RFC 8628 section 3.5.

    A code that was begun by another client is no code (section 3.4: it is bound to its client).
    """
    connection, now = entry.tx.connection, entry.tx.now
    found = devices.find_device(connection, token_hash(device_code))
    if found is None or found.client_id != client_id or now >= found.expires_at:
        return "expired_token", None
    if found.polled_at is not None and now - found.polled_at < POLL_EVERY_S - 1:
        return "slow_down", None
    devices.note_poll(connection, found, now)
    if found.state == "pending":
        return "authorization_pending", None
    devices.spend_device(connection, found)
    if found.state != "approved" or found.session is None:
        return "access_denied", None
    return "", found


def _guesses(session: Session) -> tuple[throttle.Charge, ...]:
    """Return the bucket of a person's guesses at user codes.

    A good code does not fill it up again: who guesses has a good code of their own to look up in between.
    """
    return ((f"device:{session.person}", USER_CODES),)


def _is_loopback(uri: str) -> bool:
    """Say whether an address is a port of the loopback interface (RFC 8252 §7.3), and nothing but that."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return False
    return port is not None and uri in (
        f"http://127.0.0.1:{port}/callback",
        f"http://[::1]:{port}/callback",
    )


def _damaged(why: str) -> Invalid:
    return Invalid(f"This request to sign in a program is damaged: {why}.", remedy="Run `limen login` again.")

"""What every way of signing in shares: the store, the keys, the flows under way, the buckets of attempts."""

import secrets
from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import Connection

from limen.administrator import lowered_trust
from limen.administrator.ledger import Entry, Ledger
from limen.administrator.notices import Notices
from limen.administrator.sessions import Sessions
from limen.core.catalogue import Catalogue
from limen.core.clock import Clock
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.core.tokens import token_hash
from limen.information.identity import recovery, throttle, totp
from limen.information.identity.passkeys import RelyingParty
from limen.information.identity.passwords import PasswordHasher
from limen.store import credentials, devices, sign_ins, spent
from limen.store.credentials import Credentials
from limen.store.sealing import Sealer
from limen.store.sign_ins import PendingSignIn

THROTTLED_NOTED_EVERY_S = 60.0
FLOW_S = 600.0  # from the password to the second factor, or to a provider and back


class FlowData(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a flow remembers. Nothing in clear that is worth stealing: seeds and codes are sealed."""

    methods: tuple[str, ...] = ()
    failures: int = 0
    challenge: str = ""
    browser: str = ""  # form id of the browser that a challenge was given to
    destination: str = ""
    upstream: str = ""  # sealed UpstreamFlow
    link: str = ""  # hash of the enrolment link
    purpose: str = ""
    name: str = ""
    email: str = ""
    handle: str = ""  # hex; the WebAuthn user handle of a person who is not stored yet
    password_hash: str = ""
    seed_sealed: str = ""
    codes_sealed: str = ""


class Flow(msgspec.Struct, frozen=True):
    """A sign-in, enrolment or pairing under way."""

    token_hash: str
    state: str
    person: str | None
    data: FlowData
    expires_at: Instant


class Desk:
    """Shared by the sign-in, step-up, enrolment and account services. Threads may share it."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        sealer: Sealer,
        key: bytes,
        catalogue: Callable[[], Catalogue],
        port: int,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.sealer = sealer
        self.key = key
        self.catalogue = catalogue
        self.port = port
        self.hasher = hasher or PasswordHasher()
        self.sessions = Sessions(ledger, clock, key, catalogue)
        self.notices = Notices(sealer, catalogue)
        self._throttled = 0
        self._throttled_noted_at = 0.0

    # --- who asks ----------------------------------------------------------------------------------

    @property
    def auth_origin(self) -> str:
        """The one origin of sign-in, as browsers write it."""
        return self.origin(self.catalogue().auth_host)

    def origin(self, host: str) -> str:
        """Return `https://host`, with the public port where it is not HTTPS's own."""
        return f"https://{host}" if self.port == 443 else f"https://{host}:{self.port}"

    def relying_party(self) -> RelyingParty:
        """Return whose passkeys these are: the whole domain's, used at the sign-in host alone."""
        domain = self.catalogue().domain
        return RelyingParty(id=domain, origin=self.auth_origin, name=domain)

    # --- flows -------------------------------------------------------------------------------------

    def open_flow(
        self,
        connection: Connection,
        state: str,
        *,
        person: str | None,
        data: FlowData,
        life_s: float = FLOW_S,
        token: str = "",
    ) -> tuple[Secret[str], Flow]:
        """Begin a flow under a new random token (or under a challenge of ours, which is as random)."""
        token = token or secrets.token_urlsafe(32)
        flow = Flow(token_hash(token), state, person, data, self.clock.now() + life_s)
        sign_ins.open_sign_in(connection, _row(flow))
        return Secret(token), flow

    def find_flow(self, connection: Connection, token: str, *states: str) -> Flow | None:
        """Return the flow of a token, if it is in one of these states and not over."""
        row = sign_ins.load_sign_in(connection, token_hash(token), self.clock.now()) if token else None
        if row is None or row.state not in states:
            return None
        return Flow(
            row.token_hash, row.state, row.person, msgspec.convert(row.data, FlowData), row.expires_at
        )

    def save_flow(self, connection: Connection, flow: Flow) -> None:
        """Store how a flow went on."""
        sign_ins.save_sign_in(connection, _row(flow))

    def close_flow(self, connection: Connection, token: str) -> bool:
        """End a flow; return whether it was there."""
        return bool(token) and sign_ins.close_sign_in(connection, token_hash(token))

    # --- attempts ----------------------------------------------------------------------------------

    def charge(self, connection: Connection, charges: Sequence[throttle.Charge]) -> float:
        """Take one attempt from every bucket; return 0, or how long to wait if one is empty (law H1)."""
        now = self.clock.now()
        present = sign_ins.load_buckets(connection, [key for key, _ in charges])
        taken: dict[str, Instant] = {}
        wait_s = 0.0
        for key, limit in charges:
            answer = throttle.take(limit, present.get(key), now)
            if isinstance(answer, throttle.Wait):
                wait_s = max(wait_s, answer.seconds)
            else:
                taken[key] = answer.theoretical_at
        if wait_s == 0.0:
            sign_ins.save_buckets(connection, taken)
        return wait_s

    def note_throttled(self, entry: Entry) -> None:
        """Note that attempts were refused: at most once a minute, with their number.

        Strangers can refuse themselves without end; the journal must not grow with them.
        """
        self._throttled += 1
        if entry.tx.now - self._throttled_noted_at >= THROTTLED_NOTED_EVERY_S:
            entry.note("sign_in.throttled", attempts=self._throttled)
            self._throttled, self._throttled_noted_at = 0, entry.tx.now

    def forgive(self, connection: Connection, charges: Sequence[throttle.Charge]) -> None:
        """Fill the buckets of one account up again; an address keeps its count of all accounts."""
        sign_ins.clear_buckets(connection, [key for key, _ in charges if not key.startswith("address:")])

    def lower_trust(self, entry: Entry, person: str, how: str) -> None:
        """Note that somebody came back by other means than a factor of theirs (see `lowered_trust`)."""
        lowered_trust.lower(entry, self.notices, person, how, self.catalogue().sources.recovery.lowered_s)

    # --- second factors ----------------------------------------------------------------------------

    def spend_code(self, connection: Connection, owner: Credentials, code: str) -> str | None:
        """Accept a TOTP or recovery code once; return which of the two it was."""
        now = self.clock.now()
        if totp.CODE_SHAPE.fullmatch(code.replace(" ", "")):
            if owner.totp is None:
                return None
            seed = self.sealer.open(owner.totp.seed_sealed, seal_context(owner.person))
            at_step = totp.accepted_step(seed, code, now, owner.totp.last_step)
            if at_step is None or not credentials.spend_totp_step(connection, owner.person, at_step):
                return None
            return "totp"
        parsed = recovery.parse_code(code)
        if parsed is None:
            return None
        hashed = recovery.hash_code(self.key, owner.person, parsed)
        return "recovery" if credentials.spend_recovery_code(connection, owner.person, hashed, now) else None

    def sweep(self) -> None:
        """Remove flows, links and buckets that time has made worthless, and end what is over."""
        self.sessions.sweep()
        with self.ledger.store.transaction("limen", "sweep sign-ins") as tx:
            sign_ins.purge(tx.connection, tx.now)
            devices.purge_devices(tx.connection, tx.now)
            spent.purge_spent(tx.connection, tx.now)
        with self.ledger.entry("limen", "the time of lower trust is over") as entry:
            lowered_trust.sweep(entry)


def seal_context(person: str) -> str:
    """Return what a person's TOTP seed is sealed for."""
    return f"totp:{person}"


def _row(flow: Flow) -> PendingSignIn:
    return PendingSignIn(
        flow.token_hash, flow.state, flow.person, msgspec.to_builtins(flow.data), flow.expires_at
    )

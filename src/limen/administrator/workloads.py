"""Workloads: made, stopped, and recognised by their tokens when they call from elsewhere.

Laws:
    K1 rubbish stays out. What is not a token that was issued here never reaches the database.
    K2 at once. A token that was revoked, or has expired, is refused at the next call; a workload that is
       suspended, quarantined or removed is denied by the engine at the next call.
    K3 told once. A token is returned when it is made, and never again: only its hash is kept.
"""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from limen.administrator.access_tokens import ACCESS_PREFIX, find_access
from limen.administrator.ledger import Entry, Ledger
from limen.core.clock import Clock
from limen.core.decision import SessionFacts
from limen.core.entities import Status
from limen.core.errors import Invalid, LimenError, Refused, Unavailable
from limen.core.identity_config import MachineConfig
from limen.core.ids import EntityRef, Instant
from limen.core.secret import Secret
from limen.core.tokens import mint_workload_token, verify_token, verify_workload_token
from limen.information.identity.throttle import ADDRESS, Wait, address_network, take
from limen.store import machines, workloads
from limen.store.database import Transaction
from limen.store.workloads import Workload, WorkloadToken

USE_NOTED_EVERY_S = 60.0  # a use is no change; one write a minute says enough
NETWORKS_MAX = 4_096  # networks whose failures are counted at once; the oldest is forgotten
REFUSAL_NOTED_EVERY_S = 60.0

WORDS: Mapping[Status, str] = {
    Status.ACTIVE: "released",
    Status.SUSPENDED: "suspended",
    Status.ENDED: "removed",
}


Guard = Callable[[Transaction], None]
"""Looks at a transaction that is about to be committed; what it raises undoes it."""


def unguarded(_: Transaction) -> None:
    """Let everything be."""


class TokenRefused(LimenError):
    """Nobody is behind this credential. `wait_s`: too many such came from there."""

    code = "TOKEN_INVALID"
    wait_s: float = 0.0


class Failures:
    """Refused credentials by network, as other secrets count them, but in memory (law K1).

    Nobody guesses 256 random bits; this keeps strangers from making work. What holds is looked up always,
    so that nobody's neighbour shuts them out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, Instant] = OrderedDict()
        self._lock = threading.Lock()

    def charge(self, ip: str) -> float:
        """Count one; return 0, or how long until the next would count."""
        network, now = address_network(ip), self._clock.now()
        with self._lock:
            answer = take(ADDRESS, self._buckets.get(network), now)
            if isinstance(answer, Wait):
                return answer.seconds
            self._buckets[network] = answer.theoretical_at
            self._buckets.move_to_end(network)
            if len(self._buckets) > NETWORKS_MAX:
                self._buckets.popitem(last=False)
        return 0.0


class Workloads:
    """The administration of workloads. Threads may share it.

    Args:
        key: of the tokens' MAC.
    """

    def __init__(self, ledger: Ledger, clock: Clock, key: bytes) -> None:
        self._ledger = ledger
        self._clock = clock
        self._key = key
        self._failures = Failures(clock)
        self._refusal_noted_at = 0.0

    def create(
        self,
        name: str,
        *,
        owner: str,
        description: str,
        actor: str,
        reason: str,
        expires_s: float | None = None,
        review_s: float = MachineConfig().review_s,
        guard: Guard = unguarded,
    ) -> Workload:
        """Add a workload that a person answers for.

        Args:
            name: never issued before.
            owner: the person.
            description: what it is for.
            actor, reason: for the journal.
            expires_s: after which it ends by itself; None for never.
            review_s: until its owner must say that it is still needed.
            guard: looks at the transaction before it is committed.
        """
        now = self._clock.now()
        with self._ledger.entry(actor, reason) as entry:
            made = workloads.create_workload(
                entry.tx,
                name,
                owner=owner,
                description=description,
                expires_at=None if expires_s is None else now + expires_s,
                review_at=now + review_s,
            )
            _note(entry, "created", None, made)
            guard(entry.tx)
        return made

    def review(self, name: str, *, review_s: float, actor: str, reason: str) -> Workload:
        """Say that a workload is still needed; it is asked again after `review_s`."""
        with self._ledger.entry(actor, reason) as entry:
            before = workloads.get_workload(entry.tx.connection, name)
            after = workloads.change_workload(entry.tx, name, review_at=entry.tx.now + review_s)
            _note(entry, "reviewed", before, after)
        return after

    def change(
        self, name: str, fields: Mapping[str, Any], *, actor: str, reason: str, guard: Guard = unguarded
    ) -> Workload:
        """Change owner, description, status, quarantine or `expires_at`. Its sessions end with its status."""
        with self._ledger.entry(actor, reason) as entry:
            before = workloads.get_workload(entry.tx.connection, name)
            after = workloads.change_workload(entry.tx, name, **fields)
            if after.status is not Status.ACTIVE:
                machines.end_sessions(entry.tx, name)
            for kind in _kinds(before, after):
                _note(entry, kind, before, after)
            guard(entry.tx)
        return after

    def join(self, name: str, group: str, *, actor: str, reason: str, guard: Guard = unguarded) -> Workload:
        """Put a workload into a group."""
        with self._ledger.entry(actor, reason) as entry:
            before = workloads.get_workload(entry.tx.connection, name)
            after = workloads.add_to_group(entry.tx, name, group)
            _note(entry, "group_added", before, after)
            guard(entry.tx)
        return after

    def leave(self, name: str, group: str, *, actor: str, reason: str) -> Workload:
        """Take a workload out of a group."""
        with self._ledger.entry(actor, reason) as entry:
            before = workloads.get_workload(entry.tx.connection, name)
            after = workloads.take_from_group(entry.tx, name, group)
            _note(entry, "group_removed", before, after)
        return after

    def issue(
        self, name: str, *, label: str, life_s: float, actor: str, reason: str
    ) -> tuple[Secret[str], WorkloadToken]:
        """Make a token of a workload (law K3)."""
        token, hashed = mint_workload_token(self._key)
        with self._ledger.entry(actor, reason) as entry:
            made = workloads.add_token(entry.tx, name, hashed, label=label, life_s=life_s)
            owner = workloads.get_workload(entry.tx.connection, name).owner
            about = {"token": made.id, "name": made.name, "expires_at": made.expires_at, "owner": owner}
            entry.note("workload.token_made", target=name, **about)
        return token, made

    def revoke(self, token_id: str, *, actor: str, reason: str) -> WorkloadToken:
        """End a token now."""
        with self._ledger.entry(actor, reason) as entry:
            gone = workloads.revoke_token(entry.tx, token_id)
            owner = workloads.get_workload(entry.tx.connection, gone.workload).owner
            entry.note("workload.token_revoked", target=gone.workload, token=gone.id, owner=owner)
        return gone

    # --- a token in use ----------------------------------------------------------------------------

    def authenticate(self, text: str, ip: str) -> EntityRef:
        """Return the workload that a token proves, as `identify`."""
        return self.identify(text, ip)[0]

    def identify(self, text: str, ip: str) -> tuple[EntityRef, SessionFacts | None]:
        """Return the workload that a token proves, and its session. What it may do, the engine decides.

        Args:
            text: a token that was made for the admin API, or an access token of the token endpoint.
            ip: where the call comes from.

        Raises:
            TokenRefused: it proves none.
        """
        if text.startswith(ACCESS_PREFIX):
            return self._by_access(text, ip)
        try:
            hashed = verify_workload_token(self._key, text)
        except Invalid as wrong:
            raise self._refused(ip, wrong) from None
        with self._ledger.store.read() as connection:
            found = workloads.find_token(connection, hashed)
        now = self._clock.now()
        if found is None:
            why = "This workload's token was revoked."
            raise self._refused(ip, Refused(why, remedy=_another("NAME"), code="TOKEN_REVOKED"))
        if now >= found.expires_at:
            self._note_refusal(found, ip)
            over = Refused("This token has expired.", remedy=_another(found.workload), code="TOKEN_EXPIRED")
            raise self._refused(ip, over)
        if found.used_at is None or now - found.used_at >= USE_NOTED_EVERY_S:
            self._note_use(found, now)
        return EntityRef("Workload", found.workload), None

    def _by_access(self, text: str, ip: str) -> tuple[EntityRef, SessionFacts]:
        try:
            hashed = verify_token(self._key, text).hash
            with self._ledger.store.read() as connection:
                return find_access(connection, hashed, self._clock.now())
        except (Invalid, Refused) as wrong:
            raise self._refused(ip, wrong) from None

    def _refused(self, ip: str, why: LimenError) -> TokenRefused:
        wait_s = self._failures.charge(ip)
        if wait_s == 0.0:
            return TokenRefused(why.message, remedy=why.remedy, code=why.code)
        refused = TokenRefused(
            "Too many credentials from this address were refused.",
            remedy=f"Wait {wait_s:.0f} seconds.",
            code="THROTTLED",
        )
        refused.wait_s = wait_s
        return refused

    def _note_use(self, token: WorkloadToken, now: Instant) -> None:
        """Note a use. The call goes on if that cannot be written: its decision is recorded all the same."""
        with contextlib.suppress(Unavailable), self._ledger.store.transaction("limen", "token used") as tx:
            workloads.note_use(tx.connection, token.id, now)
            machines.note_workloads_used(tx.connection, {token.workload: now})

    def _note_refusal(self, token: WorkloadToken, ip: str) -> None:
        """Record, at most once a minute, that somebody still uses a token that is over."""
        now = self._clock.now()
        if now - self._refusal_noted_at < REFUSAL_NOTED_EVERY_S:
            return
        self._refusal_noted_at = now
        with self._ledger.entry(f"workload:{token.workload}", "the token has expired", ip=ip) as entry:
            entry.note("workload.token_refused", target=token.workload, token=token.id)


def _kinds(before: Workload, after: Workload) -> tuple[str, ...]:
    kinds = []
    if before.status is not after.status:
        kinds.append(WORDS[after.status])
    if before.quarantined != after.quarantined:
        kinds.append("quarantined" if after.quarantined else "released")
    fields = ("owner", "description", "expires_at")
    if any(getattr(before, name) != getattr(after, name) for name in fields):
        kinds.append("changed")
    return tuple(dict.fromkeys(kinds))


def _note(entry: Entry, kind: str, before: Workload | None, after: Workload) -> None:
    told = None if before is None else msgspec.to_builtins(before)
    entry.note(
        f"workload.{kind}",
        target=after.id,
        owner=after.owner,
        before=told,
        after=msgspec.to_builtins(after),
    )


def _another(name: str) -> str:
    return f"Make another: `limen workload token {name}`."

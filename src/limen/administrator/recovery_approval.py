"""The part of another person: who approves a recovery hears a code from whoever recovers, and knows them.

Laws:
    P1 nobody approves their own recovery, by themselves or by a workload that they answer for.
    P2 decided: each look and each approval is asked of the engine: `admin` on `Route::"limen/recovery"`, and
       where they have a role of Limen also on `Route::"limen/roles"`: no help desk makes administrators.
    P3 not by who has just come back: one recovered account does not recover the next.
    P4 nothing to approve without the code: lists show who recovers, and never what is read out.
"""

from collections.abc import Callable

import msgspec

from limen.administrator.desk import Desk
from limen.administrator.hands import demand_another
from limen.administrator.ledger import Entry
from limen.administrator.recovery import can_recover
from limen.administrator.recovery_life import RecoveryEvent, RecoveryState, step
from limen.core.errors import Invalid, NotFound, Refused
from limen.core.ids import Instant
from limen.information.identity import throttle
from limen.information.identity.recovery import hash_spoken
from limen.store import credentials as keys
from limen.store import directory, recoveries, sessions
from limen.store.database import Transaction
from limen.store.recoveries import StoredRecovery

RECOVERY_PART, ROLES_PART = "recovery", "roles"
REASON_MAX = 500

Demand = Callable[[str, str], None]
"""Asks the engine whether this approver may administer a part of Limen, for a person. Raises `Refused`.

`ROLES_PART` is asked of everybody: whoever answers knows who has a role, and who has none needs no asking.
"""


class Candidate(msgspec.Struct, frozen=True):
    """Somebody who recovers, as an approver must know them.

    Attributes:
        asked_from, agent: the browser that asks, as it says.
        live_sessions: how many they have at this moment: who is signed in seldom needs recovery.
    """

    id: str
    person: str
    name: str
    asked_at: Instant
    asked_from: str
    agent: str
    mailed: bool
    state: str
    signed_in_at: Instant | None
    live_sessions: int


class Approvals:
    """Looks up and approves recoveries."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def look(self, spoken: str, approver: str, demand: Demand) -> Candidate:
        """Return who recovers under a code that was read out.

        Raises:
            NotFound: no recovery has this code, or nobody can be recovered under it.
            Refused: law P1, P2 or P3, or too many codes.
        """
        with self._desk.ledger.store.transaction(approver, "look up a recovery") as tx:
            self._charge(tx, approver)
        with self._desk.ledger.store.read() as connection:
            now = self._desk.clock.now()
            found = recoveries.find_by_approval(connection, hash_spoken(self._desk.key, spoken), now)
        row = _open(found)
        self._admit(row, approver, demand)
        return self._candidate(row)

    def approve(self, spoken: str, approver: str, reason: str, demand: Demand) -> str:
        """Approve; return who is recovered.

        Raises:
            NotFound, Refused: as `look`.
            Invalid: no reason: how was it made sure who they are?
        """
        words = " ".join(reason.split())
        if not words or len(words) > REASON_MAX:
            raise Invalid(
                f"reason: a recovery is approved with a reason of at most {REASON_MAX} characters.",
                remedy="Say how you made sure who they are.",
                code="REASON_MISSING",
            )
        self.look(spoken, approver, demand)
        with self._desk.ledger.entry(approver, words) as entry:
            now = entry.tx.now
            hashed = hash_spoken(self._desk.key, spoken)
            row = _open(recoveries.find_by_approval(entry.tx.connection, hashed, now))
            assert row.person is not None
            if not can_recover(keys.load_credentials(entry.tx.connection, row.person), now):
                raise _unknown()
            then = step(RecoveryState(row.state), RecoveryEvent.APPROVED)
            after = msgspec.structs.replace(row, state=then, how="approval")
            if not recoveries.save_recovery(entry.tx.connection, row, after):
                raise _unknown()
            self._tell(entry, row.person, approver, row)
        return row.person

    def _tell(self, entry: Entry, person: str, approver: str, row: StoredRecovery) -> None:
        what = f"{approver} approved the recovery of your sign-in"
        self._desk.notices.queue(entry, person, "recovery", what=what, when_at=entry.tx.now, ip=row.ip)
        entry.note("recovery.approved", target=person, recovery=row.id, by=approver, asked_from=row.ip)

    def listed(self) -> tuple[Candidate, ...]:
        """Return recoveries under way (law P4)."""
        with self._desk.ledger.store.read() as connection:
            rows = recoveries.list_recoveries(connection, self._desk.clock.now())
        running = [row for row in rows if row.state in (RecoveryState.OPEN, RecoveryState.READY)]
        return tuple(self._candidate(row) for row in running)

    def stop(self, person: str, actor: str, reason: str) -> int:
        """Stop every recovery of a person; return how many."""
        with self._desk.ledger.entry(actor, reason or f"stop the recovery of {person}") as entry:
            directory.get_person(entry.tx.connection, person)
            count = recoveries.stop_recoveries(entry.tx.connection, person)
            if count:
                entry.note("recovery.stopped", target=person, by=actor)
            return count

    # --- inside --------------------------------------------------------------------------------------

    def _charge(self, tx: Transaction, approver: str) -> None:
        wait_s = self._desk.charge(tx.connection, throttle.approval_charges(approver))
        if wait_s:
            raise Refused(
                "Too many codes were looked up.",
                remedy=f"Wait {int(wait_s) + 1} seconds.",
                code="TOO_MANY_CODES",
            )

    def _admit(self, row: StoredRecovery, approver: str, demand: Demand) -> None:
        assert row.person is not None
        demand(RECOVERY_PART, row.person)
        with self._desk.ledger.store.read() as connection:
            demand_another(connection, approver, row.person, own="Nobody approves their own recovery.")
        demand(ROLES_PART, row.person)

    def _candidate(self, row: StoredRecovery) -> Candidate:
        assert row.person is not None
        with self._desk.ledger.store.read() as connection:
            person = directory.get_person(connection, row.person)
            live = len(sessions.list_sessions(connection, row.person))
        return Candidate(
            id=row.id,
            person=person.id,
            name=person.name,
            asked_at=row.asked_at,
            asked_from=row.ip,
            agent=row.agent,
            mailed=row.mailed,
            state=row.state,
            signed_in_at=person.signed_in_at,
            live_sessions=live,
        )


def _open(row: StoredRecovery | None) -> StoredRecovery:
    if row is None or row.person is None or row.state != RecoveryState.OPEN:
        raise _unknown()
    return row


def _unknown() -> NotFound:
    return NotFound(
        "No recovery under way has this code, or it can recover nobody.",
        remedy="Have it read out again; a code lives for one hour, and only for people with a password here.",
        code="RECOVERY_UNKNOWN",
    )

"""What time and leaving do to workloads: sessions that are over, reviews that are due, owners who have left.

Laws:
    L1 none without an owner. A workload whose owner may not come in any more is flagged, and stops when its
       grace is over, unless somebody else takes it, or the owner comes back.
    L2 nobody comes back by an old session (R6 of people): what a workload had ends with its status and its
       time, whoever brought that about.
    L3 told once. A review that is due is an event once, and an owner hears once that a workload will end.
"""

from collections.abc import Mapping

from limen.administrator.desk import Desk
from limen.core.changes import MACHINE_SESSION
from limen.core.entities import Status
from limen.core.errors import Unavailable
from limen.core.identity_config import MachineConfig
from limen.core.ids import Instant
from limen.store import machines, workloads
from limen.store.spent import spend_once
from limen.store.workloads import Workload, get_workload

ACTOR = "limen"
DAY_S = 86_400.0


class WorkloadLife:
    """Sweeps workloads. Threads may share it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._ledger = desk.ledger
        self._clock = desk.clock

    def config(self) -> MachineConfig:
        """Return what the bundle in force says; the defaults without one."""
        try:
            return self._desk.catalogue().sources.machines
        except Unavailable:
            return MachineConfig()

    def sweep(self) -> None:
        """Do what is due. Call it every half minute or so."""
        now = self._clock.now()
        with self._ledger.store.read() as connection:
            over = machines.list_over_sessions(connection, now)
            left = machines.list_ownerless(connection, now)
            known = workloads.list_workloads(connection)
            due = machines.list_reviews_due(connection, now)
        marked = tuple(one for one in known if one.stops_at is not None)
        if over:
            with self._ledger.entry(ACTOR, "their time is over") as entry:
                for session in over:
                    machines.end_session(entry.tx, session)
        back = tuple(one.id for one in marked if one.id not in left)
        new = tuple(name for name in left if name not in {one.id for one in marked})
        stop = tuple(
            one.id
            for one in marked
            if one.id in left and (one.stops_at or 0) <= now and one.status is Status.ACTIVE
        )
        if new or back or stop:
            self._follow_owners(new, back, stop)
        if due:
            self._note_reviews(due)
        ahead_s = self._desk.notices.config().expiry_days * DAY_S
        ending = tuple(one for one in known if _ends_soon(one, now, ahead_s))
        if ending:
            self._tell_endings(ending)

    def note_used(self, seen: Mapping[str, Instant]) -> Mapping[str, Instant]:
        """Note when workloads were last used, as gateways report it; return what is of people's sessions.

        Never later than now: a gateway's clock may be ahead.
        """
        used: dict[str, Instant] = {}
        rest: dict[str, Instant] = {}
        for session, at in seen.items():
            if session.startswith(MACHINE_SESSION):
                name = session.removeprefix(MACHINE_SESSION).partition(":")[0]
                used[name] = max(at, used.get(name, 0.0))
            else:
                rest[session] = at
        if used:
            with self._ledger.store.transaction(ACTOR, "workloads in use") as tx:
                machines.note_workloads_used(tx.connection, {n: min(at, tx.now) for n, at in used.items()})
        return rest

    def _follow_owners(self, new: tuple[str, ...], back: tuple[str, ...], stop: tuple[str, ...]) -> None:
        """Flag, let go on, and stop (law L1)."""
        grace_s = self.config().grace_s
        with self._ledger.entry(ACTOR, "owners of workloads") as entry:
            stops_at = entry.tx.now + grace_s
            machines.set_life(entry.tx, new, stops_at=stops_at)
            machines.set_life(entry.tx, back, stops_at=None)
            for name in new:
                found = get_workload(entry.tx.connection, name)
                entry.note("workload.ownerless", target=name, owner=found.owner, stops_at=stops_at)
            for name in stop:
                stopped = workloads.change_workload(entry.tx, name, status=Status.SUSPENDED)
                machines.end_sessions(entry.tx, name)
                entry.note("workload.suspended", target=name, owner=stopped.owner, why="its owner has left")

    def _note_reviews(self, due: tuple[str, ...]) -> None:
        with self._ledger.entry(ACTOR, "reviews of workloads are due") as entry:
            for name in due:
                found = get_workload(entry.tx.connection, name)
                machines.set_life(entry.tx, (name,), review_told_at=found.review_at)
                entry.note("workload.review_due", target=name, owner=found.owner, review_at=found.review_at)

    def _tell_endings(self, ending: tuple[Workload, ...]) -> None:
        """Tell owners that a workload will end; of each end once."""
        with self._ledger.entry(ACTOR, "workloads will end") as entry:
            for one in ending:
                assert one.expires_at is not None, "it was looked at"
                known = f"{one.id}:{one.expires_at:.0f}"
                if spend_once(entry.tx.connection, "workload-ending", known, one.expires_at):
                    what = f"The workload {one.id}"
                    self._desk.notices.queue(entry, one.owner, "expiry", what=what, at=one.expires_at)


def _ends_soon(one: Workload, now: Instant, ahead_s: float) -> bool:
    return one.expires_at is not None and now < one.expires_at <= now + ahead_s

"""Directories that are read, one way: what they list becomes people and groups here, never the reverse."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from limen.administrator.apart import Tell
from limen.administrator.ldap_plan import SyncPlan, plan_sync
from limen.administrator.ldap_work import Read, read_apart
from limen.administrator.ledger import Entry, Ledger
from limen.administrator.session_life import SessionEvent
from limen.administrator.sessions import Sessions
from limen.administrator.upstream_groups import settle_listed
from limen.core.catalogue import Catalogue
from limen.core.entities import Status
from limen.core.errors import Conflict, LimenError, NotFound, Refused
from limen.core.identity_config import LdapConfig
from limen.core.ids import Instant, new_id
from limen.core.secret import Secret
from limen.information.identity.ldap_values import DirectoryRead, Problem
from limen.store import sources
from limen.store.sessions import list_sessions
from limen.store.source_writes import PersonWrite, keep_fresh, write_people
from limen.store.sources import SourceRun
from limen.store.spent import spend_once

BATCH = 100  # people of one transaction, so that other writers get their turn
ACTOR = "limen"

APPLIED, STOPPED, FAILED = "applied", "stopped", "failed"

log = structlog.get_logger("limen.directory")


class SyncReport(msgspec.Struct, frozen=True):
    """What a reading came to, or (`dry_run`) would come to.

    Attributes:
        outcome: `applied`, or `stopped` with the reason in `why`.
        left: people who changed here meanwhile; the next reading sees to them.
    """

    source: str
    outcome: str
    dry_run: bool
    read: int
    groups: int
    referrals: int
    created: tuple[str, ...]
    changed: tuple[str, ...]
    suspended: tuple[str, ...]
    released: tuple[str, ...]
    skipped: int
    problems: tuple[Mapping[str, Any], ...]
    why: str = ""
    left: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many of each."""
        lists = {"created": self.created, "changed": self.changed, "suspended": self.suspended}
        return {
            "read": self.read,
            "groups": self.groups,
            "skipped": self.skipped,
            "left": self.left,
            **{name: len(names) for name, names in (lists | {"released": self.released}).items()},
            "problems": len(self.problems),
        }


class LdapSync:
    """The directories of the active bundle. Threads may share it; each directory is read once at a time.

    `secret` reads a stored secret by name; `read` reads a directory.
    """

    def __init__(
        self,
        ledger: Ledger,
        sessions: Sessions,
        catalogue: Callable[[], Catalogue],
        secret: Callable[[str], Secret[str]],
        *,
        read: Read = read_apart,
    ) -> None:
        self._ledger = ledger
        self._sessions = sessions
        self._catalogue = catalogue
        self._secret = secret
        self._read = read

    def sync(
        self,
        name: str,
        *,
        actor: str,
        reason: str,
        dry_run: bool = False,
        at_most_percent: float | None = None,
        tell: Tell = lambda done, of: None,
    ) -> SyncReport:
        """Read a directory, and bring its people here up to it. It takes as long as the directory takes.

        `tell` is told how many of how many people are written.

        Raises:
            NotFound: the bundle has no such directory.
            Conflict: it is being read.
            LimenError: it does not answer, or not in full; nothing was changed.
        """
        config = self.config(name)
        with _alone(f"{self._ledger.store.epoch}:{config.source}"):
            started = self._now()
            try:
                plan, read = self._plan(config, at_most_percent)
                left = 0
                if not plan.stop and not dry_run:
                    plan, left = self._carry_out(config, plan, actor, reason, tell)
                report = _report(config, read, plan, left, dry_run=dry_run)
            except LimenError as error:
                if not dry_run:
                    self._note(_run_of(config, started, actor, FAILED, error.message), reason)
                raise
            if not dry_run:
                run = _run_of(config, started, actor, report.outcome, report.why)
                counted = {"counts": report.counts, "problems": report.problems}
                self._note(msgspec.structs.replace(run, **counted), reason)
            return report

    def run_due(self) -> int:
        """Read every directory whose time has come; return how many were. Failures are in the runs."""
        count = 0
        for config in self._catalogue().sources.ldap:
            if self._take_turn(config):
                count += 1
                try:
                    self.sync(config.name, actor=ACTOR, reason=f"read {config.source}")
                except LimenError as error:
                    log.warning("directory.not_read", source=config.source, why=error.message)
        return count

    def config(self, name: str) -> LdapConfig:
        """Return a directory of the bundle.

        Raises:
            NotFound: it has none of this name.
        """
        known = self._catalogue().sources.ldap
        found = next((one for one in known if one.name == name.removeprefix("ldap:")), None)
        if found is None:
            names = ", ".join(one.name for one in known) or "none"
            raise NotFound(
                f"The bundle has no directory {name[:64]!r}.",
                remedy=f"It has: {names}. See `limen source list`.",
            )
        return found

    # --- one run -------------------------------------------------------------------------------------

    def _plan(self, config: LdapConfig, at_most: float | None) -> tuple[SyncPlan, DirectoryRead]:
        password = self._secret(config.bind_secret) if config.bind_secret else None
        read = self._read(config, password)
        with self._ledger.store.read() as connection:
            known = sources.load_known(connection, config.source)
        types = self._catalogue().attribute_types
        return plan_sync(config, read, known, types, now=self._now(), at_most_percent=at_most), read

    def _carry_out(
        self, config: LdapConfig, plan: SyncPlan, actor: str, reason: str, tell: Tell
    ) -> tuple[SyncPlan, int]:
        """Write a plan; return it with what was refused, and how many people were left."""
        refused: list[Problem] = []
        left = 0
        for start in range(0, len(plan.writes), BATCH):
            tell(start, len(plan.writes))
            left += self._write(config, plan.writes[start : start + BATCH], actor, reason, refused)
        settle_listed(self._ledger, self._catalogue())
        return msgspec.structs.replace(plan, problems=(*refused, *plan.problems)), left

    def _write(
        self,
        config: LdapConfig,
        batch: Sequence[PersonWrite],
        actor: str,
        reason: str,
        refused: list[Problem],
    ) -> int:
        """Write a batch in one transaction; return how many were left, since they changed meanwhile.

        A batch that may not be, since it takes the last administrator, is written one by one.
        """
        try:
            with self._ledger.entry(actor, reason) as entry:
                fresh = keep_fresh(entry.tx, batch)
                write_people(entry.tx, config.source, fresh)
                for one in fresh:
                    self._tell(entry, config, one)
            return len(batch) - len(fresh)
        except Refused as refusal:
            if len(batch) == 1:
                refused.append(Problem(batch[0].person, refusal.message, refusal.remedy, batch[0].subject))
                return 1
        return sum(self._write(config, (one,), actor, reason, refused) for one in batch)

    def _tell(self, entry: Entry, config: LdapConfig, one: PersonWrite) -> None:
        """Record what became of somebody, and end the sessions of those who may not come in any more."""
        status = one.fields.get("status")
        if one.new:
            entry.note("person.created", target=one.person, by=config.source)
        elif status is not None and one.seen is not None:
            states = {"before": {"status": str(one.seen.status)}, "after": {"status": str(status)}}
            kind = "released" if status is Status.ACTIVE else "suspended"
            entry.note(f"person.{kind}", target=one.person, by=config.source, **states)
        if status is Status.SUSPENDED:
            says = one.account.says if one.account is not None else "gone"
            for session in list_sessions(entry.tx.connection, one.person):
                self._sessions.end_in(entry, session.id, SessionEvent.REVOKE, f"{config.source} says {says}")

    def _note(self, run: SourceRun, reason: str) -> None:
        """Keep how a reading went; it is an event where it changed something, or did not go as the last."""
        with self._ledger.entry(run.actor, reason) as entry:
            last = sources.list_runs(entry.tx.connection, run.source, limit=1)
            sources.note_run(entry.tx, msgspec.structs.replace(run, ended_at=entry.tx.now))
            moved = any(run.counts.get(name) for name in ("created", "changed", "suspended", "released"))
            if moved or not last or (last[0].outcome, last[0].why) != (run.outcome, run.why):
                kind = {APPLIED: "source.read", STOPPED: "source.stopped", FAILED: "source.failed"}[
                    run.outcome
                ]
                entry.note(kind, target=run.source, why=run.why, **run.counts)

    def _take_turn(self, config: LdapConfig) -> bool:
        """Whether this directory is due, and no other node of control has taken its turn."""
        now = self._now()
        with self._ledger.store.read() as connection:
            last = sources.list_runs(connection, config.source, limit=1)
        if last and now - last[0].started_at < config.every_s:
            return False
        turn = f"{config.source}:{int(now // config.every_s)}"
        with self._ledger.store.transaction(ACTOR, "read a directory") as tx:
            return spend_once(tx.connection, "ldap-turn", turn, now + 2 * config.every_s)

    def _now(self) -> Instant:
        return self._ledger.store.clock.now()


_reading: set[str] = set()
_reading_guard = threading.Lock()


@contextmanager
def _alone(key: str) -> Iterator[None]:
    """Hold a directory while it is read."""
    with _reading_guard:
        if key in _reading:
            raise Conflict("This directory is being read already.", remedy="Wait until it is done.")
        _reading.add(key)
    try:
        yield
    finally:
        with _reading_guard:
            _reading.discard(key)


def _run_of(config: LdapConfig, started: Instant, actor: str, outcome: str, why: str) -> SourceRun:
    return SourceRun(new_id("run"), config.source, started, started, outcome, why, {}, (), actor)


def _report(
    config: LdapConfig, read: DirectoryRead, plan: SyncPlan, left: int, *, dry_run: bool
) -> SyncReport:
    return SyncReport(
        source=config.source,
        outcome=STOPPED if plan.stop else APPLIED,
        dry_run=dry_run,
        read=len(read.people),
        groups=read.groups,
        referrals=read.referrals,
        created=plan.created,
        changed=plan.changed,
        suspended=plan.suspended,
        released=plan.released,
        skipped=plan.skipped,
        problems=tuple(msgspec.to_builtins(one) for one in plan.problems),
        why=plan.stop,
        left=left,
    )

"""The plan of a bundle: what is wrong with it, who gains and who loses by it, what it binds otherwise.

It is made in child processes, from a snapshot: control's loop goes on, and its lock is held for as long as
it takes to copy a list. What would be decided comes from the directory as it is (the change of who can), and
from what was recorded (replay).
"""

import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import cast

import msgspec

from limen.administrator import apart
from limen.administrator.apart import Outcome, follow_apart, take_seat
from limen.administrator.authority import Authority
from limen.administrator.replaying import Progress, follow_replay
from limen.core.changes import Projection
from limen.core.clock import Clock
from limen.core.errors import Finding, Unavailable
from limen.core.ids import Instant
from limen.engine.replay_report import Report

WORK = "limen.administrator.plan_work:work"
KINDS = ("person", "workload", "group", "grant")
PLANS_MAX = 2  # at once; each takes a core and some 200 MB


class Row(msgspec.Struct, frozen=True):
    """One change of who can.

    Attributes:
        who: an index into `WhoCan.subjects`.
        needed, needs: the conditions before and after.
    """

    effect: str
    action: str
    resources: tuple[str, ...]
    who: int
    count: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    needed: tuple[str, ...]
    needs: tuple[str, ...]
    code: str


class WhoCan(msgspec.Struct, frozen=True):
    """The change of who can. Of each set of subjects the first `SHOWN_MAX` are listed."""

    people: int
    subjects: tuple[tuple[str, ...], ...] = ()
    rows: tuple[Row, ...] = ()


class ModeChange(msgspec.Struct, frozen=True):
    """The mode of a resource, or of a group within it, before and after; `–` where there is none."""

    resource: str
    group: str
    before: str
    after: str


class Plan(msgspec.Struct, frozen=True):
    """What a bundle would do, were it applied on top of `base`.

    Attributes:
        bundle: its id; empty when it is refused.
        refused: why it would be refused; then nothing else is known.
        guarded: what guardrails would bind otherwise.
        approval: that needs a second administrator.
        who_can: by the directory as it is.
        replay: by what was recorded; None when that was not asked for.
    """

    bundle: str
    base: str
    refused: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()
    tests: int = 0
    guarded: tuple[str, ...] = ()
    approval: bool = False
    modes: tuple[ModeChange, ...] = ()
    resources_added: tuple[str, ...] = ()
    resources_removed: tuple[str, ...] = ()
    who_can: WhoCan = WhoCan(0)
    replay: Report | None = None

    @property
    def loses(self) -> bool:
        """Whether anybody would lose access, by the directory or by what was recorded."""
        by_record = self.replay is not None and bool(self.replay.losers)
        return by_record or any(row.effect == "removed" for row in self.who_can.rows)


class Step(msgspec.Struct, frozen=True):
    """How far a plan is. `of` 0: not known yet."""

    stage: str
    done: int
    of: int


class Job(msgspec.Struct, frozen=True):
    """What the child is given."""

    base: Mapping[str, str]
    files: Mapping[str, str]
    facts: tuple[Projection, ...]
    at: Instant


class Planner:
    """Makes plans, a few at once."""

    def __init__(self, authority: Authority, journal_root: Path, clock: Clock) -> None:
        self._authority = authority
        self._journal_root = journal_root
        self._clock = clock
        self._seats = threading.BoundedSemaphore(PLANS_MAX)

    def follow(
        self, files: Mapping[str, str], *, since: Instant | None = None, replay: bool = True
    ) -> Iterator[Step | Plan]:
        """Yield how far the plan is, and the plan at last. Closing the iterator ends the child.

        Raises:
            Unavailable: no bundle is in force, too many plans are being made, or the child died.
        """
        busy = Unavailable(
            f"{PLANS_MAX} plans are being made already.", remedy="Try again in a minute.", code="PLAN_BUSY"
        )
        with take_seat(self._seats, busy):
            job = Job(
                base=dict(self._authority.bundle().files),
                files=dict(files),
                facts=self._authority.facts(*KINDS),
                at=self._clock.now(),
            )
            plan = yield from _apart(job)
            if replay and not plan.refused:
                report = yield from self._replay(job, since)
                plan = msgspec.structs.replace(plan, replay=report)
            yield plan

    def _replay(self, job: Job, since: Instant | None) -> Generator[Step, None, Report]:
        replaying = follow_replay(self._journal_root, job.files, since, job.base)
        with closing(cast("Generator[Progress | Report]", replaying)) as messages:
            for message in messages:
                if isinstance(message, Report):
                    return message
                yield Step("replay", int(message.part * 1000), 1000)
        raise AssertionError("a replay ends with its report, or raises")


def _apart(job: Job) -> Generator[Step, None, Plan]:
    with closing(cast("Generator[apart.Step | Outcome]", follow_apart(WORK, job))) as words:
        for word in words:
            if isinstance(word, Outcome):
                return msgspec.convert(word.value, Plan)
            yield Step("who-can", word.done, word.of)
    raise AssertionError("work ends with its outcome, or raises")

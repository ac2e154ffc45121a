"""Re-assessment: every live stream that read what has changed is decided again, and kept or ended.

A change reaches a stream through the index of what each has read, never by a scan. Streams that a
subject's change touches go first, those of a bundle after them, in slices of a few milliseconds between
which other requests are answered. Every stream also has a deadline (the first instant at which time
alone could flip it) and a bound on the age of the facts.

The order is a law: refuse first, then close. It needs no flushing here: the replica has applied the
change before anybody is told of it, built-in refusals are looked up each time, and the memo's keys hold
the digests of what was decided on (law D4). So from the moment of `apply`, and before the first stream is
closed, no request is allowed that the change denies (law R1), and a client that was cut and comes back at
once is refused.

Laws:
    R2 A live stream whose decision flips is closed.
    R3 Every stream has a deadline, at which it is decided again.
    R4 A replica that is too old closes what it no longer may allow.
    R5 Nothing is closed that could be opened again at that instant.

Where a resource is not enforced yet (`limen.core.rollout`) a denial is recorded, once, and closes nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
import structlog

from limen.administrator.projections import ENTITY_TYPES
from limen.administrator.reassess_decide import End, Keep, Redecider, Softened
from limen.administrator.reassess_metrics import ReassessTally
from limen.administrator.reassess_queue import Bounds, Deadlines, Sweep, Work
from limen.administrator.recording import InputsOf, JournalPort, Recorder
from limen.administrator.replica import Replica, Touched
from limen.administrator.rollout import let_through_entry
from limen.administrator.streams import Cause, Ending, LiveStream, Streams, grant_ref
from limen.core.clock import Clock
from limen.core.decision import AccessRequest, Code, Decision, Facts, Verdict
from limen.core.errors import LimenError
from limen.core.ids import EntityRef, Instant, new_decision_id, new_id
from limen.core.record import EventRecord
from limen.core.rollout import Stage
from limen.engine.explain import SENTENCES
from limen.engine.policies import Policies
from limen.engine.replay import stable_inputs

POINT = "reassess"
SLICE_S = 0.003  # of work, before others have their turn (issue 3, §3)
REST_S = 0.002  # then: on two cores Envoy and the check need the processor too
LOOK_EVERY_S = 0.5  # so that no jump of the wall clock and no growth of the age goes unseen for longer

log = structlog.get_logger("limen.reassess")


class Decider(Protocol):
    """The engine, memo included. Never raises: a failure is a decision."""

    def decide(self, request: AccessRequest, facts: Facts, policies: Policies) -> Decision:
        """Answer one request."""
        ...


class Reassessor:
    """Keeps the live streams of one gateway true to its replica. Everything happens on one loop.

    Args:
        engine: the one that decides new requests, so that they share a memo.
        ticks_s: a monotonic clock, for slices and for what is measured.

    Attributes:
        tally: what it has come to.
    """

    def __init__(
        self,
        replica: Replica,
        streams: Streams,
        engine: Decider,
        journal: JournalPort,
        clock: Clock,
        *,
        node: str,
        inputs_of: InputsOf = stable_inputs,
        ticks_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._replica = replica
        self._streams = streams
        self._journal = journal
        self._clock = clock
        self._node = node
        self._ticks_s = ticks_s
        self._recorder = Recorder(journal, node, inputs_of, point=POINT, urgent=True)
        self._redecider = Redecider(replica, engine.decide)
        self._work = Work()
        self._deadlines = Deadlines()
        self._bounds = Bounds()
        self._last_now = clock.now()
        self._wake = asyncio.Event()
        self.tally = ReassessTally()
        for stream in streams.all():
            self._added(stream)
        streams.subscribe(self._added, self._removed)
        replica.subscribe(self._touched)

    @property
    def waiting(self) -> int:
        """How many streams wait to be decided again."""
        return len(self._work)

    # --- the shell ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            wait_s = self.work(SLICE_S)
            if wait_s == 0.0:
                await asyncio.sleep(REST_S)
                continue
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, LOOK_EVERY_S)):
                    await self._wake.wait()

    def work(self, budget_s: float) -> float:
        """Decide what is due, for about `budget_s`. Returns in how many seconds more will be; 0: there is.

        At least one stream is decided, however small the budget.
        """
        now, boot_s = self._clock.now(), self._clock.boot_s()
        self._look(now, boot_s)
        began_s = ticks_s = self._ticks_s()
        while ticks_s - began_s <= budget_s:
            taken = self._work.take()
            if taken is None:
                break
            self._reassess(*taken, now, boot_s)
            ticks_s = self._ticks_s()
        self.tally.longest_s = max(self.tally.longest_s, ticks_s - began_s)
        return 0.0 if self._work else self._next_due_s(now, boot_s)

    # --- what is due -------------------------------------------------------------------------------

    def _touched(self, touched: Touched) -> None:
        """Let every stream wait that read what a change has touched."""
        sweep = Sweep(self._replica.seq, self._ticks_s())
        for kind, row_id in touched.rows:
            self._work.put(self._readers(kind, row_id), near=True, sweep=sweep)
        if touched.everything or "bundle" in touched.kinds:
            self._work.put(self._streams.ids(), near=False, sweep=sweep)
        if sweep.pending:
            self._wake.set()

    def _readers(self, kind: str, row_id: str) -> Iterable[str]:
        """Return the streams whose decision read a row.

        Secrets decide nothing. A grant that is new was read by nobody, and can close nothing.
        """
        index = self._streams.index
        if kind in ENTITY_TYPES:
            return index.by_ref(EntityRef(ENTITY_TYPES[kind], row_id))
        if kind == "session":
            return index.by_session(row_id)
        if kind in ("app_session", "workload_session"):
            return index.by_token(row_id)
        return index.by_ref(grant_ref(row_id)) if kind == "grant" else ()

    def _look(self, now: Instant, boot_s: float) -> None:
        """Let those wait for whom time has come: by deadline, by age, by a clock that was set back."""
        if now < self._last_now:
            # Deadlines say what the future changes; what held an hour ago was not asked.
            self._work.put(self._streams.ids(), near=False)
        self._last_now = now
        self._work.put(self._deadlines.due(now), near=True)
        self._work.put(self._bounds.over(self._replica.age_s(boot_s)), near=True)

    def _next_due_s(self, now: Instant, boot_s: float) -> float:
        """Return in how many seconds something is due; infinite when nothing will be."""
        deadline_at = self._deadlines.next_at()
        stale_s = self._bounds.next_s(self._replica.age_s(boot_s))
        nearest = float("inf") if deadline_at is None else deadline_at - now
        if stale_s is not None:
            nearest = min(nearest, stale_s)
        return max(nearest, 0.001)

    def _added(self, stream: LiveStream) -> None:
        """Take a stream under watch; decide it again if the replica has moved since it was decided."""
        self._bounds.put(stream.id, stream.staleness_max_s)
        if stream.stamp == self._replica.stamp:
            due_at = stream.max_at if stream.deadline_at is None else stream.deadline_at
            stream.deadline_at = min(due_at, stream.max_at)
            self._deadlines.set(stream.id, stream.deadline_at)
        else:
            self._work.put((stream.id,), near=True)
        self._wake.set()

    def _removed(self, stream: LiveStream) -> None:
        self._deadlines.drop(stream.id)
        self._bounds.drop(stream.id, stream.staleness_max_s)

    # --- one stream --------------------------------------------------------------------------------

    def _reassess(self, stream_id: str, sweeps: tuple[Sweep, ...], now: Instant, boot_s: float) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            began_s = self._ticks_s()
            outcome = self._redecide(stream, now, boot_s)
            if isinstance(outcome, Keep):
                self._keep(stream, outcome, began_s)
            else:
                self._end(stream, outcome, sweeps, began_s)
            for sweep in sweeps:
                sweep.kept += isinstance(outcome, Keep)
                sweep.closed += isinstance(outcome, End)
        for sweep in sweeps:
            sweep.pending -= 1
            if not sweep.pending:
                self._tell(sweep, now)

    def _redecide(self, stream: LiveStream, now: Instant, boot_s: float) -> Keep | End:
        try:
            return self._redecider.redecide(stream, now, boot_s)
        except Exception:
            # Fails closed: a stream that a bug keeps from being decided must not live on by it, nor
            # keep the others from being decided.
            log.exception("reassess.failed", stream=stream.id)
            decision = Decision(Verdict.DENY, Code.ENGINE_FAILED)
            return End(Cause.DENIED, SENTENCES[Code.ENGINE_FAILED], stream.question, decision)

    def _keep(self, stream: LiveStream, keep: Keep, began_s: float) -> None:
        self._streams.redecided(stream, keep.question, keep.reads)
        if keep.token_hash != stream.token_hash:
            self._streams.retoken(stream, keep.token_hash)
        if keep.staleness_max_s != stream.staleness_max_s:
            self._bounds.drop(stream.id, stream.staleness_max_s)
            self._bounds.put(stream.id, keep.staleness_max_s)
            stream.staleness_max_s = keep.staleness_max_s
        stream.max_at, stream.deadline_at = keep.max_at, keep.deadline_at
        self._deadlines.set(stream.id, keep.deadline_at)
        self._note_softened(stream, keep.softened, began_s)
        self.tally.kept += 1

    def _note_softened(self, stream: LiveStream, kept_by: Softened | None, began_s: float) -> None:
        """Record once that a stream would have been closed, were its resource enforced."""
        if kept_by is None:
            stream.would_be = ""
        elif not stream.would_be and self._record(kept_by, kept_by.decision, began_s, kept_by.stage):
            stream.would_be = kept_by.decision.verdict.value

    def _end(self, stream: LiveStream, end: End, sweeps: tuple[Sweep, ...], began_s: float) -> None:
        """Record that a decision flipped, then close. A journal that fails does not keep anything open."""
        record_id = ""
        if end.decision is not None:
            record_id = self._record(end, end.decision, began_s)
        self._streams.end(stream.id, Ending(end.cause, end.sentence, end.decision, record_id))
        self.tally.ended[end.cause] += 1
        if sweeps:
            self.tally.note_closed(self._ticks_s() - min(sweep.started_s for sweep in sweeps))

    def _record(
        self, end: End | Softened, decision: Decision, began_s: float, stage: Stage | None = None
    ) -> str:
        question = msgspec.structs.replace(end.question, id=new_decision_id(end.question.at))
        active, inputs_id, inputs = self._replica.active, "", None
        try:
            if end.facts is not None and active is not None:
                inputs_id = self._recorder.inputs_id(question, end.facts, active.policies)
                inputs = self._recorder.inputs(inputs_id, question, end.facts, active.policies)
            entry = self._recorder.entry(
                question,
                decision,
                bundle=None if active is None else self._replica.bundle(),
                took_us=round((self._ticks_s() - began_s) * 1_000_000),
                age_s=0.0 if end.facts is None else end.facts.age_s,
                inputs_id=inputs_id,
                inputs=inputs,
            )
            self._recorder.write(entry if stage is None else let_through_entry(entry, stage))
        except LimenError as error:
            self.tally.unrecorded += 1
            log.error("reassess.not_recorded", decision=question.id, why=error.message)
            return ""
        return question.id

    def _tell(self, sweep: Sweep, now: Instant) -> None:
        """Record what a change has come to."""
        took_ms = round((self._ticks_s() - sweep.started_s) * 1000, 1)
        data = {"seq": sweep.seq, "kept": sweep.kept, "closed": sweep.closed, "took_ms": took_ms}
        event = EventRecord(
            id=new_id("evt"), at=now, node=self._node, kind="streams.reassessed", actor="limen", data=data
        )
        try:
            self._journal.append(event, urgent=True)
        except LimenError as error:
            log.error("reassess.not_recorded", seq=sweep.seq, why=error.message)

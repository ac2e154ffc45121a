"""Explanations: asked of a process of their own, kept for a moment, never waited for long."""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import Mapping
from typing import Any

import structlog

from limen.administrator.replica import Replica
from limen.core.clock import Clock
from limen.core.decision import AccessRequest, Decision, Explanation, Facts
from limen.core.ids import Instant
from limen.enforcement.check.explain_wire import (
    FRAME_MAX_BYTES,
    PREFIX,
    Explained,
    Question,
    parse_explained,
    render_frame,
)

EXPLAIN_TIMEOUT_S = 1.5  # then the page says why, and no cure; below Envoy's timeout for the check
FIRST_TIMEOUT_S = 2.5  # the first question starts the process and gives it the bundle
KEEP_S = 10.0  # ages in a decision move on
KEPT_MAX = 4_096
WAITING_MAX = 64  # denials that wait at once; further ones are answered without a cure
STOP_S = 2.0
LATE_MAX = 3  # questions in a row without an answer in time: then the process is taken to hang

log = structlog.get_logger("limen.explain")

Key = tuple[Any, ...]


class Explanations:
    """Explains denials under the bundle of `replica`."""

    def __init__(self, replica: Replica, clock: Clock) -> None:
        self._replica = replica
        self._clock = clock
        self._kept: dict[Key, tuple[Instant, Explanation]] = {}
        self._asking: dict[Key, asyncio.Task[Explanation | None]] = {}
        self._worker: _Process | None = None
        self._late = 0

    def cached(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        """Return what was found a moment ago for the same question."""
        found = self._kept.get(question_key(request, facts, decision))
        if found is None or not 0 <= request.at - found[0] < KEEP_S:
            return None
        return found[1]

    async def find(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        """Return the explanation, or None when it could not be found in time."""
        key = question_key(request, facts, decision)
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= WAITING_MAX:
                return None
            task = asyncio.create_task(self._ask(request, facts))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        explanation = await asyncio.shield(task)
        if explanation is not None:
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[key] = (request.at, explanation)
        return explanation

    def warm(self) -> None:
        """Start the process, so that the first person who is denied need not wait for that."""
        if self._worker is None:
            self._worker = _Process()

    async def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            await self._worker.close()
            self._worker = None

    async def _ask(self, request: AccessRequest, facts: Facts) -> Explanation | None:
        fact = self._replica.bundle()
        if fact is None:
            return None
        if self._worker is None or self._worker.ended:
            self._worker = _Process()
        worker = self._worker
        try:
            async with asyncio.timeout(EXPLAIN_TIMEOUT_S if worker.proven else FIRST_TIMEOUT_S):
                found = await worker.explain(request, facts, fact.bundle_id, fact.files)
        except (TimeoutError, OSError, EOFError) as error:
            log.warning("explain.unavailable", why=str(error) or type(error).__name__)
            if isinstance(error, TimeoutError):
                await self._note_late(worker)
            return None
        self._late = 0
        return found

    async def _note_late(self, worker: "_Process") -> None:
        """Replace a process that has not answered in time again and again: it hangs."""
        self._late += 1
        if self._late >= LATE_MAX and self._worker is worker:
            self._worker, self._late = None, 0
            await worker.kill()


class _Process:
    """One life of the explaining process."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Explanation | None]] = {}
        self._bundle_id = ""
        self._starting = asyncio.create_task(self._start())
        self.ended = False
        self.proven = False  # it has answered once: what it loads at first is loaded

    async def explain(
        self, request: AccessRequest, facts: Facts, bundle_id: str, files: Mapping[str, str]
    ) -> Explanation | None:
        """Ask one question.

        Raises:
            EOFError: the process ended.
        """
        process = await asyncio.shield(self._starting)
        assert process.stdin is not None
        n = next(self._numbers)
        known = bundle_id == self._bundle_id
        self._bundle_id = bundle_id
        self._waiting[n] = asyncio.get_running_loop().create_future()
        try:
            question = Question(n, request, facts, bundle_id, None if known else files)
            process.stdin.write(render_frame(question))
            return await self._waiting[n]
        finally:
            del self._waiting[n]

    async def kill(self) -> None:
        """End a process that does not read its input any more."""
        process = await self._starting
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await self._reading

    async def close(self) -> None:
        """End the process: its input ends, so it does."""
        process = await self._starting
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        await self._reading

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "limen.enforcement.check.explain_worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=FRAME_MAX_BYTES,
                start_new_session=True,  # a Ctrl-C is for the gateway, which then ends this
            )
        except OSError:
            self.ended = True
            raise
        self._reading = asyncio.create_task(self._read(process))
        return process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                (size,) = PREFIX.unpack(await process.stdout.readexactly(PREFIX.size))
                self._settle(parse_explained(await process.stdout.readexactly(size)))
        self.ended = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(EOFError("the explaining process ended"))
        await process.wait()

    def _settle(self, answer: Explained) -> None:
        self.proven = True
        waiting = self._waiting.get(answer.n)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.explanation)


def question_key(request: AccessRequest, facts: Facts, decision: Decision) -> Key:
    """Return what an explanation depends on, the moment apart."""
    return (
        decision.bundle,
        decision.code,
        decision.policies,
        decision.errors,
        request.subject,
        request.action,
        None if facts.subject is None else facts.subject.digest,
        facts.resource.digest,
        facts.session,
        None if facts.device is None else facts.device.closure.digest,
        facts.network,
        facts.risk,
        facts.signals,
        facts.grants,
    )

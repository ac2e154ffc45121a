"""The leash itself: one gRPC stream of Envoy's per request, held for as long as the request lives.

Envoy's first message is the request, decided by the same pipeline as every other. What is allowed is
entered among the live streams before the answer leaves, and the gRPC stream stays open; ending it with
an error makes Envoy reset that one request, and no other.

Laws:
    K1 held before open. An allowing answer leaves only for a stream that is in the registry, in the same
       step of the loop in which it was decided and recorded: no change can fall between.
    K2 fails closed. Whatever fails is a 503 before the stream is open, and its end afterwards.
    K3 one end. A stream that is ended by order is aborted once, and leaves no gRPC stream behind.
"""

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any

import grpc
import structlog

from limen.administrator.streams import FINISHED, Cause, Ending, LiveStream, Streams
from limen.core.errors import Invalid
from limen.enforcement.check.case import Reply
from limen.enforcement.check.protocol import Shell
from limen.enforcement.check.refusals import OUTAGE
from limen.enforcement.check.request import BadRequest, CheckRequest
from limen.enforcement.leash.ended import NOT_KNOWN, answer_ending, asks_for_ending
from limen.enforcement.leash.metrics import LeashTally
from limen.enforcement.leash.opening import limit_met, live_stream
from limen.enforcement.leash.pace import REST_S, Pace
from limen.enforcement.leash.wire import (
    ANSWER_HEADERS,
    ANSWER_TRAILERS,
    NOTHING_TO_TRAILERS,
    REQUEST_HEADERS,
    Allowed,
    parse_message,
    protocol_of,
    read_request,
    read_status,
    render_allowed,
    render_denied,
)

STOPPING = Ending(Cause.STOPPING, "The gateway stops. Connect again: another one will answer.")

_ACCEPTED = {"connect": range(200, 300)}
_SWITCHED = range(101, 102)
_ANY = range(1_000)

log = structlog.get_logger("limen.leash")


class Leash:
    """Decides and holds. `shell` waits on the check's behalf; its tally counts the answers.

    Attributes:
        retired: takes no new streams.
        calls: gRPC streams of Envoy's that are served now.
    """

    def __init__(self, shell: Shell, streams: Streams, tally: LeashTally) -> None:
        self.retired = False
        self.streams = streams
        self._shell = shell
        self._tally = tally
        self.calls = 0
        self._pace = Pace(lambda work: asyncio.get_running_loop().call_later(REST_S, work))
        self._empty = asyncio.Event()
        self._empty.set()

    async def serve(self, _messages: AsyncIterator[bytes], context: Any) -> None:
        """Serve one gRPC stream of Envoy's, from its first message to its end."""
        if self.retired:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "This process takes no new streams.")
        hold = _Hold(self._pace)
        self._enter()
        try:
            later = await self._open(context, hold)
            if later is not None:
                await _follow(context, hold, later)
        except asyncio.CancelledError:
            if hold.ending is None:
                raise  # Envoy has given the stream up
            await self._cut(context, hold.ending, hold.ordered_at)
        finally:
            self._leave(hold)

    def end_all(self, ending: Ending = STOPPING) -> int:
        """End every stream that is held; return how many there were."""
        return sum(self.streams.end(stream.id, ending) for stream in self.streams.all())

    async def empty(self) -> None:
        """Return once no gRPC stream is left."""
        await self._empty.wait()

    # --- opening ---------------------------------------------------------------------------------

    async def _open(self, context: Any, hold: "_Hold") -> bytes | None:
        """Answer the first message. Returns what to say to the app's answer, or None: nothing is open."""
        raw = await context.read()
        if raw is grpc.aio.EOF:
            return None
        answer = await self._decide(raw, hold)
        if isinstance(answer, bytes):
            await context.write(answer)
            return None
        if hold.ending is None:
            await context.write(answer.now)
        return answer.later

    async def _decide(self, raw: bytes, hold: "_Hold") -> Allowed | bytes:
        """Return an allowing answer, or the bytes of any other."""
        began, request = perf_counter(), None
        try:
            request = _first(raw)
            if asks_for_ending(request):
                return _ending(request, self.streams)
            outcome = self._shell.check.answer(request, leashed=True)
            if not isinstance(outcome, Reply):
                outcome = await self._shell.wait(request, outcome, leashed=True)
            return self._settle(request, outcome, hold, began)
        except Exception:
            # Law K2, the one place for it: a bug or a broken part must not open anything.
            log.exception("leash.failed")
            self._shell.tally.note("outage", perf_counter() - began)
            return render_denied(OUTAGE, request)

    def _settle(self, request: CheckRequest, reply: Reply, hold: "_Hold", began: float) -> Allowed | bytes:
        """Record the reply and, where it allows, enter the stream (law K1). Nothing is waited for here."""
        check, opening = self._shell.check, reply.opening
        if opening is not None:
            limit = limit_met(self.streams, opening)
            if limit is not None:
                reply, opening = check.limited(opening, limit), None
        answer = check.settle(reply)
        self._shell.tally.note(reply.kind if answer is reply.answer else "outage", perf_counter() - began)
        if opening is None or not answer.allows:
            return render_denied(OUTAGE if answer.allows else answer, request)
        protocol = protocol_of(request)
        stream = live_stream(opening, protocol, hold.close)
        allowed = render_allowed(answer, request, protocol)
        hold.stream = stream
        self._tally.note_opened(protocol)
        self.streams.add(stream)
        return allowed

    # --- ending ----------------------------------------------------------------------------------

    async def _cut(self, context: Any, ending: Ending, ordered_at: float) -> None:
        """End the gRPC stream with an error: Envoy, which may not go on without us, resets the request."""
        try:
            await context.abort(grpc.StatusCode.ABORTED, ending.cause.value)
        finally:
            self._tally.note_closed(perf_counter() - ordered_at)

    def _enter(self) -> None:
        self.calls += 1
        self._empty.clear()

    def _leave(self, hold: "_Hold") -> None:
        self.calls -= 1
        if not self.calls:
            self._empty.set()
        if hold.stream is not None:
            self._tally.note_ended(FINISHED.cause if hold.ending is None else hold.ending.cause)
            if hold.ending is None:
                self.streams.remove(hold.stream.id)


class _Hold:
    """What one call of ours knows of the stream that it holds."""

    __slots__ = ("_pace", "_task", "ending", "ordered_at", "stream", "waiting")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._task = asyncio.current_task()
        self.waiting = False  # for Envoy: nothing is being written
        self.stream: LiveStream | None = None
        self.ending: Ending | None = None
        self.ordered_at = 0.0

    def close(self, ending: Ending) -> None:
        """End the stream now: called by the registry, once (law K3).

        grpcio takes no abort while it writes, so what is being written leaves first.
        """
        self.ending, self.ordered_at = ending, perf_counter()
        self._pace.run(self._wake)

    def _wake(self) -> None:
        assert self._task is not None, "a call is served by a task"
        if self.waiting:
            self._task.cancel()


async def _follow(context: Any, hold: _Hold, later: bytes) -> None:
    """Answer what Envoy still says, until it ends the stream.

    Raises:
        Invalid: Envoy sent something else than an answer's headers or trailers. That ends the stream.
        CancelledError: the stream is to end, by order or because Envoy has given it up.
    """
    while hold.ending is None:
        hold.waiting = True
        try:
            raw = await context.read()
        finally:
            hold.waiting = False
        if raw is grpc.aio.EOF:
            return
        kind, value = parse_message(raw)
        if kind == ANSWER_HEADERS:
            _note_refused(hold.stream, read_status(value))
            await context.write(later)
        elif kind == ANSWER_TRAILERS:
            await context.write(NOTHING_TO_TRAILERS)
        else:
            raise _unexpected(kind)
    raise asyncio.CancelledError


def _first(raw: bytes) -> CheckRequest:
    kind, value = parse_message(raw)
    if kind != REQUEST_HEADERS:
        raise _unexpected(kind)
    return read_request(value)


def _ending(request: CheckRequest, streams: Streams) -> bytes:
    try:
        return render_denied(answer_ending(request, streams), request)
    except BadRequest:
        return render_denied(NOT_KNOWN, request)


def _note_refused(stream: LiveStream | None, status: int) -> None:
    """An app that does not switch protocols answers like any other: what follows is plain HTTP."""
    if stream is None or stream.protocol in ("http", "sse", "grpc"):
        return
    if status not in _ACCEPTED.get(stream.protocol, _SWITCHED if status else _ANY):
        stream.protocol = "http"


def _unexpected(kind: str) -> Invalid:
    return Invalid(
        f"Envoy sent {kind} out of turn.", remedy="Check the leash filter's processing mode.", code="EXT_PROC"
    )

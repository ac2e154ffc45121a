"""From what clients have noted to rows: what ended, when, and what should not have."""

import asyncio
import time
from collections.abc import Iterable, Sequence

from limen.services.conformance.loops import ALLOWED, Asked, KeepAliveLoop
from limen.services.conformance.report import Row, row_of
from limen.services.conformance.streams import Stream

AFTER_DENIED = 20  # requests that are asked after the first no: the next must not be a yes


async def all_ended(streams: Iterable[Stream], deadline_at: float) -> None:
    """Wait until all have ended, or the deadline."""
    left = [asyncio.create_task(stream.ended.wait()) for stream in streams]
    if left:
        _, late = await asyncio.wait(left, timeout=max(0.0, deadline_at - time.time()))
        for task in late:
            task.cancel()


async def all_spoke(streams: Sequence[Stream], timeout_s: float) -> int:
    """Wait until each has said something more; return how many have not, since they ended or fell silent."""
    began, deadline = time.time(), time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if all(stream.last_byte_at > began or not stream.open for stream in streams):
            break
        await asyncio.sleep(0.02)
    return sum(not stream.open or stream.last_byte_at <= began for stream in streams)


def cut_row(change: str, kind: str, streams: Sequence[Stream], at: float, early_s: float) -> Row:
    """Return the row of streams that talked all the time."""
    early = sum(bool(one.closed_at) and one.last_byte_at < at - early_s for one in streams)
    return row_of(change, kind, [_last_byte(one, at) for one in streams], early=early)


def closed_row(change: str, kind: str, streams: Sequence[Stream], at: float) -> Row:
    """Return the row of streams that seldom talk."""
    return row_of(change, kind, [None if one.open else max(0.0, one.closed_at - at) for one in streams])


async def denied_row(
    change: str, loops: Sequence[KeepAliveLoop], at: float, *, early_s: float, wait_s: float
) -> Row:
    """Return the row of plain requests: when the first was denied, and whether one slipped through later."""
    delays: list[float | None] = []
    stale = early = 0
    for loop in loops:
        if await loop.until(lambda loop=loop: loop.denied is not None, wait_s):  # type: ignore[misc]
            seen = len(loop.asked)
            await loop.until(lambda loop=loop, seen=seen: len(loop.asked) >= seen + AFTER_DENIED, wait_s)  # type: ignore[misc]
        first = loop.denied
        delays.append(None if first is None else max(0.0, first.answered_at - at))
        early += first is not None and first.answered_at < at - early_s
        stale += slipped(loop.asked, first)
    return row_of(change, "http", delays, stale=stale, early=early)


def slipped(asked: Iterable[Asked], first: Asked | None) -> int:
    """Return how many were allowed although they were sent after a no had come."""
    if first is None:
        return 0
    return sum(one.status == ALLOWED and one.sent_at > first.answered_at for one in asked)


def said(rows: Iterable[Row]) -> str:
    """Return rows in a few words."""
    rows = tuple(rows)
    held, survived = sum(row.held for row in rows), sum(row.survived for row in rows)
    worst = max((row.max_ms for row in rows if row.max_ms is not None), default=0.0)
    return f"{held - survived} of {held} ended, the last after {worst:.0f} ms"


def _last_byte(stream: Stream, at: float) -> float | None:
    """Return how long after `at` the last byte came on a stream that talked all the time; None: it lives.

    Its close is told later: over HTTP/1.1 Envoy waits for 200 ms with it, in which no byte passes.
    """
    return None if stream.closed_at == 0 else max(0.0, stream.last_byte_at - at)

"""What is to be decided again, and when: changes in two lanes, deadlines in a heap, bounds of age in groups.

Pure: told of ids and instants. A stream is in the queue once, however many changes wait for it.

Laws:
    R3 every stream has a deadline, at which it is decided again.
    R4 a bound of age that the replica exceeds names every stream that has it.
"""

import heapq
from collections.abc import Iterable, Iterator

from limen.core.ids import Instant

HEAP_SLACK = 64  # entries that are not worth a new heap


class Sweep:
    """What one change has come to: how many streams it touched, and how they fared."""

    __slots__ = ("closed", "kept", "pending", "seq", "started_s")

    def __init__(self, seq: int, started_s: float) -> None:
        self.seq = seq
        self.started_s = started_s
        self.pending = self.kept = self.closed = 0


class Work:
    """Streams that wait to be decided again. What is `near` (a subject's change) goes before the rest."""

    def __init__(self) -> None:
        self._near: dict[str, None] = {}
        self._wide: dict[str, None] = {}
        self._sweeps: dict[str, tuple[Sweep, ...]] = {}

    def __len__(self) -> int:
        return len(self._near) + len(self._wide)

    def put(self, ids: Iterable[str], *, near: bool, sweep: Sweep | None = None) -> None:
        """Let streams wait, on behalf of a change."""
        for stream_id in ids:
            if near:
                self._wide.pop(stream_id, None)
                self._near[stream_id] = None
            elif stream_id not in self._near:
                self._wide[stream_id] = None
            if sweep is not None:
                waiting = self._sweeps.get(stream_id, ())
                if sweep not in waiting:
                    self._sweeps[stream_id] = (*waiting, sweep)
                    sweep.pending += 1

    def take(self) -> tuple[str, tuple[Sweep, ...]] | None:
        """Return the next stream, with the changes that wait for it."""
        lane = self._near or self._wide
        if not lane:
            return None
        stream_id = next(iter(lane))
        del lane[stream_id]
        return stream_id, self._sweeps.pop(stream_id, ())


class Deadlines:
    """Instants at which streams are due, nearest first. Entries that were replaced stay until met."""

    def __init__(self) -> None:
        self._at: dict[str, Instant] = {}
        self._heap: list[tuple[Instant, str]] = []

    def set(self, stream_id: str, at: Instant) -> None:
        """Set when a stream is due."""
        if self._at.get(stream_id) == at:
            return
        self._at[stream_id] = at
        heapq.heappush(self._heap, (at, stream_id))
        if len(self._heap) > 2 * len(self._at) + HEAP_SLACK:
            self._heap = [(due, one) for one, due in self._at.items()]
            heapq.heapify(self._heap)

    def drop(self, stream_id: str) -> None:
        """Forget a stream."""
        self._at.pop(stream_id, None)

    def due(self, now: Instant) -> Iterator[str]:
        """Take the streams whose deadline has come. Each must be set again, or dropped."""
        while self._heap and self._heap[0][0] <= now:
            at, stream_id = heapq.heappop(self._heap)
            if self._at.get(stream_id) == at:
                del self._at[stream_id]
                yield stream_id

    def next_at(self) -> Instant | None:
        """Return the nearest deadline."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class Bounds:
    """Streams by the age that their facts may have. There are few different bounds."""

    def __init__(self) -> None:
        self._groups: dict[float, dict[str, None]] = {}

    def put(self, stream_id: str, bound_s: float) -> None:
        """Enter a stream under its bound."""
        self._groups.setdefault(bound_s, {})[stream_id] = None

    def drop(self, stream_id: str, bound_s: float) -> None:
        """Remove a stream from under its bound."""
        group = self._groups.get(bound_s, {})
        group.pop(stream_id, None)
        if not group:
            self._groups.pop(bound_s, None)

    def over(self, age_s: float) -> Iterator[str]:
        """Yield the streams for which facts of this age are too old."""
        for bound_s, group in self._groups.items():
            if not age_s <= bound_s:  # so written that NaN is too old
                yield from group

    def next_s(self, age_s: float) -> float | None:
        """Return in how many seconds the next bound is passed, if nothing is confirmed until then."""
        return min((bound - age_s for bound in self._groups if age_s <= bound), default=None)

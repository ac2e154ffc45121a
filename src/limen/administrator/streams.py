"""Live streams: the registry in which a change finds those that read what it changed.

Law:
    L1 closed once. A stream leaves the registry once, by one ending; `close` is called once at most, and
       never for a stream that ended by itself.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from limen.administrator.stream_index import StreamIndex
from limen.administrator.stream_values import (
    FINISHED,
    IDLE,
    Cause,
    Ended,
    Ending,
    LiveStream,
    StreamView,
    grant_ref,
    reads_of,
    view_of,
)
from limen.core.catalogue import StreamLimits
from limen.core.clock import Clock
from limen.core.decision import AccessRequest, Code
from limen.core.errors import LimenError
from limen.core.ids import EntityRef, Instant

__all__ = [
    "FINISHED",
    "Cause",
    "Ended",
    "Ending",
    "LiveStream",
    "StreamView",
    "Streams",
    "grant_ref",
    "reads_of",
    "view_of",
]

ENDED_MAX = 10_000  # endings that are remembered, so that a client can ask why it was cut
"""As many again of streams that ended by themselves: these cost their client nothing to bring about, so
they are kept apart, and a flood of them forgets no cut."""

COUNTED_EVERY_S = 6.0  # Envoy tells each five seconds what has gone through

K = TypeVar("K")
Watcher = Callable[[LiveStream], None]

log = structlog.get_logger("limen.streams")


def _nobody(_stream: LiveStream, _ending: Ending) -> None:
    """Take no notice of an ending."""


class Streams:
    """All live streams of one gateway. Everything happens on one loop.

    Attributes:
        index: by what they read, for the reassessor.
        on_end: told of each ending, after the stream is closed; the journal's event is written there.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        on_end: Callable[[LiveStream, Ending], None] = _nobody,
        ended_max: int = ENDED_MAX,
    ) -> None:
        self._clock = clock
        self._ended_max = ended_max
        self._live: dict[str, LiveStream] = {}
        self._cut: dict[str, Ended] = {}
        self._finished: dict[str, Ended] = {}
        self._subjects: Counter[EntityRef | None] = Counter()
        self._resources: Counter[EntityRef] = Counter()
        self._watchers: list[tuple[Watcher, Watcher]] = []
        self.index = StreamIndex()
        self.on_end = on_end

    def __len__(self) -> int:
        return len(self._live)

    # --- opening and ending ----------------------------------------------------------------------

    def refusal(
        self, session_id: str | None, subject: EntityRef | None, resource: EntityRef, limits: StreamLimits
    ) -> Code | None:
        """Return `STREAM_LIMIT` when one more would be too many."""
        full = self._resources[_door(resource)] >= limits.per_resource
        if subject is None:  # nobody is signed in there: strangers leave room for those who are
            full = full or self._resources[_porch(resource)] >= max(1, limits.per_resource // 2)
        if subject is not None:
            full = full or self._subjects[subject] >= limits.per_subject
        if session_id is not None:
            full = full or len(self.index.by_session(session_id)) >= limits.per_session
        return Code.STREAM_LIMIT if full else None

    def add(self, stream: LiveStream) -> None:
        """Enter a stream that was just allowed."""
        assert stream.id not in self._live, "an id names one stream"
        question = stream.question
        stream.reads = self.index.put(stream.id, stream.reads, question.session_id, stream.token_hash)
        self._live[stream.id] = stream
        self._subjects[question.subject] += 1
        self._resources.update(_counted(question))
        for added, _ in self._watchers:
            added(stream)

    def subscribe(self, added: Watcher, removed: Watcher) -> None:
        """Call `added` with each stream that is entered, and `removed` with each that has left."""
        self._watchers.append((added, removed))

    def remove(self, stream_id: str, ending: Ending = FINISHED) -> LiveStream | None:
        """Note that a stream has ended by itself; `None` when it was not, or no longer, live."""
        stream = self._live.get(stream_id)
        if stream is not None:
            if ending is FINISHED and self._was_idle(stream):
                ending = IDLE
            self._take(stream_id, ending)
            self._tell(stream, ending)
        return stream

    def _was_idle(self, stream: LiveStream) -> bool:
        """Whether a stream ended at its idle limit, as far as Envoy's count of bytes can say."""
        silent_s = self._clock.now() - max(stream.opened_at, stream.bytes_at)
        return silent_s >= stream.idle_s - COUNTED_EVERY_S

    def end(self, stream_id: str, ending: Ending) -> bool:
        """End a stream; return whether it was live (law L1)."""
        stream = self._take(stream_id, ending)
        if stream is None:
            return False
        try:
            stream.close(ending)
        except Exception:
            # One stream that cannot be closed must not keep the next one open: whoever ends many
            # goes on, and the leash's own fault is told.
            log.exception("stream.not_closed", stream=stream_id)
        self._tell(stream, ending)
        return True

    def _tell(self, stream: LiveStream, ending: Ending) -> None:
        try:
            self.on_end(stream, ending)
        except LimenError as error:  # a full journal must not keep the next stream open either
            log.error("stream.end_not_recorded", stream=stream.id, cause=ending.cause, why=error.message)

    def _take(self, stream_id: str, ending: Ending) -> LiveStream | None:
        stream = self._live.pop(stream_id, None)
        if stream is None:
            return None
        question = stream.question
        self.index.take(stream_id, stream.reads, question.session_id, stream.token_hash)
        _less(self._subjects, question.subject)
        for key in _counted(question):
            _less(self._resources, key)
        kept = self._finished if ending.cause is Cause.FINISHED else self._cut
        kept[stream_id] = Ended(
            stream_id,
            stream.token_hash,
            ending.cause,
            ending.sentence,
            self._clock.now(),
            ending.decision_id,
        )
        if len(kept) > self._ended_max:
            del kept[next(iter(kept))]
        for _, removed in self._watchers:
            removed(stream)
        return stream

    # --- finding -----------------------------------------------------------------------------------

    def get(self, stream_id: str) -> LiveStream | None:
        """Return a live stream."""
        return self._live.get(stream_id)

    def all(self) -> tuple[LiveStream, ...]:
        """Return all live streams, oldest first."""
        return tuple(self._live.values())

    def ids(self) -> Iterable[str]:
        """Return the ids of all live streams, oldest first. Look at it before anything changes."""
        return self._live.keys()

    def select(
        self, *, subject: str | None = None, session: str | None = None, resource: str | None = None
    ) -> tuple[LiveStream, ...]:
        """Return the streams that fit everything given, oldest first.

        Names are bare: `ada`, `ses_…`, `payroll`, `payroll/exports`, `ledger-db`. An app's name stands
        for its routes too.
        """
        return tuple(stream for stream in self._live.values() if _fits(stream, subject, session, resource))

    def views(
        self, *, subject: str | None = None, session: str | None = None, resource: str | None = None
    ) -> tuple[StreamView, ...]:
        """Return the streams that `select` finds, in plain values."""
        return tuple(map(view_of, self.select(subject=subject, session=session, resource=resource)))

    def ended(self, stream_id: str) -> Ended | None:
        """Return how a stream ended, while that is remembered."""
        return self._cut.get(stream_id) or self._finished.get(stream_id)

    # --- what changes while a stream lives ---------------------------------------------------------

    def note_bytes(self, stream_id: str, bytes_in: int, bytes_out: int, at: Instant) -> str | None:
        """Note what Envoy counted. Returns the session that is in use, if any byte has moved."""
        stream = self._live.get(stream_id)
        if stream is None or (bytes_in, bytes_out) == (stream.bytes_in, stream.bytes_out):
            return None
        stream.bytes_in, stream.bytes_out, stream.bytes_at = bytes_in, bytes_out, at
        return stream.question.session_id

    def redecided(self, stream: LiveStream, question: AccessRequest, reads: tuple[EntityRef, ...]) -> None:
        """Note what a live stream's new decision was about, and what it read."""
        stream.reads = self.index.reread(stream.id, stream.reads, reads)
        if question.resource != stream.question.resource:
            for key in _counted(stream.question):
                _less(self._resources, key)
            self._resources.update(_counted(question))
        stream.question = question

    def retoken(self, stream: LiveStream, token_hash: str) -> None:
        """Note that a live stream lives by another app session now: a step-up has replaced its own."""
        self.index.retoken(stream.id, stream.token_hash, token_hash)
        stream.token_hash = token_hash


def _fits(stream: LiveStream, subject: str | None, session: str | None, resource: str | None) -> bool:
    question = stream.question
    if subject is not None and (question.subject is None or question.subject.id != subject):
        return False
    if session is not None and question.session_id != session:
        return False
    name = question.resource.id
    return resource is None or name == resource or name.startswith(f"{resource}/")


def _door(resource: EntityRef) -> EntityRef:
    """Return what limits count by: an app with all its routes, or a service."""
    return EntityRef("App", resource.id.partition("/")[0]) if resource.type == "Route" else resource


def _porch(resource: EntityRef) -> EntityRef:
    """Return what the streams of a resource's public routes are counted by: those of nobody in particular."""
    return EntityRef("Porch", _door(resource).id)


def _counted(question: AccessRequest) -> tuple[EntityRef, ...]:
    """Return what a stream counts for, besides its subject and session."""
    door = _door(question.resource)
    return (door,) if question.subject is not None else (door, _porch(question.resource))


def _less(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]

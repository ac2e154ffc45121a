"""The index of live streams by what they read, so that a change finds those it concerns without a scan.

Pure: it holds ids. Streams that read the same are one footprint, and whatever has one stream only is kept
without a collection of its own: most sessions have one or two.
"""

from collections.abc import Collection, Hashable, Iterator
from typing import Generic, TypeVar

from limen.core.ids import EntityRef

K = TypeVar("K", bound=Hashable)

Reads = tuple[EntityRef, ...]


class Shelf(Generic[K]):
    """Ids by a key, in the order in which they came. One id alone costs no collection."""

    def __init__(self) -> None:
        self._held: dict[K, str | dict[str, None]] = {}

    def put(self, key: K, stream_id: str) -> None:
        """Set an id under a key."""
        held = self._held.get(key)
        if held is None:
            self._held[key] = stream_id
        elif isinstance(held, dict):
            held[stream_id] = None
        elif held != stream_id:
            self._held[key] = {held: None, stream_id: None}

    def take(self, key: K, stream_id: str) -> None:
        """Remove an id from under a key, if it is there."""
        held = self._held.get(key)
        if isinstance(held, dict):
            held.pop(stream_id, None)
            if not held:
                del self._held[key]
        elif held == stream_id:
            del self._held[key]

    def of(self, key: K) -> Collection[str]:
        """Return the ids under a key. Look at it before anything is put or taken."""
        held = self._held.get(key)
        if held is None:
            return ()
        return held if isinstance(held, dict) else (held,)

    def count(self, key: K) -> int:
        """Return how many ids are under a key."""
        return len(self.of(key))


class _Footprint:
    """Streams that read the same entities. Compared by identity: equal reads are one object."""

    __slots__ = ("ids", "reads")

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        self.ids: dict[str, None] = {}


class StreamIndex:
    """Ids of streams by the entities that they read, by session, and by app session."""

    def __init__(self) -> None:
        self._footprints: dict[Reads, _Footprint] = {}
        self._readers: dict[EntityRef, set[_Footprint]] = {}
        self._sessions: Shelf[str] = Shelf()
        self._tokens: Shelf[str] = Shelf()

    def put(self, stream_id: str, reads: Reads, session_id: str | None, token_hash: str) -> Reads:
        """Enter a stream; return `reads` as the one object that all who read the same share."""
        if session_id is not None:
            self._sessions.put(session_id, stream_id)
        if token_hash:
            self._tokens.put(token_hash, stream_id)
        return self._step(stream_id, reads)

    def take(self, stream_id: str, reads: Reads, session_id: str | None, token_hash: str) -> None:
        """Remove a stream that was entered so."""
        if session_id is not None:
            self._sessions.take(session_id, stream_id)
        self._tokens.take(token_hash, stream_id)
        self._leave(stream_id, reads)

    def reread(self, stream_id: str, old: Reads, new: Reads) -> Reads:
        """Note that a stream reads something else now; return `new` as it is shared."""
        if old == new:
            return old
        self._leave(stream_id, old)
        return self._step(stream_id, new)

    def retoken(self, stream_id: str, old: str, new: str) -> None:
        """Note that a stream lives by another app session now."""
        self._tokens.take(old, stream_id)
        self._tokens.put(new, stream_id)

    def by_ref(self, ref: EntityRef) -> Iterator[str]:
        """Yield the streams that read an entity. Drain it before anything changes."""
        for footprint in self._readers.get(ref, ()):
            yield from footprint.ids

    def by_session(self, session_id: str) -> Collection[str]:
        """Return the streams of a single sign-on session."""
        return self._sessions.of(session_id)

    def by_token(self, token_hash: str) -> Collection[str]:
        """Return the streams that live by an app session."""
        return self._tokens.of(token_hash)

    def _step(self, stream_id: str, reads: Reads) -> Reads:
        footprint = self._footprints.get(reads)
        if footprint is None:
            footprint = self._footprints[reads] = _Footprint(reads)
            for ref in reads:
                self._readers.setdefault(ref, set()).add(footprint)
        footprint.ids[stream_id] = None
        return footprint.reads

    def _leave(self, stream_id: str, reads: Reads) -> None:
        footprint = self._footprints[reads]
        del footprint.ids[stream_id]
        if footprint.ids:
            return
        del self._footprints[reads]
        for ref in reads:
            readers = self._readers[ref]
            readers.discard(footprint)
            if not readers:
                del self._readers[ref]

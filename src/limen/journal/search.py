"""Searching all journals under a folder: DuckDB over what is compacted, raw bytes over what is not yet.

What is sealed is found by the keys: a person's records name that person's key; an address, sealed, is one of
the ciphertexts that open to it. Whatever was found so is opened and compared with the query once more.
"""

import heapq
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import structlog

from limen.core.errors import Invalid
from limen.core.record import DecisionRecord, EventRecord, OutcomeRecord, Record
from limen.journal import raw, stored
from limen.journal.compacted import Candidate, opened_table
from limen.journal.keys import Keys
from limen.journal.query import Query
from limen.journal.records import decode_payload
from limen.journal.retention import marks_in_clear
from limen.journal.segments import SegmentName, read_seal

WITH_OUTCOMES = "gateway"  # the point whose decisions Envoy tells the outcomes of

log = structlog.get_logger("limen.journal")


class Joined(msgspec.Struct, frozen=True):
    """A decision with Envoy's outcome, when that has come."""

    decision: DecisionRecord
    outcome: OutcomeRecord | None = None


Hit = Joined | EventRecord


def search(root: Path, query: Query, keys: Keys | None = None) -> tuple[Hit, ...]:
    """Return the newest records that match, newest first, decisions with their outcomes."""
    return _Search(root, query, keys or Keys.open(root)).run()


def instant_of(hit: Hit) -> float:
    """Return when what was found happened."""
    return hit.decision.at if isinstance(hit, Joined) else hit.at


class _Search:
    def __init__(self, root: Path, query: Query, keys: Keys) -> None:
        self._query, self._keys = query, keys
        self._words = raw_words(query, keys)
        self._hot: list[list[SegmentName]] = []
        self._cold: list[Path] = []
        for node in stored.list_nodes(root) if query.node is None else stored.journals_of(root, query.node):
            names = stored.list_stored(root / node)
            self._hot.append([name for name in names if name.path.suffix != stored.COMPACTED])
            self._cold += (name.path for name in names if name.path.suffix == stored.COMPACTED)

    def run(self) -> tuple[Hit, ...]:
        """Search."""
        if not (self._query.decisions or self._query.events):
            return ()
        streams = [self._in_hot(names) for names in self._hot if names]
        if self._cold:
            streams.append(self._in_cold(self._cold))
        merged = heapq.merge(*streams, key=instant_of, reverse=True)
        found = list(islice(merged, self._query.limit))
        for stream in streams:
            stream.close()
        found.sort(key=instant_of, reverse=True)  # a node writes nearly in the order of instants
        return self._with_outcomes(found)

    def _in_hot(self, names: Sequence[SegmentName]) -> Generator[Hit, None, None]:
        for name in reversed(names):
            with stored.opened(name) as data:
                if data is not None:
                    if self._query.since is not None and _sealed_before(data, self._query.since):
                        return
                    frames = raw.frames_back(data, self._words)
                    yield from self._matching(Candidate(frame.position, frame.payload) for frame in frames)
                    continue
            yield from self._in_cold([stored.compacted_path(name)])  # compacted meanwhile

    def _in_cold(self, paths: Sequence[Path]) -> Generator[Hit, None, None]:
        with opened_table(paths) as table:
            yield from self._matching(table.find(self._query, self._keys))

    def _matching(self, candidates: Iterable[Candidate]) -> Generator[Hit, None, None]:
        for candidate in candidates:
            record = self._decode(candidate.position, candidate.payload)
            if not isinstance(record, DecisionRecord | EventRecord) or not self._query.matches(record):
                continue
            if isinstance(record, EventRecord):
                yield record
                continue
            outcome = candidate.outcome and self._decode(candidate.position, candidate.outcome)
            yield Joined(record, outcome if isinstance(outcome, OutcomeRecord) else None)

    def _decode(self, position: int, payload: bytes) -> Record | None:
        try:
            return decode_payload(payload, position, self._keys)
        except Invalid as error:  # one that cannot be read must not hide the others
            log.error("journal.unreadable", why=error.message)
            return None

    def _with_outcomes(self, found: list[Hit]) -> tuple[Hit, ...]:
        """Join the outcomes that stand elsewhere: in bytes not compacted, or in a later segment."""
        wanted = {
            hit.decision.id
            for hit in found
            if isinstance(hit, Joined) and hit.outcome is None and hit.decision.point == WITH_OUTCOMES
        }
        outcomes = {one.id: one for one in self._outcomes(wanted)}
        return tuple(
            Joined(hit.decision, outcomes[hit.decision.id])
            if isinstance(hit, Joined) and hit.decision.id in outcomes
            else hit
            for hit in found
        )

    def _outcomes(self, wanted: set[str]) -> Iterator[OutcomeRecord]:
        found: list[Candidate] = []
        for name in (name for names in self._hot for name in reversed(names) if wanted):
            with stored.opened(name) as data:
                for frame in raw.outcomes(data, wanted) if data is not None else ():
                    found.append(Candidate(frame.position, frame.payload))
        if wanted and self._cold:
            with opened_table(self._cold) as table:
                found += table.loose_outcomes(sorted(wanted))
        for one in found:
            record = self._decode(one.position, one.payload)
            if isinstance(record, OutcomeRecord):
                yield record


def raw_words(query: Query, keys: Keys) -> tuple[bytes, ...]:
    """Return words of which every record that matches holds one in its bytes."""
    person, owner = query.subject or query.actor, query.owner
    if query.erased_key is not None:
        words = [f'key":"{query.erased_key}']
    elif person is not None and query.id is None:
        words = [key.id for key in keys.keys_of(owner)] if owner else []
        words += marks_in_clear(owner or person)
    elif public := query.id or query.policy or query.code or query.resource:
        words = [msgspec.json.encode(public)[1:-1].decode()]
    elif query.verdict or query.event:
        name, value = ("verdict", query.verdict) if query.verdict else ("kind", query.event)
        words = [f'"{name}":"' + msgspec.json.encode(value)[1:-1].decode()]
    else:
        words = [f'"type":"{kind}"' for kind in ("decision", "event")]
    return tuple(word.encode() for word in words)


def _sealed_before(data: memoryview, since: float) -> bool:
    seal = read_seal(data)
    return seal is not None and not seal.recovered and seal.at < since

"""The memo: a decision that was made is not made again while nothing that it read has changed.

Law:
    D4 memo is invisible: a memoised answer equals a fresh one at every instant.

How it holds: built-in refusals and staleness are checked each time, before the memo. The key is the
slice and the projection of the facts on what the slice reads, from which Cedar's context is built too.
Time enters only through forms whose next edge is known; it ends the entry. Unmemoisable time and faults
are never kept. A change of policy or entity is another slice or digest: nothing needs flushing.
"""

from collections.abc import Hashable

import msgspec

from limen.core.decision import AccessRequest, Decision, Facts
from limen.core.ids import Instant
from limen.engine.bounded import Bounded
from limen.engine.decide import Judgement, Question, conclude, denied_by, judge, pose, refusal, refuse
from limen.engine.edges import to_ms
from limen.engine.policies import Policies

CAPACITY = 16_384  # entries, at about 0.8 kB each


class _Entry(msgspec.Struct, frozen=True):
    """A judgement, and the instant (ms) from which it holds: a clock may also be set back. None: always."""

    judgement: Judgement
    from_ms: int | None


class Memo:
    """Bounded memo of judgements, for one thread. Serves several bundles at once; old ones age out."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._entries: Bounded[Hashable, _Entry] = Bounded(capacity)
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def decide(self, request: AccessRequest, facts: Facts, policies: Policies) -> Decision:
        """Answer as `decide` does, from memory where that can not be told apart. Never raises."""
        try:
            code = refusal(request, facts)
            if code is not None:
                return refuse(code, policies.bundle)
            return self._recall(pose(request, facts, policies))
        except BaseException as fault:
            return denied_by(fault, policies.bundle)

    def _recall(self, question: Question) -> Decision:
        request, facts, _, part, grants = question
        if part.reads.unmemoisable:
            self.misses += 1
            return conclude(judge(question), question, "miss")
        key = (part, request.action, tuple(grant.id for grant in grants), part.lens.key(facts))
        entry = self._entries.get(key)
        if entry is not None and _holds(entry, request.at):
            self.hits += 1
            return conclude(entry.judgement, question, "hit")
        self.misses += 1
        judgement = judge(question)
        self._entries.put(key, _Entry(judgement, to_ms(request.at) if part.reads.forms else None))
        return conclude(judgement, question, "miss")


def _holds(entry: _Entry, at: Instant) -> bool:
    if entry.from_ms is None:
        return True
    at_ms = to_ms(at)
    edge_ms = entry.judgement.edge_ms
    return entry.from_ms <= at_ms and (edge_ms is None or at_ms < edge_ms)

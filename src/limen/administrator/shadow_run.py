"""One life of the shadow: follows the journals of all nodes, and decides each request again by the candidate.

Laws:
    S1 once. A decision is counted once, whenever the process dies: the cursor is kept with the counts.
    S2 bounded. It uses no more than its share of one core; what it cannot do at once, it does later, and
       says that it is behind.

Nothing of it is in a gateway: requests pay nothing for a shadow. A decision may lean on inputs that were
stored before, in the same segment (law J5), so each life reads again from the start of the segment.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from limen.administrator.shadow_state import Candidate, ShadowState, read_state, write_state
from limen.core.ids import Instant
from limen.core.record import DecisionRecord, InputsRecord
from limen.engine.bundle import parse_bundle
from limen.engine.replay_run import Replay
from limen.journal import stored
from limen.journal.follow import Follower, Stored

SHARE = 0.05  # of one core
BATCH = 500  # records between two pauses: some ten milliseconds
POLL_S = 0.25  # between two looks at journals in which nothing is new
SAVE_EVERY_S = 2.0
SAVE_SHARE = 0.05  # of the time, at most, goes into keeping the counts

Cursor = Mapping[str, tuple[str, int]]


class Shadowing:
    """Follows and counts. `step` reads some; `save` keeps what was counted."""

    def __init__(self, root: Path, folder: Path, candidate: Candidate) -> None:
        self._folder = folder
        self.state = read_state(folder, candidate) or ShadowState(candidate.bundle, candidate.started_at)
        self.state.lives += 1
        self.state.pid = os.getpid()
        self._spent_s = self.state.cpu_s
        self._resume: Cursor = dict(self.state.cursor or {})
        self._follower = Follower(root, segment_starts(root, self._resume, candidate.started_at))
        self._replay = Replay(
            parse_bundle(candidate.files), since=candidate.started_at, tally=self.state.tally
        )

    def step(self, limit: int = BATCH) -> int:
        """Read at most `limit` records; return how many there were."""
        found = self._follower.poll(limit)
        for one in found:
            self._take(one)
        self.state.behind = len(found) == limit
        return len(found)

    def save(self, now: float) -> None:
        """Keep the counts with the cursor that belongs to them."""
        report = self._replay.report()
        state = self.state
        state.cursor = {**self._follower.cursor, **self._resume}
        state.cpu_s = self._spent_s + time.process_time()
        state.saved_at = now
        state.evaluations, state.notes = report.evaluations, report.notes
        write_state(self._folder, state)

    def _take(self, one: Stored) -> None:
        record = one.record
        boot, position = self._resume.get(one.node, ("", 0))
        if (one.boot, one.position) < (boot, position):  # counted in an earlier life
            if isinstance(record, InputsRecord):
                self._replay.learn(record)
            return
        self._resume = {node: at for node, at in self._resume.items() if node != one.node}
        self.state.seen += 1
        self._replay.feed(record)
        if isinstance(record, DecisionRecord):
            self.state.latest_at = max(record.at, self.state.latest_at or record.at)


def segment_starts(root: Path, cursor: Cursor, since: Instant) -> dict[str, tuple[str, int]]:
    """Return a cursor at the start of each node's segment in which `cursor` is; of a node without one, in
    which the instant `since` is.
    """
    found: dict[str, tuple[str, int]] = {}
    for node in stored.list_nodes(root):
        at = cursor.get(node)
        for name in reversed(stored.list_stored(root / node)):
            header = stored.header(name)
            if header is None:
                continue
            found[node] = (name.boot, header.first)
            if found[node] <= at if at is not None else header.at <= since:
                break
    return found


def run_shadow(
    shadowing: Shadowing,
    stopping: threading.Event,
    *,
    share: float = SHARE,
    now: Callable[[], float] = time.time,
) -> None:
    """Go on until `stopping`, within the share of one core (law S2)."""
    saved_at, save_s = 0.0, 0.0
    while not stopping.is_set():
        began_cpu_s, began_s = time.process_time(), time.monotonic()
        count = shadowing.step()
        if began_s - saved_at >= max(SAVE_EVERY_S, save_s / SAVE_SHARE):
            shadowing.save(now())
            saved_at, save_s = time.monotonic(), time.monotonic() - began_s
        used_s = time.process_time() - began_cpu_s
        rest_s = used_s / share - (time.monotonic() - began_s)
        stopping.wait(max(rest_s, 0.0) if count else max(rest_s, POLL_S))
    shadowing.save(now())

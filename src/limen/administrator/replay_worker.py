"""The replay's own process (`limen.administrator.apart`): reads the journals, and tells how far it is."""

import gc
import time
from pathlib import Path
from typing import Any

import msgspec

from limen.administrator.apart import Tell
from limen.administrator.replaying import Job, Refusal
from limen.core.errors import BundleRefused
from limen.core.ids import Instant
from limen.core.record import DecisionRecord, Record
from limen.engine.bundle import parse_bundle
from limen.engine.replay_report import Report
from limen.engine.replay_run import Replay
from limen.journal.frame import Kind
from limen.journal.reader import JournalReader

NEEDED = frozenset({Kind.DECISION, Kind.INPUTS, Kind.BUNDLE})
TELL_EVERY_S = 0.2
LOOK_EVERY = 1_024  # records between two looks at the clock


def work(job: Any, tell: Tell) -> Any:
    """Do one job; return the report, or why there is none, JSON-ready."""
    gc.disable()  # it makes no cycles to speak of, and looking for some costs a fifth of the time
    try:
        found: Report | Refusal = run(msgspec.convert(job, Job), tell)
    except BundleRefused as error:
        found = Refusal(error.findings)
    return msgspec.to_builtins(found)


def run(job: Job, tell: Tell) -> Report:
    """Replay all journals.

    Raises:
        BundleRefused: the candidate's files are not a bundle.
    """
    candidate = None if job.files is None else parse_bundle(job.files)
    tell(0, 0)
    base = None if job.base is None else parse_bundle(job.base)
    replay = Replay(candidate, base=base, since=job.since)
    root = Path(job.journal)
    reader = JournalReader(root)
    began = told = time.monotonic()
    done, now = 0.0, time.time()
    for node, weight in _weights(root, reader.nodes()).items():
        span = _Span(job.since, now)
        for count, record in enumerate(reader.read(node=node, since=job.since, kinds=NEEDED)):
            replay.feed(record)
            if count % LOOK_EVERY == 0 and (at := time.monotonic()) - told > TELL_EVERY_S:
                told, read = at, replay.tally.decisions
                part = done + weight * span.part(record)
                tell(read, max(read, round(read / part)) if part else 0)
        done += weight
    tell(replay.tally.decisions, replay.tally.decisions)
    return replay.report(time.monotonic() - began)


class _Span:
    """How far in time a journal is read: its records stand in that order."""

    def __init__(self, since: Instant | None, until: Instant) -> None:
        self._first, self._until = since, until
        self._part = 0.0

    def part(self, record: Record) -> float:
        if isinstance(record, DecisionRecord):
            self._first = record.at if self._first is None else self._first
            whole = max(self._until - self._first, 1e-9)
            self._part = min(1.0, max(self._part, (record.at - self._first) / whole))
        return self._part


def _weights(root: Path, nodes: tuple[str, ...]) -> dict[str, float]:
    """Return the part of all bytes that each node's journal has."""
    sizes = {node: sum(map(_size, (root / node).iterdir())) for node in nodes}
    whole = max(sum(sizes.values()), 1)
    return {node: size / whole for node, size in sizes.items()}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # retention or compaction removed it meanwhile
        return 0

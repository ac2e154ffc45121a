"""The replay's process: reads the journals, and says how far it is, and at last what it found.

Run as `python -m limen.administrator.replay_worker`, with a job on standard input. It ends when nobody
reads what it says.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import structlog

from limen.administrator.replay_wire import Failed, Job, Progress, parse_job, render_message
from limen.core.errors import BundleRefused, LimenError
from limen.core.ids import Instant
from limen.core.record import DecisionRecord, Record
from limen.engine.bundle import parse_bundle
from limen.engine.replay_report import Report
from limen.engine.replay_run import Replay
from limen.journal.reader import JournalReader

NICENESS = 15  # requests go first, explanations too
TELL_EVERY_S = 0.2
LOOK_EVERY = 1_024  # records between two looks at the clock


def run(job: Job) -> Iterator[Progress | Report]:
    """Yield how far it is a few times a second, and at last the report.

    Raises:
        BundleRefused: the candidate's files are not a bundle.
    """
    candidate = None if job.files is None else parse_bundle(job.files)
    replay = Replay(candidate, since=job.since)
    root = Path(job.journal)
    began = told = time.monotonic()
    reader = JournalReader(root)
    weights = _weights(root, reader.nodes())
    done, now = 0.0, time.time()
    for node, weight in weights.items():
        span = _Span(job.since, now)
        for count, record in enumerate(reader.read(node=node, since=job.since)):
            replay.feed(record)
            if count % LOOK_EVERY == 0 and (at := time.monotonic()) - told > TELL_EVERY_S:
                told = at
                yield Progress(replay.tally.decisions, min(1.0, done + weight * span.part(record)))
        done += weight
    report = replay.report(time.monotonic() - began)
    yield Progress(report.decisions, 1.0)
    yield report


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
    sizes = {node: sum(one.stat().st_size for one in (root / node).iterdir()) for node in nodes}
    whole = max(sum(sizes.values()), 1)
    return {node: size / whole for node, size in sizes.items()}


def main(job: BinaryIO, answers: BinaryIO) -> None:
    """Do one job."""
    try:
        for message in run(parse_job(job.read())):
            answers.write(render_message(message))
            answers.flush()
    except BundleRefused as error:
        answers.write(render_message(Failed(error.message, error.remedy, error.code, error.findings)))
    except LimenError as error:
        answers.write(render_message(Failed(error.message, error.remedy, error.code)))
    answers.flush()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    os.nice(NICENESS)
    main(sys.stdin.buffer, sys.stdout.buffer)

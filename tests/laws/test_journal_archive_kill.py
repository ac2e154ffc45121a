"""kill -9 of whoever archives or exports, at any moment: every record is there once, and no doubt arises.

Each is a fork of a process that has never used DuckDB, whose threads no fork survives; what it does is what
`limen audit compact` and `limen audit export` do.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from journal_rig import JournalRig

from limen.journal import archive, stored
from limen.journal.export.formats import ENCODERS
from limen.journal.export.reading import read_rows
from limen.journal.export.rows import Wanted
from limen.journal.query import DECISIONS, Query
from limen.journal.retention import Retention
from limen.journal.search import search
from limen.journal.writer import JournalOptions

NODE, RECORDS, KILLS = "gateway-a", 60, 5
SEGMENTS = JournalOptions(segment_bytes=4000, reserve_bytes=0)


def test_kills_at_random_leave_every_record_and_no_doubt(tmp_path: Path) -> None:
    rig = JournalRig(tmp_path / "s")
    rig.boot(NODE, RECORDS, SEGMENTS)
    rig.boot(NODE, 1, SEGMENTS)
    rig.countersigner().tick()
    rig.close()
    segments = len(stored.list_stored(rig.journal / NODE))
    assert segments > 4
    other = rig.copy(tmp_path / "other")
    took_s = in_child(partial(compact, other))
    for number in range(1, KILLS + 1):
        in_child(partial(compact, rig), random.uniform(0.2, 1.0) * took_s * number / KILLS)
        in_child(partial(export, rig.journal, tmp_path / "out"), random.uniform(0, took_s / 10))
        in_child(partial(check, rig))
    in_child(partial(compact, rig))
    in_child(partial(check, rig))
    assert not list(rig.journal.rglob("*.tmp"))
    assert len(list((rig.journal / NODE).glob("*.seg"))) == 1
    assert len(list((rig.journal / NODE).glob("*.parquet"))) == segments - 1


def check(rig: JournalRig) -> None:
    query = Query(kinds=(DECISIONS,), limit=10_000, since=0.0)
    found = sorted(hit.decision.id for hit in search(rig.journal, query))
    assert found == [f"dec-{NODE}-{number:06d}" for number in range(1, RECORDS + 2)]
    report = rig.verify()
    assert report.whole, report.doubts


def compact(rig: JournalRig) -> None:
    report = archive.tend(rig.journal, Retention(), rig.clock.now())
    assert report.failed == {}


def export(root: Path, to: Path) -> None:
    to.write_bytes(b"\n".join(ENCODERS["jsonl"](row) for row in read_rows(root, Wanted())))


def in_child(work: Callable[[], None], kill_after_s: float | None = None) -> float:
    """Do something in a process of its own, which is killed after a while or must do it; return the time."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after_s is not None:
        signal.sigtimedwait((), kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert kill_after_s is not None or status == 0
    return time.monotonic() - began

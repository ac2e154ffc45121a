"""kill -9 of whoever archives or exports, at any moment: every record is there once, and no doubt arises.

The child is forked, so that its start costs nothing; what it does is what `limen audit compact` and
`limen audit export` do.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from journal_rig import JournalRig

from limen.journal import archive, stored
from limen.journal.export.formats import ENCODERS
from limen.journal.export.reading import read_rows
from limen.journal.export.rows import Wanted
from limen.journal.query import DECISIONS, Query
from limen.journal.retention import Retention
from limen.journal.search import search

NODE, RECORDS, KILLS = "gateway-a", 120, 8


def test_kills_at_random_leave_every_record_and_no_doubt(tmp_path: Path) -> None:
    rig = JournalRig(tmp_path)
    for _ in range(2):
        rig.boot(NODE, RECORDS // 2)
    rig.countersigner().tick()
    wanted = ids(rig)
    assert len(wanted) == RECORDS
    began = time.monotonic()
    archive.tend(rig.copy(tmp_path / "whole").journal, Retention(), rig.clock.now())
    took_s = time.monotonic() - began
    try:
        for _ in range(KILLS):
            kill_at_random(lambda: archive.tend(rig.journal, Retention(), rig.clock.now()), took_s)
            kill_at_random(lambda: export(rig.journal, tmp_path / "out"), took_s / 10)
            assert ids(rig) == wanted
            assert rig.verify().whole
        report = archive.tend(rig.journal, Retention(), rig.clock.now())
        assert report.failed == {}
        assert not list(rig.journal.rglob("*.tmp"))
        assert len(list((rig.journal / NODE).glob("*.seg"))) == 1
        assert ids(rig) == wanted
        assert rig.verify().whole
    finally:
        rig.close()


def ids(rig: JournalRig) -> list[str]:
    """Return the ids of every decision that is found."""
    query = Query(kinds=(DECISIONS,), limit=10_000, since=0.0)
    return sorted(hit.decision.id for hit in search(rig.journal, query))


def export(root: Path, to: Path) -> None:
    to.write_bytes(b"\n".join(ENCODERS["jsonl"](row) for row in read_rows(root, Wanted())))


def kill_at_random(work: Callable[[], object], within_s: float) -> None:
    """Do something in a process that is killed at some moment of it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    ends = time.monotonic() + random.uniform(0, within_s)
    while time.monotonic() < ends:  # busy: a sleep is no instant
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_the_rig_has_several_segments(tmp_path: Path) -> None:
    rig = JournalRig(tmp_path)
    rig.boot(NODE, RECORDS // 2)
    assert len(stored.list_stored(rig.journal / NODE)) > 5

"""J3: what was acknowledged is there after kill -9, in order, and the journal opens by itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from limen.core.clock import FakeClock
from limen.core.record import EventRecord
from limen.journal.reader import JournalReader
from limen.journal.writer import Journal, JournalOptions

WRITER = """
import os, sys
from pathlib import Path
from limen.core.clock import SystemClock
from limen.core.record import EventRecord
from limen.journal.writer import Journal, JournalOptions

options = JournalOptions(segment_bytes=20_000, reserve_bytes=0)
journal = Journal.open(Path(sys.argv[1]), "gateway", SystemClock(), options=options)
number = int(sys.argv[2])
while True:
    reason = "x" * (number % 700)
    journal.append(EventRecord(str(number), 1.0, "gateway", "test.written", "writer", reason=reason))
    os.write(1, f"{number}\\n".encode())
    number += 1
"""


def run_until_killed(root: Path, first: int, acknowledged: int) -> int:
    """Let a writer write, kill it after so many acknowledgements, return the last it has given."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first)], stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    heard = b""
    while heard.count(b"\n") < acknowledged:
        more = os.read(process.stdout.fileno(), 65536)
        assert more, "the writer stopped by itself"
        heard += more
    process.send_signal(signal.SIGKILL)
    process.wait()
    heard += process.stdout.read()
    process.stdout.close()
    return int(heard[: heard.rindex(b"\n")].rsplit(b"\n", 1)[-1])


@pytest.mark.parametrize("acknowledged", [1, 40, 333])
def test_j3_acknowledged_records_outlive_kill_9(tmp_path: Path, acknowledged: int) -> None:
    first = 0
    for _ in range(3):
        last = run_until_killed(tmp_path, first, acknowledged)
        written = [int(event.id) for event in JournalReader(tmp_path).events(kind="test.")]
        assert written == list(range(len(written)))  # nothing missing, nothing twice, in order
        assert last <= written[-1] <= last + 1  # one may have been written and not yet acknowledged
        first = written[-1] + 1
    with Journal.open(tmp_path, "gateway", FakeClock(), options=JournalOptions(reserve_bytes=0)) as journal:
        assert journal.wait_checked(10)
        assert journal.losses == ()
        journal.append(EventRecord(str(first), 1.0, "gateway", "test.written", "writer"))
    assert [int(e.id) for e in JournalReader(tmp_path).events(kind="test.")] == list(range(first + 1))

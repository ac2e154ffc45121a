"""J3: what was acknowledged is there after kill -9, in order, and the journal opens by itself.

The writer appends groups of records about people, so each run kills it in the middle of a group's one
write, of the making of a key, or of neither.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from limen.core.clock import FakeClock
from limen.core.record import EventRecord
from limen.journal.frame import Frame, Kind, scan
from limen.journal.keys import Keys
from limen.journal.records import decode_record
from limen.journal.segments import list_segments
from limen.journal.writer import Journal, JournalOptions

WRITER = """
import os, sys
from pathlib import Path
from limen.core.clock import SystemClock
from limen.core.record import EventRecord, InputsRecord
from limen.journal.writer import Journal, JournalOptions, Once

options = JournalOptions(segment_bytes=20_000, reserve_bytes=0, sync=sys.argv[3] == "sync")
journal = Journal.open(Path(sys.argv[1]), "gateway", SystemClock(), options=options)
number = int(sys.argv[2])
while True:
    group = []
    for number in range(number, number + 1 + number % 5):
        subject = {"root": ["User", f"p{number % 7}"], "entities": []}
        inputs = InputsRecord(f"i{number % 7}", {"subject": subject})
        reason = "x" * (number % 700)
        group.append(Once("inputs", inputs.id, lambda inputs=inputs: inputs))
        event = EventRecord(str(number), 1.0, "gateway", "test.written", f"p{number % 7}", reason=reason)
        group.append(event)
    journal.append_many(group)
    os.write(1, f"{number}\\n".encode())
    number += 1
"""


def run_until_killed(root: Path, first: int, acknowledged: int, mode: str) -> int:
    """Let a writer write, kill it after so many acknowledgements, return the last it has given."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first), mode], stdout=subprocess.PIPE, bufsize=0
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


def events(root: Path) -> list[EventRecord]:
    """Return the test's events in the order of the files, each opened with its key."""
    keys, found = Keys.open(root), []
    for name in list_segments(root / "gateway"):
        for part in scan(name.path.read_bytes()):
            assert isinstance(part, Frame)
            record = decode_record(part, keys) if part.kind < Kind.HEADER else None
            if isinstance(record, EventRecord) and record.kind == "test.written":
                found.append(record)
    return found


@pytest.mark.parametrize(("acknowledged", "mode"), [(1, ""), (9, "sync"), (40, ""), (200, "")])
def test_j3_acknowledged_records_outlive_kill_9(tmp_path: Path, acknowledged: int, mode: str) -> None:
    first = 0
    for _ in range(2):
        last = run_until_killed(tmp_path, first, acknowledged + random.randrange(5), mode)
        with Journal.open(tmp_path, "gateway", FakeClock(), options=JournalOptions(reserve_bytes=0)):
            written = events(tmp_path)  # a torn end is cut off
        assert [int(event.id) for event in written] == list(range(len(written)))  # none missing, none twice
        assert all(event.actor == f"p{int(event.id) % 7}" for event in written)  # no key was lost
        assert all(len(event.reason) == int(event.id) % 700 for event in written)
        # Up to two groups may have been written, in part perhaps, and not yet heard of.
        assert last <= int(written[-1].id) <= last + 10
        first = int(written[-1].id) + 1
    with Journal.open(tmp_path, "gateway", FakeClock(), options=JournalOptions(reserve_bytes=0)) as journal:
        assert journal.wait_checked(10)
        assert journal.losses == ()
        journal.append(EventRecord(str(first), 1.0, "gateway", "test.written", "writer"))
    assert [int(event.id) for event in events(tmp_path)] == list(range(first + 1))

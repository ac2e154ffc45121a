"""The archive: bytes per record hot and compacted, and one person's month of 1,000,000 records searched.

python -m benchmarks archive [RECORDS]
"""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.journal_world import STARTED_AT, JournalWorld
from limen.core.clock import FakeClock
from limen.core.record import DecisionRecord
from limen.journal import stored
from limen.journal.archive import tend
from limen.journal.query import DECISIONS, EVENTS, Query
from limen.journal.retention import Retention
from limen.journal.search import search
from limen.journal.volume import count_volume
from limen.journal.writer import Journal, JournalOptions

BOTH = (DECISIONS, EVENTS)
NODE = "gateway-a"


def main(*, quick: bool = False) -> None:
    """Measure, and print."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    count = numbers[0] if numbers else 100_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="limen-archive-") as folder:
        root = Path(folder)
        person = _fill(root, count)
        hot = _bytes(root)
        print(f"{count:,} records: {hot / count:.0f} bytes a record hot")
        began = time.process_time()
        report = tend(root, Retention(), STARTED_AT)
        took_s = time.process_time() - began
        compacted = report.bytes_before / (hot / count)
        print(
            f"compacted: {report.bytes_after / compacted:.0f} bytes a record, "
            f"{report.bytes_after / report.bytes_before:.1%}; {compacted / took_s:,.0f} records/s of CPU"
        )
        left = [name.path.stat().st_size for name in stored.list_stored(root / NODE)]
        print(f"newest segment, not compacted: {left[-1] / 2**20:.0f} MiB")
        for label, query in (
            ("one person, newest 100", Query(subject=person, kinds=BOTH, limit=100)),
            ("one person, all", Query(subject=person, kinds=BOTH, limit=10_000)),
            ("nobody", Query(subject="nobody-here", kinds=BOTH)),
            ("denied, newest 100", Query(verdict="deny", limit=100)),
            ("a network, newest 100", Query(address="203.0.113.0/25", limit=100)),
            ("a rare text", Query(text="no such text", limit=100)),
        ):
            began = time.perf_counter()
            found = search(root, query)
            print(f"{label}: {len(found)} found in {time.perf_counter() - began:.2f} s")
        began = time.perf_counter()
        count_volume(root, 0.0)
        print(f"volume of all: {time.perf_counter() - began:.2f} s")


def _fill(root: Path, count: int) -> str:
    """Write the records; return a person of them."""
    person = ""
    options = JournalOptions(reserve_bytes=0)
    with Journal.open(root, NODE, FakeClock(STARTED_AT), options=options) as journal:
        for record in JournalWorld().records(count):
            if isinstance(record, DecisionRecord) and not person and record.subject:
                person = record.subject
            journal.append(record)
    return person


def _bytes(root: Path) -> int:
    return sum(name.path.stat().st_size for name in stored.list_stored(root / NODE))


if __name__ == "__main__":
    main()

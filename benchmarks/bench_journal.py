"""The journal: records a second as the gateway writes them, what proofs and sealing cost, bytes of a record.

Run `python -m benchmarks journal [N]`. Prints rates and ratios of CPU time; asserts nothing. `PARTS` are
measured one after the other on the journal that the first one has written.
"""

import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.journal_world import STARTED_AT, JournalWorld
from limen.core.clock import FakeClock
from limen.core.record import Record
from limen.journal import chain, intake, walk
from limen.journal.checkpoints import load_node_signer
from limen.journal.merkle import Frontier
from limen.journal.records import encode_record
from limen.journal.statements import Places, Trust
from limen.journal.verify import verify_journals
from limen.journal.writer import Journal, JournalOptions, Once

COUNT, QUICK = 1_000_000, 100_000
COMPARED = 100_000  # records of each variant that is compared
TURN = 4  # requests that a busy gateway answers in one turn of its loop
DAY_RECORDS = 33_000  # of a day: fewer records are fewer days, so that inputs come back as often
NODE = "gw"  # as the records say


class Written(NamedTuple):
    """What one run has written, and the CPU seconds that it took."""

    records: int
    seconds: float
    sizes: list[int]

    @property
    def rate(self) -> float:
        return self.records / self.seconds


Part = Callable[[Path, int], None]
"""Measures something of the journal in a folder that holds about so many records, and prints it."""

PARTS: list[Part] = []
"""Added to by what reads, proves, compacts: `PARTS.append(verify)`."""


def write(root: Path, count: int, *, turn: int = TURN, sync: bool = False) -> Written:
    """Append about `count` records; only the appending is timed."""
    sizes: list[int] = []

    def counting(file: int, data: bytes) -> int:
        sizes.append(len(data))
        return os.write(file, data)

    options = JournalOptions(sync=sync)
    spent, first, last = 0.0, 0, 0
    signer = load_node_signer(_keys(root), root, NODE)
    clock = FakeClock(STARTED_AT)
    with Journal.open(root, NODE, clock, options=options, write=counting, signer=signer) as journal:
        for batch in _batches(JournalWorld(days=max(1, count // DAY_RECORDS)).turns(count, turn=turn)):
            began = time.perf_counter() if sync else time.process_time()
            for items in batch:
                last = journal.append_many(items) or last
            spent += (time.perf_counter() if sync else time.process_time()) - began
    return Written(last + 1 - first, spent, sizes)


def _keys(root: Path) -> Path:
    """Return the folder of keys beside a journal."""
    keys = root.with_name(f"{root.name}-keys")
    keys.mkdir(parents=True, exist_ok=True)
    root.mkdir(exist_ok=True)
    return keys


def verify(root: Path, records: int) -> None:
    """Print how fast the whole of it is verified."""
    signer = load_node_signer(_keys(root), root, NODE)
    began, cpu = time.perf_counter(), time.process_time()
    with patch.object(walk, "SKEW_S", math.inf):  # the records' time is that of another world
        report = verify_journals(Places(root), Trust(nodes={NODE: signer.key()}))
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    assert not report.doubts, report.doubts
    each = f"{records / spent:,.0f} of one core"
    print(f"{'verify':<44} {records / took:10,.0f} records/s by the clock, {each}")


PARTS.append(verify)


def best(folder: Path, count: int, *, turn: int = TURN, rounds: int = 2) -> Written:
    """Return the fastest of some runs, each in a folder of its own."""
    runs = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as root:
            runs.append(write(Path(root), count, turn=turn))
    return max(runs, key=lambda run: run.rate)


def _batches(turns: Iterator[list[Record | Once]]) -> Iterator[list[list[Record | Once]]]:
    while batch := list(islice(turns, 5_000)):
        yield batch


def bare(folder: Path, sizes: list[int]) -> float:
    """Return the CPU seconds of bare writes of the same sizes."""
    data = os.urandom(max(sizes))
    file = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began = time.process_time()
    for size in sizes:
        os.write(file, data[:size])
    spent = time.process_time() - began
    os.close(file)
    (folder / "bare").unlink()
    return spent


def without(*, proofs: bool = False, sealing: bool = False) -> ExitStack:
    """Leave proofs, or sealing, out of what is written until the stack is closed."""
    stack = ExitStack()
    if proofs:
        stack.enter_context(patch.object(chain, "leaf_hash", lambda payload: b""))
        stack.enter_context(patch.object(Frontier, "add", lambda self, leaf: None))
    if sealing:
        stack.enter_context(patch.object(intake, "encode_record", lambda record, keys: encode_record(record)))
    return stack


def compare(folder: Path, count: int) -> None:
    """Print what a record costs, and what of that is whose."""
    whole = best(folder, count)
    alone = best(folder, count, turn=0)
    with without(proofs=True):
        unproved = best(folder, count)
    with without(sealing=True):
        clear = best(folder, count)
    written = bare(folder, whole.sizes) / whole.records
    each = whole.seconds / whole.records
    print(f"{'append, proofs and sealing':<44} {whole.rate:10,.0f} records/s of one core")
    print(f"{'  the same, each request by itself':<44} {alone.rate:10,.0f} records/s")
    print(f"{'  the same, without proofs':<44} {unproved.rate:10,.0f} records/s")
    print(f"{'  the same, without sealing':<44} {clear.rate:10,.0f} records/s")
    print(f"{'  to bare writes of the same bytes':<44} {each / written:10.1f} ×")
    print(f"{'  to itself without proofs':<44} {unproved.rate / whole.rate:10.2f} ×")
    print(f"{'  to itself without sealing':<44} {clear.rate / whole.rate:10.2f} ×")
    synced = write(folder / "synced", min(count, 4_000), sync=True)
    print(f"{'append, sync (by the clock, of this disk)':<44} {synced.rate:10,.0f} records/s")


def main(*, quick: bool = False) -> None:
    """Run all."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    count = numbers[0] if numbers else QUICK if quick else COUNT
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compare(folder, min(count, COMPARED))
        done = write(folder / "journal", count)
        size = sum(path.stat().st_size for path in (folder / "journal" / NODE).glob("*.seg"))
        print(f"{f'append, {done.records:,} records':<44} {done.rate:10,.0f} records/s of one core")
        print(f"{'bytes of a record, hot':<44} {size / done.records:10.0f}")
        for part in PARTS:
            part(folder / "journal", done.records)


if __name__ == "__main__":
    main()

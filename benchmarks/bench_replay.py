"""What a replay under another bundle costs: `python -m benchmarks replay [N]`.

Prints, asserts nothing. Goal of issue 4: at least 50,000 records/s on one core, thanks to shared inputs.
A record is whatever the journal holds: decisions, their outcomes, stored inputs, events. The naive way
derives each decision alone, from its own inputs: what `limen decisions show` does for one.
"""

import gc
import os
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.journal_world import JournalWorld, bundle_files
from limen.administrator.replay_worker import NEEDED
from limen.core.clock import SystemClock
from limen.core.record import DecisionRecord, InputsRecord, Record
from limen.engine.bundle import parse_bundle
from limen.engine.decide import decide
from limen.engine.policies import compile_policies
from limen.engine.replay import restore
from limen.engine.replay_report import Effect, Report
from limen.engine.replay_run import Replay
from limen.journal.reader import JournalReader
from limen.journal.writer import Journal

NAIVE = 2_000  # decisions derived one by one: enough to know what one costs


def candidate_files() -> dict[str, str]:
    """Return a candidate: one group loses some apps, a guardrail looks at the hour and at the address."""
    files = bundle_files(without=("sales",))
    files["policies/guardrails/new.cedar"] = (
        '@id("office") forbid(principal in Group::"contractors", action == Action::"write", resource)\n'
        "unless { context.hour >= 7 && context.hour < 19 };\n"
        '@id("away") forbid(principal, action, resource)\n'
        'when { context.network.ip.isInRange(ip("198.51.7.0/24")) };\n'
    )
    return files


def fed(records: list[Record], files: dict[str, str]) -> tuple[Report, float]:
    """Return the report of a replay, and the seconds of processor time that it took."""
    replay = Replay(parse_bundle(files))
    began = time.process_time()
    for record in records:
        replay.feed(record)
    return replay.report(), time.process_time() - began


def naive_s(records: list[Record], files: dict[str, str]) -> float:
    """Return the seconds that one decision takes when it is derived alone."""
    compiled = compile_policies(parse_bundle(files))
    inputs = {
        record.id: msgspec.json.encode(record) for record in records if isinstance(record, InputsRecord)
    }
    wanted = [record for record in records if isinstance(record, DecisionRecord)][:NAIVE]
    began = time.process_time()
    for record in wanted:
        decide(*restore(record, msgspec.json.decode(inputs[record.inputs], type=InputsRecord)), compiled)
    return (time.process_time() - began) / len(wanted)


def row(name: str, value: str, more: str = "") -> None:
    """Print one line."""
    print(f"{name:<46} {value:>16}  {more}")


def main(*, quick: bool = False) -> None:
    """Print the table."""
    gc.disable()  # as the replay's own process does
    numbers = [int(text) for text in sys.argv[1:] if text.isdigit()]
    count = numbers[0] if numbers else 100_000 if quick else 1_000_000
    world, files = JournalWorld(), candidate_files()
    records = list(world.records(count))
    report, took_s = fed(records, files)
    decisions = report.decisions
    row("records, decisions among them", f"{count:,}", f"{decisions:,}")
    row(
        "distinct inputs",
        f"{report.inputs:,}",
        f"{decisions / max(report.inputs, 1):.1f} decisions share one",
    )
    row("questions that Cedar was asked", f"{report.evaluations:,}", "")
    row("replay of what is read", f"{count / took_s:,.0f}/s", f"{decisions / took_s:,.0f} decisions/s")
    each = naive_s(records, files)
    row("one decision derived alone", f"{each * 1e6:,.0f} us", f"{each * decisions / took_s:.1f} x slower")
    lost = report.times(Effect.LOSES, Effect.STEP_UP)
    row(
        "people who lose something",
        f"{len(report.losers):,}",
        f"{lost:,} decisions, {len(report.differences)} groups",
    )
    del records
    with tempfile.TemporaryDirectory() as folder:
        with Journal.open(Path(folder), "gw", SystemClock()) as journal:
            world.fill(journal, count)
        replay = Replay(parse_bundle(files))
        began = time.process_time()
        for record in JournalReader(Path(folder)).read(kinds=NEEDED):
            replay.feed(record)
        took_s = time.process_time() - began
        found = replay.report()
    row(
        "with reading and unsealing the journal",
        f"{count / took_s:,.0f}/s",
        f"goal >= 50,000; {found.derived:,} derived",
    )
    row("on", f"{os.cpu_count()} cores", "one is used")


if __name__ == "__main__":
    main()

"""Law K1 with real processes: collectors and sinks are killed and started again, and every record arrives."""

import json
import random
import subprocess
import sys
from pathlib import Path

import msgspec
from sink_collector import __file__ as collector_file
from sink_rig import __file__ as rig_file
from sink_rig import make_certificates, some, wait_for

from limen.core.catalogue import ExportConfig
from limen.core.clock import SystemClock
from limen.core.record import OutcomeRecord
from limen.journal.follow import Follower
from limen.journal.writer import Journal, JournalOptions

KINDS = ("syslog", "https", "otlp")
ROUNDS, RECORDS = 3, 60
SEED = 4


class Killable:
    """A process that is killed, and started again with the same arguments."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = list(arguments)
        self.said = self.start()

    def start(self) -> str:
        self._process = subprocess.Popen([sys.executable, *self.arguments], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)


def collector(kind: str, folder: Path, out: Path) -> Killable:
    made = Killable(collector_file, kind, "0", str(folder), str(out))
    made.arguments[2] = made.said  # the same port from now on
    return made


def told(out: Path) -> tuple[set[str], set[str]]:
    """Return the places that a collector has, and the decisions whose outcome it was told."""
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    return {row["uid"] for row in rows}, {row["id"] for row in rows if "status" in row}


def test_k1_at_least_once(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    certificates, root = tmp_path / "certificates", tmp_path / "journal"
    ca = make_certificates(certificates)
    outs = {kind: tmp_path / f"{kind}.jsonl" for kind in KINDS}
    collectors = {kind: collector(kind, certificates, outs[kind]) for kind in KINDS}
    urls = {
        kind: f"localhost:{one.said}" if kind == "syslog" else f"https://localhost:{one.said}/v1/logs"
        for kind, one in collectors.items()
    }
    wanted = {kind: ExportConfig(kind, kind, urls[kind], format="jsonl", ca_pem=ca) for kind in KINDS}
    (tmp_path / "configs.json").write_bytes(msgspec.json.encode(wanted))
    sinks = Killable(rig_file, str(root), str(tmp_path / "state"), str(tmp_path / "configs.json"))
    try:
        for number in range(ROUNDS):
            options = JournalOptions(segment_bytes=20_000, reserve_bytes=0)
            with Journal.open(root, f"gateway-{number % 2}", SystemClock(), options=options) as journal:
                before = sum(len(told(out)[0]) for out in outs.values())
                for place, record in enumerate(some(RECORDS, 1_800_000_000.0 + number * RECORDS)):
                    journal.append(record)
                    if place == RECORDS:
                        victim = chance.choice([sinks, *collectors.values()])
                        wait_for(lambda before=before: sum(len(told(o)[0]) for o in outs.values()) > before)
                        victim.kill()
                victim.start()
        sinks.kill()
        sinks.start()
        stored = Follower(root).poll()
        outcomes = {one.record.id for one in stored if isinstance(one.record, OutcomeRecord)}
        rows = {f"{n}/{b}/{p}" for n, b, p, record in stored if not isinstance(record, OutcomeRecord)}
        for out in outs.values():
            wait_for(lambda out=out: rows <= told(out)[0] and told(out)[1] == outcomes, 30)
    finally:
        sinks.kill()
        for one in collectors.values():
            one.kill()

"""A small system of journals: nodes that write, control that countersigns, somebody who verifies."""

import shutil
from collections.abc import Callable
from pathlib import Path

from limen.administrator.countersign import Countersigner
from limen.core.clock import FakeClock
from limen.core.record import DecisionRecord, EventRecord
from limen.journal.checkpoints import load_countersigner, load_node_signer
from limen.journal.findings import Report
from limen.journal.note import Algorithm, VerifierKey
from limen.journal.statements import Places, Trust
from limen.journal.verify import verify_journals
from limen.journal.writer import Journal, JournalOptions
from limen.store.database import Store

SMALL = JournalOptions(segment_bytes=2500, reserve_bytes=0)


def decision(number: int, node: str, at: float) -> DecisionRecord:
    return DecisionRecord(
        f"dec-{node}-{number:06d}", at, node, "gateway", "allow", "PERMITTED", "b", "i", "read", 'App::"wiki"'
    )


class JournalRig:
    """What control's state folder holds of the journals, with a clock that tests move."""

    def __init__(self, root: Path, clock: FakeClock | None = None) -> None:
        self.root = root
        self.clock = clock or FakeClock()
        self.journal, self.keys = root / "journal", root / "keys"
        self.countersigned, self.witness = root / "checkpoints", root / "witness"
        for folder in (self.journal, self.keys, self.countersigned, self.witness):
            folder.mkdir(exist_ok=True, parents=True)
        self.events: list[EventRecord] = []
        self.store: Store | None = None
        self.number = 0

    def copy(self, root: Path) -> "JournalRig":
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        clock = FakeClock(self.clock.now())
        rig = JournalRig(root, clock)
        rig.number = self.number
        return rig

    def open(self, node: str, options: JournalOptions = SMALL) -> Journal:
        signer = load_node_signer(self.keys, self.journal, node)
        return Journal.open(self.journal, node, self.clock, options=options, signer=signer)

    def write(self, journal: Journal, node: str, records: int, *, every: int = 5) -> None:
        for _ in range(records):
            self.number += 1
            self.clock.advance(1.0)
            journal.append(decision(self.number, node, self.clock.now()))
            if self.number % every == 0:
                journal.tend()

    def boot(self, node: str, records: int, options: JournalOptions = SMALL) -> str:
        with self.open(node, options) as journal:
            self.write(journal, node, records)
            return journal.boot

    def countersigner(self, pause: Callable[[], None] = lambda: None) -> Countersigner:
        if self.store is None:
            self.store = Store.open(self.root / "limen.db", self.clock)
        signer = load_countersigner(self.keys, self.journal)
        return Countersigner(
            self.journal, self.countersigned, signer,
            store=self.store, clock=self.clock, note=self.events.append,
            witness=lambda: str(self.witness), pause=pause,
        )  # fmt: skip

    @property
    def control_key(self) -> VerifierKey:
        return load_countersigner(self.keys, self.journal).key(Algorithm.COSIGNATURE)

    def verify(self, *, since: Path | None = None, witness: bool = False) -> Report:
        places = Places(self.journal, self.countersigned, self.witness if witness else None, since)
        return verify_journals(places, Trust(self.control_key))

    def close(self) -> None:
        if self.store is not None:
            self.store.close()

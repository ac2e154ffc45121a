"""Control's copies of all journals of one gateway, with the keys under which their records are sealed."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from limen.administrator.ship_checks import Alarm, Gap
from limen.administrator.ship_mirror import MARK, Mirror
from limen.administrator.ship_wire import JOURNALS_MAX, Batch, Kept, Notes, ShippedKey, is_journal_of
from limen.core.clock import Clock
from limen.core.errors import Invalid, Unavailable
from limen.journal import stored
from limen.journal.keys import Keys

FREE_MIN_BYTES = 64 * 1024 * 1024  # of control's disk, which its own journal and database need
LINE_COST_BYTES = 16 * 1024  # that a line counts for at least: a commit of the disk

OWNER_MAX = 300


class Mirrors:
    """The copies of the gateway `node`. Calls wait for one another: a line's thread may outlive the line.

    Attributes:
        cost_bytes: what the lines so far have cost, for whoever bounds the rate.
    """

    def __init__(
        self, root: Path, node: str, keys: Keys, clock: Clock, on_gap: Callable[[Gap], None]
    ) -> None:
        self._root, self._node, self._keys, self._clock, self._on_gap = root, node, keys, clock, on_gap
        self._open: dict[str, Mirror] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.cost_bytes = 0

    def places(self) -> list[Kept]:
        """Return how far each copy is.

        Raises:
            Conflict: another process has one of them.
        """
        with self._lock:
            return [Kept(name, self._mirror(name).place) for name in self._names()]

    def take(self, batch: Batch) -> Kept:
        """Store a batch, and the keys that it brings, and wait for the disk.

        Raises:
            Alarm: it cannot be this gateway's, or is not what is stored already.
            Unavailable: there is no room.
            OSError: the disk did not take it.
        """
        with self._lock:
            mirror = self._admit(batch.journal)
            for key in batch.keys:
                self._add(key)
            try:
                mirror.take(batch)
            finally:
                self._count(mirror)
            mirror.sync()
            return Kept(batch.journal, mirror.place)

    def take_notes(self, notes: Notes) -> Kept:
        """Store checkpoints. Raises as `take`."""
        with self._lock:
            mirror = self._admit(notes.journal)
            mirror.take_notes(notes.notes)
            self._count(mirror)
            return Kept(notes.journal, mirror.place)

    def close(self) -> None:
        """Let go of all of them, once the call that runs has ended."""
        with self._lock:
            self._closed = True
            for mirror in self._open.values():
                mirror.close()
            self._open.clear()

    # --- inside -----------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        names = [name for name in stored.list_nodes(self._root) if is_journal_of(self._node, name)]
        marks = {name: self._root / name / MARK for name in names}
        return [name for name in names if marks[name].exists() and marks[name].read_text() == self._node]

    def _admit(self, journal: str) -> Mirror:
        if not is_journal_of(self._node, journal):
            raise Alarm("A gateway sent a journal that is not its own.", code="JOURNAL_FORGED")
        disk = os.statvfs(self._root)
        if disk.f_bavail * disk.f_frsize < FREE_MIN_BYTES:
            raise Unavailable(
                "Control's disk has no room for the records of gateways; they keep them.",
                remedy="Free some space on control.",
                code="SHIP_FULL",
            )
        return self._mirror(journal)

    def _mirror(self, journal: str) -> Mirror:
        if self._closed:
            raise Unavailable("The line has ended.", code="FEED_ENDED")
        if journal not in self._open:
            if len(self._open) >= JOURNALS_MAX:
                raise Alarm("A gateway sent more journals than one can have.", code="JOURNAL_INVALID")
            self._open[journal] = Mirror(self._root, journal, self._node, self._clock, self._on_gap)
        return self._open[journal]

    def _add(self, key: ShippedKey) -> None:
        try:
            if len(key.owner) > OWNER_MAX or len(key.id) != 2 * 8:
                raise Invalid("A key's id or owner is too long.")
            self._keys.add(key.id, key.owner, key.reveal())  # one that was erased here stays erased
        except Invalid as error:
            raise Alarm(error.message, code="KEY_FORGED") from None

    def _count(self, mirror: Mirror) -> None:
        self.cost_bytes += max(mirror.take_cost(), LINE_COST_BYTES)

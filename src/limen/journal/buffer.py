"""Records that wait in memory for space on the disk, where the bundle says `on_full: buffer`.

They are lost if the process dies before there is space. A marker beside the segments says meanwhile that
there are some; whoever opens the journal next and finds it reports the loss.
"""

import contextlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from limen.core.ids import Instant
from limen.journal.frame import HEAD_BYTES, Kind
from limen.journal.segments import Loss

MARKER = "buffering"
DRAIN_BYTES = 1024 * 1024  # written at once, so that decisions do not wait long for the lock

Entries = Sequence[tuple[Kind, bytes]]

Name = tuple[str, str]
"""Kind and id of a record that each segment needs once."""


class Buffer:
    """Groups of records, first in, first out. The journal's lock guards it.

    Attributes:
        known: names of inputs and bundles that wait here.
        since: when the first one came to wait.
        held, held_bytes: how many have come since then.
    """

    def __init__(self, directory: Path) -> None:
        self.known: set[Name] = set()
        self.since: Instant = 0.0
        self.held = self.held_bytes = 0
        self._marker = directory / MARKER
        self._groups: deque[Entries] = deque()
        self._waiting_bytes = 0

    def __len__(self) -> int:
        return sum(len(group) for group in self._groups)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def hold(self, entries: Entries, bytes_max: int, now: Instant) -> bool:
        """Keep a group, unless all would then be more than `bytes_max`. Returns whether it is kept."""
        size = size_of(entries)
        if self._waiting_bytes + size > bytes_max:
            return False
        if not self._groups:
            self.since, self.held, self.held_bytes = now, 0, 0
            with contextlib.suppress(OSError):  # no room even for a name: the log has it
                self._marker.touch(mode=0o600)
        self._groups.append(entries)
        self._waiting_bytes += size
        self.held += len(entries)
        self.held_bytes += size
        return True

    def first(self) -> tuple[Entries, int]:
        """Return the records that waited longest, about `DRAIN_BYTES`, and how many groups those are."""
        taken: list[tuple[Kind, bytes]] = []
        size = groups = 0
        for group in self._groups:
            taken += group
            groups += 1
            size += size_of(group)
            if size >= DRAIN_BYTES:
                break
        return taken, groups

    def drop(self, groups: int) -> set[Name]:
        """Forget the first groups: they are in the file. Returns what is known once none are left."""
        for _ in range(groups):
            self._waiting_bytes -= size_of(self._groups.popleft())
        if self._groups:
            return set()
        known, self.known = self.known, set()
        self._marker.unlink(missing_ok=True)
        return known


def size_of(entries: Entries) -> int:
    """Return how many bytes records take in a segment."""
    return sum(HEAD_BYTES + len(payload) for _, payload in entries)


def find_lost(directory: Path) -> tuple[Loss, ...]:
    """Return the loss that a marker tells of: a process died while records waited. Takes the marker away."""
    marker = directory / MARKER
    if not marker.exists():
        return ()
    marker.unlink()
    return (Loss(str(marker), 0, 0, None),)

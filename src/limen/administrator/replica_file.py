"""The replica on disk, so that a gateway can restart while control is away.

The file is the feed as it was received: a snapshot, then one line per transaction. A line that a crash
cut off is left out, and everything behind it. The age stands in a file of its own, together with the
position that it vouches for: a file that lost its tail has no age, and is too old for every decision.

The file says which release wrote it: another release may know kinds of projections that this one left
out, so it serves from the file and asks control for everything anew (`ReplicaFile.foreign`).
"""

import os
from pathlib import Path

import msgspec
import structlog

from limen import __version__
from limen.administrator.feed_reader import FeedReader
from limen.administrator.feed_wire import (
    ROWS_PER_LINE,
    Ready,
    Rows,
    Start,
    Tx,
    parse_from_control,
    render_line,
)
from limen.administrator.replica import Replica
from limen.core.clock import Clock
from limen.core.errors import Invalid

COMPACT_MIN_BYTES = 4 * 1024 * 1024
"""The tail is folded into a new snapshot when it has outgrown the old one, and this."""

AGE_EVERY_S = 5.0
"""How often the age is noted. What is read back is older than the truth by at most this: the safe side."""

log = structlog.get_logger("limen.replica")


class Age(msgspec.Struct, frozen=True):
    """Of which boot and wall instant the replica at `seq` was known to be all there is."""

    epoch: str
    seq: int
    boot_id: str
    boot_s: float
    at: float


class ReplicaFile:
    """The file `replica.feed` and its age, in a private folder.

    Attributes:
        foreign: what was loaded was written by another release, which may have left out what it did not know.
    """

    def __init__(self, folder: Path, clock: Clock, boot_id: str) -> None:
        self._path = folder / "replica.feed"
        self._age_path = folder / "replica.age"
        self._clock = clock
        self._boot_id = boot_id
        self._file: int | None = None
        self._base_bytes = 0
        self._tail_bytes = 0
        self._noted_at = -AGE_EVERY_S
        self.foreign = False

    def load(self, replica: Replica) -> bool:
        """Fill `replica` from the file, age included. Returns whether there was anything."""
        reader = FeedReader(replica)
        try:
            with self._path.open("rb") as lines:
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    message = parse_from_control(line)
                    if isinstance(message, Start):
                        self.foreign = message.release != __version__
                    reader.read(message)
        except FileNotFoundError:
            return False
        except Invalid as error:
            log.warning("replica.file_cut", why=error.message, seq=replica.seq)
        if reader.synced:
            self._restore_age(replica)
        return reader.synced

    def save(self, replica: Replica) -> None:
        """Write the whole replica anew, and put it in the place of what was there."""
        fresh = self._path.with_suffix(".tmp")
        snapshot = replica.snapshot()
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(render_line(Start(snapshot.epoch, snapshot.seq, __version__)))
            for first in range(0, len(snapshot.values), ROWS_PER_LINE):
                file.write(render_line(Rows(snapshot.values[first : first + ROWS_PER_LINE])))
            file.write(render_line(Ready(snapshot.seq)))
            self._base_bytes, self._tail_bytes = file.tell(), 0
        fresh.replace(self._path)
        self.close()
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self.foreign = False

    def append(self, message: Tx, replica: Replica) -> None:
        """Add a transaction that `replica` has applied."""
        if self._file is None or self._tail_bytes > max(self._base_bytes, COMPACT_MIN_BYTES):
            self.save(replica)
            return
        line = render_line(message)
        self._tail_bytes += len(line)
        os.write(self._file, line)

    def note_age(self, replica: Replica) -> None:
        """Note as of when the replica is known to be complete, now and then."""
        confirmed_at, boot_s = replica.confirmed_at, self._clock.boot_s()
        if confirmed_at is None or boot_s - self._noted_at < AGE_EVERY_S:
            return
        self._noted_at = boot_s
        wall = self._clock.now() - (boot_s - confirmed_at)
        age = Age(replica.epoch, replica.seq, self._boot_id, confirmed_at, wall)
        fresh = self._age_path.with_suffix(".tmp")
        fresh.write_bytes(msgspec.json.encode(age))
        fresh.replace(self._age_path)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _restore_age(self, replica: Replica) -> None:
        try:
            age = msgspec.json.decode(self._age_path.read_bytes(), type=Age)
        except (FileNotFoundError, msgspec.MsgspecError):
            return
        if age.epoch != replica.epoch:
            return
        boot_s = self._clock.boot_s()
        if age.boot_id == self._boot_id:
            replica.confirm(min(age.boot_s, boot_s), age.seq)
            return
        # Another boot: only the wall clock spans it. One that went back proves nothing.
        elapsed = self._clock.now() - age.at
        if elapsed >= 0:
            replica.confirm(boot_s - elapsed, age.seq)


def read_boot_id() -> str:
    """Return the kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()

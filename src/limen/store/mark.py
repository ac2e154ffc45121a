"""This node's mark: where the database stood last, by which a restored database is recognised.

It holds the epoch, the last seq, the mark's own inode and a proof of the last change. It is written after
each commit, without syncing: it survives `kill -9`, and after a power cut it can only be behind.

Beside a SQLite file (`limen.db.mark`) it must be there:

- a database that is behind its mark, or of another epoch, was put back from a backup;
- a mark that names another inode was copied together with its database: that is a backup, too;
- a database that has changes and no mark came from elsewhere.

Each begins a new epoch, which ends all sessions (architecture §3). Moving the state folder inside one
file system keeps the epoch; copying it does not. For PostgreSQL a node without a mark is a new node: the
mark of each node lies in its state folder, and says what `life.judge` compares.
"""

import os
from pathlib import Path

from limen.store.life import Known


class Mark:
    """The mark at `path`; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd: int | None = None

    def load(self) -> Known | None:
        """Return what was marked last; None when there is no mark to rely on."""
        if self._path is None:
            return None
        try:
            parts = self._path.read_text("ascii").split()
            inode = self._path.stat().st_ino
        except (OSError, UnicodeDecodeError):
            return None
        if len(parts) not in (3, 4) or not parts[1].isdecimal() or parts[2] != str(inode):
            return None
        return Known(parts[0], int(parts[1]), parts[3] if len(parts) == 4 else "")

    def create(self, known: Known) -> None:
        """Write the mark and sync it; later writes go to the same file."""
        if self._path is None:
            return
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.write(known)
        os.fsync(self._fd)

    def write(self, known: Known) -> None:
        """Note what is committed. Nothing is written before `create`."""
        if self._fd is not None:
            inode = os.fstat(self._fd).st_ino
            line = f"{known.epoch} {known.seq:020d} {inode} {known.proof}\n".encode()
            os.pwrite(self._fd, line, 0)
            os.ftruncate(self._fd, len(line))

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

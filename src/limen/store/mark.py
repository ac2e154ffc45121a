"""The mark beside the database, by which a restored database is recognised.

`limen.db.mark` holds the epoch, the last seq and the mark's own inode. It is written after each
commit, without syncing: it survives `kill -9`, and after a power cut it can only be behind. So

- a database that is behind its mark, or of another epoch, was put back from a backup;
- a mark that names another inode was copied together with its database: that is a backup, too;
- a database that has changes and no mark came from elsewhere.

Each begins a new epoch, which ends all sessions (architecture §3). Moving the state folder inside one
file system keeps the epoch; copying it does not.
"""

import os
from pathlib import Path


class Mark:
    """The mark of the database at `database`."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".mark")
        self._fd: int | None = None

    def load(self) -> tuple[str, int] | None:
        """Return the epoch and seq that were marked last; None when there is no mark to rely on."""
        try:
            parts = self._path.read_text("ascii").split()
            inode = self._path.stat().st_ino
        except (OSError, UnicodeDecodeError):
            return None
        if len(parts) != 3 or not parts[1].isdecimal() or parts[2] != str(inode):
            return None
        return parts[0], int(parts[1])

    def create(self, epoch: str, head: int) -> None:
        """Write the mark and sync it; later writes go to the same file."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.write(epoch, head)
        os.fsync(self._fd)

    def write(self, epoch: str, head: int) -> None:
        """Note that `head` is committed. Nothing is written before `create`."""
        if self._fd is not None:
            line = f"{epoch} {head:020d} {os.fstat(self._fd).st_ino}\n".encode()
            os.pwrite(self._fd, line, 0)
            os.ftruncate(self._fd, len(line))

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

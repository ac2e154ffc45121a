"""Disk space held back, so that a full disk stops decisions and not the people who must act on it.

The file is given back when the disk is full: then revocations and administration can still be
recorded (and the database beside can still commit), while decisions are refused.
"""

import errno
import os
from pathlib import Path

RESERVE_BYTES = 8 * 1024 * 1024
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when a disk, a quota or a file is full."""


class Reserve:
    """One file of `size_bytes` that holds nothing."""

    def __init__(self, path: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def take(self) -> bool:
        """Hold the space. False when the disk does not have it.

        A file system that cannot hold space is not full for that.
        """
        if self._size_bytes == 0:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self._size_bytes)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            return error.errno not in NO_SPACE
        finally:
            os.close(file)
        return True

    def release(self) -> None:
        """Give the space back."""
        self._path.unlink(missing_ok=True)

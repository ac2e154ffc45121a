"""Small files that are written at once: whole or not, durable, readable by their owner alone."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from limen.journal.segment_file import sync_directory


def write_private(path: Path, content: bytes) -> None:
    """Replace a file, and return when it is on the disk."""
    with _written(path, content) as fresh:
        fresh.replace(path)


def create_private(path: Path, content: bytes) -> None:
    """Write a new file, unless there is one: then another process was first, and that one stays."""
    with _written(path, content) as fresh, suppress(FileExistsError):
        os.link(fresh, path)  # unlike a rename, refuses to replace


@contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    """Yield a file beside `path` that has the content, to be given its name."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)

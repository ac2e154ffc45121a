"""Small files that are replaced at once: whole or as before, durable, readable by their owner alone."""

import os
import secrets
from pathlib import Path

from limen.journal.segment_file import sync_directory


def write_private(path: Path, content: bytes) -> None:
    """Replace a file, and return when it is on the disk."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)

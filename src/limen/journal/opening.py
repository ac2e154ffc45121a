"""What happens before the first record: the lock, the salt, the check of what is there."""

import fcntl
import os
import re
import secrets
from pathlib import Path

from limen.core.clock import Clock
from limen.core.errors import Conflict, Invalid
from limen.journal.private_file import create_private
from limen.journal.segments import Loss, SegmentName, check_continuity, is_sealed, recover_segment

_NODE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SALT_BYTES = 32


def lock_node(root: Path, node: str) -> tuple[Path, int]:
    """Make the folder of a node and lock it. Returns the folder and the descriptor that holds the lock.

    Raises:
        Invalid: the node's name is not a DNS label.
        Conflict: another process writes this node's journal.
    """
    if not _NODE.fullmatch(node):
        raise Invalid(f"The node name {node!r} is not a DNS label.", remedy="Use a-z, 0-9 and -.")
    directory = root / node
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise Conflict(
            f"Another process writes the journal of node {node}.",
            remedy="Stop it first, or give this one another node name.",
        ) from None
    return directory, file


def recover(names: tuple[SegmentName, ...], clock: Clock) -> tuple[Loss, ...]:
    """Seal what was left unsealed, and return all that is missing."""
    losses: list[Loss] = []
    for name in names:
        if not is_sealed(name.path):
            losses.extend(recover_segment(name.path, clock.now()))
    return (*losses, *check_continuity(names))


def load_salt(root: Path) -> bytes:
    """Return the journal's salt, made at first use. Nodes that share a folder share it.

    Raises:
        Invalid: the file is damaged.
    """
    path = root / "salt"
    if not path.exists():
        create_private(path, secrets.token_bytes(_SALT_BYTES))
    salt = path.read_bytes()
    if len(salt) != _SALT_BYTES:
        raise Invalid(f"The journal's salt {path} is damaged.", remedy="Restore it from a backup.")
    return salt

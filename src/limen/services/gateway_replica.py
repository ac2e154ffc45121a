"""Which file a brain's replica starts from: the newest that any brain of this gateway has kept."""

import os
from pathlib import Path

from limen.enforcement.envoy.settings import SLOTS

FEED, AGE = "replica.feed", "replica.age"
BEFORE_SLOTS = "replica"  # the folder of a gateway of release 0.2


def adopt_replica(root: Path, slot: str) -> Path:
    """Return the folder of this slot's replica, with the newest file and its age in it.

    The age is read before the file and written after it, so that it never vouches for more than the
    file holds. A file that its brain is just writing to may end within a line, which loading leaves out.
    """
    own = root / f"replica-{slot}"
    own.mkdir(mode=0o700, exist_ok=True)
    others = [root / f"replica-{other}" for other in SLOTS if other != slot]
    newest = max((own, *others, root / BEFORE_SLOTS), key=_noted_at)
    if newest != own and _noted_at(newest) > 0:
        age, feed = (newest / AGE).read_bytes(), (newest / FEED).read_bytes()
        _replace(own / FEED, feed)
        _replace(own / AGE, age)
    return own


def _noted_at(folder: Path) -> float:
    """Return when a replica's age was noted there last; 0 where there is none."""
    noted, feed = folder / AGE, folder / FEED
    return noted.stat().st_mtime if noted.exists() and feed.exists() else 0.0


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".adopted")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)

"""Erasures that gateways have yet to make: the owners whose keys they hold, until each has done it."""

import threading
from collections.abc import Collection
from pathlib import Path

import msgspec

from limen.core.errors import Invalid
from limen.journal.private_file import write_private

FILE = "erasing"


class Erasures:
    """The list, in a file below `root`: gateways by owner. Who is in it leaves when the last has done it."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._lock = threading.Lock()

    def begin(self, owner: str, nodes: Collection[str]) -> None:
        """Note that gateways must erase an owner's keys."""
        with self._lock:
            found = self._load()
            found[owner] = sorted({*found.get(owner, ()), *nodes})
            self._save(found)

    def owners(self, node: str) -> tuple[str, ...]:
        """Return the owners whose keys a gateway has yet to erase."""
        with self._lock:
            return tuple(owner for owner, nodes in self._load().items() if node in nodes)

    def nodes(self, owner: str) -> tuple[str, ...]:
        """Return the gateways that have yet to erase an owner's keys."""
        with self._lock:
            return tuple(self._load().get(owner, ()))

    def done(self, node: str, owners: Collection[str] | None = None) -> None:
        """Note that a gateway has erased the keys of `owners`; None: of all, as it is no more."""
        with self._lock:
            found = self._load()
            for owner in found if owners is None else owners:
                found[owner] = [other for other in found.get(owner, ()) if other != node]
            self._save(found)

    def _load(self) -> dict[str, list[str]]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, list[str]])
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError:
            raise Invalid(
                f"{self._path} is damaged.", remedy="Remove it, and erase again what was to be erased."
            ) from None

    def _save(self, found: dict[str, list[str]]) -> None:
        left = {owner: nodes for owner, nodes in found.items() if nodes}
        if left or self._path.exists():
            write_private(self._path, msgspec.json.encode(left))

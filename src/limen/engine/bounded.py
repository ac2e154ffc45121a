"""A bounded map that forgets what was used least recently. It bounds memory; it never changes an answer."""

from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Least-recently-used map, bounded by the sum of its entries' weights.

    Threads may share it: control answers its admin API in several. Reading takes no lock.
    """

    __slots__ = ("_capacity", "_entries", "_lock", "_weight")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = Lock()
        self._weight = 0

    def get(self, key: K) -> V | None:
        """Return what is kept under `key`, and keep it longer."""
        found = self._entries.get(key)
        if found is None:
            return None
        with suppress(KeyError):  # forgotten meanwhile, by another thread
            self._entries.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Keep `value`, and forget the oldest entries that no longer fit."""
        with self._lock:
            replaced = self._entries.pop(key, None)
            if replaced is not None:
                self._weight -= replaced[1]
            self._entries[key] = (value, weight)
            self._weight += weight
            while self._weight > self._capacity and len(self._entries) > 1:
                self._weight -= self._entries.popitem(last=False)[1][1]

    def __len__(self) -> int:
        return len(self._entries)

"""Proofs in a Merkle tree: that a leaf is in it, and that one tree grew out of another. Pure functions.

Source: RFC 9162 §2.1.3 (inclusion) and §2.1.4 (consistency).

Laws:
    P1 included. The path that `inclusion_path` gives for a leaf, and no other leaf, leads to the root.
    P2 grown. The path that `consistency_path` gives leads to both roots; trees that did not grow out of
        each other have none.
"""

from collections.abc import Sequence

from limen.journal.merkle import EMPTY_ROOT, Frontier, node_hash


class Leaves:
    """The leaves of a tree from some position on; what is before them is a frontier.

    Enough for every proof about leaves that are there: the subtrees to their left that a path needs are
    those of the frontier, or are made of those and of leaves that are there.
    """

    def __init__(self, hashes: Sequence[bytes], before: Frontier | None = None) -> None:
        self._before = before or Frontier()
        self._hashes = hashes
        self.size = self._before.size + len(hashes)
        self._known: dict[tuple[int, int], bytes] = {}
        start = 0
        for root, bit in zip(self._before.roots, _bits(self._before.size), strict=True):
            self._known[start, start + bit] = root
            start += bit

    def root(self, start: int, end: int) -> bytes:
        """Return the root of the leaves from `start` to before `end` (RFC 9162 §2.1.1).

        Raises:
            KeyError: they lie before the first leaf that is there.
        """
        if start == end:
            return EMPTY_ROOT
        if (start, end) in self._known or end <= self._before.size:
            return self._known[start, end]
        if start >= self._before.size:
            tree, first = Frontier(), self._before.size
            for leaf in self._hashes[start - first : end - first]:
                tree.add(leaf)
            return tree.root()
        middle = start + _split(end - start)
        return node_hash(self.root(start, middle), self.root(middle, end))


def inclusion_path(leaves: Leaves, index: int, size: int) -> tuple[bytes, ...]:
    """Return the path from leaf `index` to the root of the first `size` leaves (RFC 9162 §2.1.3.1).

    Raises:
        KeyError: leaves that the path needs are not there.
    """
    assert index < size <= leaves.size
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(leaves.root(middle, end))
            end = middle
        else:
            path.append(leaves.root(start, middle))
            start = middle
    return tuple(reversed(path))


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root to which a path leads, or None when it cannot be one (RFC 9162 §2.1.3.2)."""
    if index >= size:
        return None
    fn, sn, found = index, size - 1, leaf
    for step in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            found = node_hash(step, found)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, step)
        fn, sn = fn >> 1, sn >> 1
    return found if sn == 0 else None


def consistency_path(leaves: Leaves, old: int, new: int) -> tuple[bytes, ...]:
    """Return the proof that the tree of `new` leaves grew out of that of `old` (RFC 9162 §2.1.4.1).

    Raises:
        KeyError: leaves that the path needs are not there.
    """
    assert 0 < old <= new <= leaves.size
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(leaves.root(middle, end))
            end = middle
        else:
            path.append(leaves.root(start, middle))
            start, whole = middle, False
    if not whole:
        path.append(leaves.root(start, end))
    return tuple(reversed(path))


def has_grown(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether a path proves that one tree grew out of the other (RFC 9162 §2.1.4.2)."""
    if old == new:
        return not path and old_root == new_root
    if not 0 < old < new or not path:
        return False
    steps = list(path) if old & (old - 1) else [old_root, *path]
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            before, after = node_hash(step, before), node_hash(step, after)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            after = node_hash(after, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and before == old_root and after == new_root


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _bits(size: int) -> list[int]:
    """Return the powers of two that make up `size`, largest first."""
    return [1 << bit for bit in range(size.bit_length() - 1, -1, -1) if size >> bit & 1]

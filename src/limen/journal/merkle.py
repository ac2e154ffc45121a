"""The Merkle tree of one boot of one node: its leaves are the payloads of the records, by position.

Hashing is RFC 9162 §2.1.1: a leaf is SHA-256(00 ‖ payload), a node SHA-256(01 ‖ left ‖ right). A frontier
holds the roots of the largest full subtrees, left to right, one for each bit of the size that is set: from
it the tree grows, and its root is found, without the leaves that came before.
"""

from collections.abc import Iterable
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(payload: bytes | memoryview) -> bytes:
    """Return the hash of a leaf."""
    digest = sha256(b"\x00")
    digest.update(payload)
    return digest.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: its size, and the roots of its full subtrees."""

    __slots__ = ("_roots", "size")

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        """Go on from `roots`, left to right, of a tree of `size` leaves.

        Raises:
            ValueError: the number of roots is not that of the bits of the size.
        """
        self.size = size
        self._roots = list(roots)
        if len(self._roots) != size.bit_count():
            raise ValueError(f"{len(self._roots)} subtrees cannot make a tree of {size} leaves")

    def add(self, leaf: bytes) -> None:
        """Add one leaf, by its hash."""
        roots, size = self._roots, self.size
        while size & 1:
            leaf = sha256(b"\x01" + roots.pop() + leaf).digest()
            size >>= 1
        roots.append(leaf)
        self.size += 1

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The roots of the full subtrees, left to right."""
        return tuple(self._roots)

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        if not self._roots:
            return EMPTY_ROOT
        found = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            found = node_hash(left, found)
        return found

    def render(self) -> tuple[str, ...]:
        """Return the roots as hex, as segments keep them."""
        return tuple(root.hex() for root in self._roots)

    @classmethod
    def parse(cls, size: int, roots: Iterable[str]) -> "Frontier":
        """Return the frontier that `render` gave.

        Raises:
            ValueError: not hashes, or not as many as a tree of this size has.
        """
        parsed = [bytes.fromhex(root) for root in roots]
        if any(len(root) != HASH_BYTES for root in parsed):
            raise ValueError("a root is no hash")
        return cls(size, parsed)

    def copy(self) -> "Frontier":
        """Return a frontier that grows by itself from here."""
        return Frontier(self.size, self._roots)

"""The keys of a node, one after the other: up to which tree the word of each counts.

Law:
    V3 one at a time. A node has another key only where control has countersigned it; what the key before it
        signs from there on does not count.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from limen.journal.checkpoints import Checkpoint
from limen.journal.note import VerifierKey


class Reign(NamedTuple):
    """A key of a node. `first`: the tree from which on it is the one that counts."""

    key: VerifierKey
    first: tuple[str, int]


def find_reigns(
    shown: Sequence[Checkpoint], countersigned: Iterable[Checkpoint], given: VerifierKey | None
) -> list[Reign]:
    """Return a node's keys in their order.

    They are those that control has countersigned, up to the one that is given; else the one that is given, or
    the first that was shown.
    """
    reigns: list[Reign] = []
    for checkpoint in sorted(countersigned, key=order):
        if checkpoint.key not in {reign.key for reign in reigns}:
            reigns.append(Reign(checkpoint.key, order(checkpoint)))
    if given is not None:
        place = next((place for place, reign in enumerate(reigns) if reign.key == given), None)
        return [Reign(given, ("", 0))] if place is None else reigns[: place + 1]
    return reigns or [Reign(one.key, ("", 0)) for one in shown[:1]]


def is_theirs(checkpoint: Checkpoint, reigns: Sequence[Reign]) -> bool:
    """Whether a checkpoint is signed by the key that counts for its tree."""
    for place, reign in enumerate(reigns):
        if reign.key == checkpoint.key:
            return place + 1 == len(reigns) or order(checkpoint) < reigns[place + 1].first
    return False


def order(checkpoint: Checkpoint) -> tuple[str, int]:
    """Return by what checkpoints of a node are in the order of its trees."""
    return checkpoint.boot, checkpoint.size

"""What a verification of the journals found: doubts, and what could not be checked."""

from enum import StrEnum

import msgspec

from limen.core.ids import Instant


class Problem(StrEnum):
    """Kinds of doubt. Stable: programs may read them."""

    DAMAGED = "damaged"  # bytes that are no frame, or whose checksum fails
    CHANGED = "changed"  # sound frames that are not those which were signed
    MISSING = "missing"  # records or segments that are gone from the middle
    BEGINNING_GONE = "beginning_gone"  # the oldest are gone, and nobody signed their removal
    CUT = "cut"  # the newest are gone: a checkpoint covers more
    BOOT_GONE = "boot_gone"  # a boot that was signed for is not there
    MISPLACED = "misplaced"  # a segment of another node or boot, or at another's place
    BROKEN_CHAIN = "broken_chain"  # a boot does not go on from the one before
    FORK = "fork"  # two checkpoints of one tree contradict each other
    OTHER_KEY = "other_key"  # signed by a key that is not the node's
    FALSE_SIGNATURE = "false_signature"  # a note that is none, or that its key did not sign
    UNSIGNED = "unsigned"  # records of this release, and not one checkpoint
    FORGED = "forged"  # a record that names another node, or is not what its frame says
    CLOCK = "clock"  # times that go back, or ahead of control's
    CHECKPOINTS_CUT = "checkpoints_cut"  # the node's own file lacks what control countersigned
    UNREADABLE = "unreadable"  # a compacted segment that cannot be read, or whose parts disagree


class Doubt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One doubt, and where. `position` is the first record it concerns, `until` the first it does not."""

    node: str
    problem: Problem
    text: str
    boot: str = ""
    position: int | None = None
    until: int | None = None
    records: tuple[str, ...] = ()


class Unchecked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What could not be checked, and why that is no doubt by itself."""

    node: str
    what: str
    text: str
    boot: str = ""
    records: int | None = None
    since: Instant | None = None


class NodeReport(msgspec.Struct, frozen=True):
    """What was checked of one node.

    Attributes:
        key: its verifier key; None when nothing is signed.
        vouched: control's countersignature, or the caller, says that it is the node's.
        boot, size: its newest checkpoint that is true.
        countersigned_size, countersigned_at: the newest of that boot which control has countersigned.
    """

    node: str
    records: int
    boots: int
    segments: int
    key: str | None
    vouched: bool
    boot: str
    size: int
    countersigned_size: int
    countersigned_at: int | None


class Report(msgspec.Struct, frozen=True):
    """What a whole verification found. `whole`: nothing was found that makes a doubt."""

    whole: bool
    nodes: tuple[NodeReport, ...]
    doubts: tuple[Doubt, ...]
    unchecked: tuple[Unchecked, ...]

"""Is this still the database that we knew? A pure judgement over what was known and what is found.

A database that comes back from a backup, or a standby that took over before it had everything, has
forgotten commits that were answered: a revocation among them would be undone. So it begins a new epoch.

Laws:
    L1 rewound. A head below what this node knows, in any epoch, is a restore.
    L2 diverged. Another change at a position that this node knows is a restore, however far the head is.
    L3 moved. A database at another home is a restore: what was lost cannot be told from what it has.
    L4 once. After one node began a new epoch, no other node judges the same loss a restore again.
"""

import enum
import hashlib

import msgspec

from limen.core.changes import Change

EPOCH_STRIDE = 1_000_000_000
"""A new epoch counts on from the next multiple: no position of an earlier epoch lies in it (law L4)."""


class Home(msgspec.Struct, frozen=True):
    """Where a database lives.

    `place` names the cluster, the database and its tables; a dump that is loaded makes new ones.
    `timeline` counts promotions and recoveries of the cluster. `lossless` is the operator's word that a
    promotion loses no commit.
    """

    place: str
    timeline: str
    lossless: bool = False

    def render(self) -> str:
        """Return what the row `home` of the table `state` holds."""
        return f"{self.place} {self.timeline}"


class Known(msgspec.Struct, frozen=True):
    """What this node has published last: the epoch, the position, and which change that was."""

    epoch: str
    seq: int
    proof: str = ""


class Found(msgspec.Struct, frozen=True):
    """What the database says now. `proof` is of the change at the known position; None if not kept."""

    epoch: str
    head: int
    proof: str | None = None
    noted: str | None = None
    home: Home | None = None


class Verdict(enum.Enum):
    """What to do."""

    SAME = "go on"
    LATER = "another node began a new epoch: take a snapshot"
    RESTORED = "begin a new epoch"


def judge(known: Known | None, found: Found) -> Verdict:
    """Return what to do. `known` is None for a node that is new to this database."""
    if found.head and _moved(found):
        return Verdict.RESTORED
    if known is None:
        return Verdict.SAME
    if found.epoch != known.epoch:
        return Verdict.LATER if found.head > known.seq else Verdict.RESTORED
    if found.head < known.seq:
        return Verdict.RESTORED
    if found.proof is not None and known.proof and found.proof != known.proof:
        return Verdict.RESTORED
    return Verdict.SAME


def is_lost(known: Known | None, found: Found, must_be_marked: bool) -> bool:
    """Whether a node must begin a new epoch. Where a mark is required, one without it knows nothing."""
    verdict = judge(known, found)
    if must_be_marked and found.head:
        return known is None or verdict is not Verdict.SAME
    return verdict is Verdict.RESTORED


def is_unnoted(found: Found) -> bool:
    """Whether the database lives elsewhere than its own note says."""
    return found.home is not None and found.noted != found.home.render()


def _moved(found: Found) -> bool:
    if found.home is None or found.noted is None:
        return False
    place, _, timeline = found.noted.rpartition(" ")
    if place != found.home.place:
        return True
    return timeline != found.home.timeline and not found.home.lossless


def next_stride(*positions: int) -> int:
    """Return where a new epoch begins to count: beyond all `positions`."""
    return (max(positions, default=0) // EPOCH_STRIDE + 1) * EPOCH_STRIDE


def prove(change: Change) -> str:
    """Return a digest of who did what, when: two histories differ in it where they part.

    The instant has microseconds; the value is left out, since another release may write it otherwise.
    """
    what = (change.seq, change.tx, change.kind, change.id, change.value is None)
    line = repr((*what, change.actor, change.reason, change.at))
    return hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()[:32]

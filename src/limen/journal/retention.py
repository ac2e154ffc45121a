"""Retention: how long a node's records are kept, by class; and what a legal hold keeps from it.

    JOURNAL/holds.json    {"holds": [{"id": …, "subject": "User::\\"ada\\"" or null}]}; control writes it

A hold without a subject holds everything, and so does a file that cannot be read.

Laws:
    J7 held. Nothing that a hold names is removed, whatever its age and however full the journal is.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path

import msgspec

from limen.core.errors import Invalid
from limen.core.ids import Instant
from limen.journal.frame import Kind
from limen.journal.keys import Keys
from limen.journal.private_file import write_private
from limen.journal.segments import SegmentName, mapped, read_seal

CLASSES: Mapping[str, frozenset[Kind]] = {
    "decisions": frozenset({Kind.DECISION, Kind.INPUTS, Kind.BUNDLE, Kind.OUTCOME}),
    "events": frozenset({Kind.EVENT}),
}
"""What a class of retention consists of: all that is recorded is in one of them."""

HOLDS = "holds.json"


class Retention(msgspec.Struct, frozen=True):
    """How long records are kept. The default keeps everything: then disk use grows without end.

    Attributes:
        bytes_max: sealed segments of a node, together.
        age_max_s: age of the newest record that a segment can hold, for classes that `keep_s` does not name.
        keep_s: the same by class (`CLASSES`).
    """

    bytes_max: int | None = None
    age_max_s: float | None = None
    keep_s: Mapping[str, float] = {}

    def __post_init__(self) -> None:
        for field, value in (
            ("bytes_max", self.bytes_max),
            ("age_max_s", self.age_max_s),
            *((f"keep_s.{name}", value) for name, value in self.keep_s.items()),
        ):
            if value is not None and value <= 0:
                raise Invalid(
                    f"Journal retention {field} is {value}.",
                    remedy="Use a number above zero, or leave it out to keep everything.",
                )
        unknown = sorted(set(self.keep_s) - set(CLASSES))
        if unknown:
            raise Invalid(
                f"Journal retention keep_s: there is no class '{unknown[0]}'.",
                remedy=f"The classes are {' and '.join(CLASSES)}.",
            )

    def expired(self, age_s: float) -> frozenset[Kind]:
        """Return the kinds of record that are not kept at an age."""
        gone: set[Kind] = set()
        for name, kinds in CLASSES.items():
            keep_s = self.keep_s.get(name, self.age_max_s)
            if keep_s is not None and age_s > keep_s:
                gone |= kinds
        return frozenset(gone)


ALL_KINDS = frozenset[Kind]().union(*CLASSES.values())


class Hold(msgspec.Struct, frozen=True):
    """Something that must be kept: `subject`, or everything."""

    id: str
    subject: str | None = None


class Holds(msgspec.Struct, frozen=True):
    """What must be kept."""

    holds: tuple[Hold, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing at all may go."""
        return any(hold.subject is None for hold in self.holds)

    def on(self, owner: str) -> tuple[str, ...]:
        """Return the ids of the holds under which somebody stands."""
        return tuple(hold.id for hold in self.holds if hold.subject in (None, owner))

    def marks(self, keys: Keys) -> tuple[str, ...]:
        """Return what a payload holds that is about somebody held: a key's id, or, unsealed, the name."""
        found: list[str] = []
        for owner in sorted({hold.subject for hold in self.holds if hold.subject}):
            found += (key.id for key in keys.keys_of(owner))
            found += marks_in_clear(owner)
        return tuple(found)


def marks_in_clear(name: str) -> tuple[str, ...]:
    """Return how records that are not sealed name somebody: by a reference, or as an event does."""
    quoted = msgspec.json.encode(name.partition('::"')[2].removesuffix('"') or name).decode()
    return (f'::\\"{quoted[1:-1]}\\"', f'"actor":{quoted}', f'"target":{quoted}')


def save_holds(root: Path, holds: Holds) -> None:
    """Let the nodes under a folder know what must be kept, before this returns."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(root / HOLDS, msgspec.json.encode(holds))


def load_holds(root: Path) -> Holds:
    """Return the holds on the journals under a folder. What cannot be read holds everything."""
    try:
        return msgspec.json.decode((root / HOLDS).read_bytes(), type=Holds)
    except FileNotFoundError:
        return Holds()
    except (OSError, msgspec.MsgspecError):
        return Holds((Hold("unreadable"),))


def expired_segments(
    names: tuple[SegmentName, ...], retention: Retention, now: Instant
) -> tuple[SegmentName, ...]:
    """Return the oldest sealed segments of a node that retention removes whole; the last always stays.

    Where older ones are compacted, `limen.journal.archive` applies retention, and nothing is returned.
    """
    sealed = names[:-1]
    if not sealed or retention == Retention() or any(sealed[0].path.parent.glob("*.parquet")):
        return ()
    root = sealed[0].path.parent.parent
    holds = load_holds(root)
    marks = holds.marks(Keys.open(root)) if holds.holds else ()
    total = sum(name.path.stat().st_size for name in sealed)
    gone = []
    for name in sealed:
        too_big = retention.bytes_max is not None and total > retention.bytes_max
        if holds.everything or not (too_big or _too_old(name.path, retention, now)):
            break
        if holds_any(name.path, marks):
            break
        gone.append(name)
        total -= name.path.stat().st_size
    return tuple(gone)


def holds_any(path: Path, marks: tuple[str, ...]) -> bool:
    """Say whether the bytes of a segment hold one of the marks."""
    with mapped(path) as data:
        source = data.obj
        assert isinstance(source, bytes | mmap.mmap)
        return any(source.find(mark.encode()) >= 0 for mark in marks)


def _too_old(path: Path, retention: Retention, now: Instant) -> bool:
    with mapped(path) as data:
        seal = read_seal(data)
    return seal is not None and retention.expired(now - seal.at) == ALL_KINDS

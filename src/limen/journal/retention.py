"""Retention: how long a node's segments are kept."""

from pathlib import Path

import msgspec

from limen.core.errors import Invalid
from limen.core.ids import Instant
from limen.journal.segments import SegmentName, mapped, read_seal


class Retention(msgspec.Struct, frozen=True):
    """How long segments are kept. The default keeps everything: then disk use grows without end.

    Attributes:
        bytes_max: sealed segments of a node, together.
        age_max_s: age of the newest record that a segment can hold.
    """

    bytes_max: int | None = None
    age_max_s: float | None = None

    def __post_init__(self) -> None:
        for field, value in (("bytes_max", self.bytes_max), ("age_max_s", self.age_max_s)):
            if value is not None and value <= 0:
                raise Invalid(
                    f"Journal retention {field} is {value}.",
                    remedy="Use a number above zero, or leave it out to keep everything.",
                )


def expired_segments(
    names: tuple[SegmentName, ...], retention: Retention, now: Instant
) -> tuple[SegmentName, ...]:
    """Return the oldest sealed segments that retention removes; the last, which is being written, stays."""
    sealed = names[:-1]
    if retention.bytes_max is None and retention.age_max_s is None:
        return ()
    total = sum(name.path.stat().st_size for name in sealed)
    gone = []
    for name in sealed:
        too_big = retention.bytes_max is not None and total > retention.bytes_max
        if not too_big and not _too_old(name.path, retention.age_max_s, now):
            break
        gone.append(name)
        total -= name.path.stat().st_size
    return tuple(gone)


def _too_old(path: Path, age_max_s: float | None, now: Instant) -> bool:
    if age_max_s is None:
        return False
    with mapped(path) as data:
        seal = read_seal(data)
    return seal is not None and now - seal.at > age_max_s

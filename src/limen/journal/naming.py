"""Naming records that a doubt is about, as far as their bytes still tell."""

import re
from collections.abc import Sequence

from limen.journal import stored
from limen.journal.segments import SegmentName

_ID = re.compile(rb'"id":"([^"\\]{1,80})"')


def id_in(text: bytes) -> tuple[str, ...]:
    """Return the id that stands in the bytes of a record, damaged or not."""
    match = _ID.search(text)
    return (match[1].decode(errors="replace"),) if match else ()


def name_records(names: Sequence[SegmentName], first: int, until: int) -> tuple[str, ...]:
    """Return the ids of the first and the last record of a stretch of one boot, as they are now."""
    wanted = {first, until - 1}
    for name in names:
        found = [frame for frame in stored.frames(name) if frame.position in wanted]
        if found:
            ids = [one for frame in found for one in id_in(frame.payload or b"")]
            return tuple(dict.fromkeys(ids))
    return ()

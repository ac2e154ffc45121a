"""What a gateway keeps of its journals once control has them: retention removes only what was acknowledged.

What control does not have yet stays, however long control is away; then the journal's own rule for a full
disk holds (`limen.journal.reserve`).
"""

from pathlib import Path

import structlog

from limen.administrator.ship_wire import Place
from limen.core.ids import Instant
from limen.journal.note import Signer
from limen.journal.removals import state_removal
from limen.journal.retention import Retention, expired_segments
from limen.journal.segments import SegmentName, list_segments, mapped, read_header

log = structlog.get_logger("limen.ship")


def prune_acknowledged(
    directory: Path, place: Place, retention: Retention, signer: Signer | None, now: Instant
) -> int:
    """Remove the segments before `place` that retention no longer keeps; return how many.

    Raises:
        OSError: it could not be stated, or done.
    """
    names = list_segments(directory)
    kept = [name for name in names if (name.boot, name.number) >= (place.boot, place.number)]
    known = names[: len(names) - len(kept)]
    expired = expired_segments((*known, *kept), retention, now)
    expired = expired[: len(known)] if kept else ()
    if not expired:
        return 0
    if signer is not None:
        _state(directory, names[len(expired)], signer, now)
    for name in expired:
        name.path.unlink()
        name.path.with_suffix(".cut").unlink(missing_ok=True)
        log.info("ship.segment_removed", segment=name.path.name)
    return len(expired)


def _state(directory: Path, kept: SegmentName, signer: Signer, now: Instant) -> None:
    with mapped(kept.path) as data:
        header = read_header(data)
    if header is not None:
        state_removal(directory, signer, header.boot, header.first, now)

"""Recording what a rollout stage lets through: an allow, with the denial that it would be."""

import msgspec

from limen.administrator.recording import Entry
from limen.core.decision import Verdict
from limen.core.rollout import Stage


def let_through_entry(entry: Entry, stage: Stage) -> Entry:
    """Return the entry of a denial as what its stage made of it. Code and policies stay the denial's."""
    record = msgspec.structs.replace(
        entry.record,
        mode=stage.mode.value,
        verdict=Verdict.ALLOW.value,
        would_be=Verdict.DENY.value,
    )
    return msgspec.structs.replace(entry, record=record)

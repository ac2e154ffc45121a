"""What somebody should look at about a workload: words for lists and reports."""

from collections.abc import Iterable

from limen.core.entities import Status
from limen.core.ids import Instant
from limen.store.machines import SECRET, Credential
from limen.store.workloads import Workload

SOON_S = 14 * 86_400.0
UNUSED_S = 90 * 86_400.0

OWNERLESS, REVIEW_DUE, EXPIRES_SOON = "ownerless", "review due", "expires soon"
KEY_EXPIRES_SOON, SHARED_SECRET, NEVER_USED, DORMANT = (
    "key expires soon",
    "shared secret",
    "never used",
    "dormant",
)


def flags_of(one: Workload, credentials: Iterable[Credential], now: Instant) -> list[str]:
    """Return what is to be looked at about a workload; nothing of one that was removed."""
    if one.status is Status.ENDED:
        return []
    own = [held for held in credentials if held.workload == one.id]
    last_used_at = one.used_at if one.used_at is not None else one.created_at
    found = {
        OWNERLESS: one.stops_at is not None,
        REVIEW_DUE: one.review_at is not None and one.review_at <= now,
        EXPIRES_SOON: one.expires_at is not None and one.expires_at - SOON_S <= now,
        KEY_EXPIRES_SOON: any(held.expires_at - SOON_S <= now for held in own),
        SHARED_SECRET: any(held.kind == SECRET for held in own),
        NEVER_USED: one.used_at is None,
        DORMANT: last_used_at + UNUSED_S <= now,
    }
    return [word for word, holds in found.items() if holds]

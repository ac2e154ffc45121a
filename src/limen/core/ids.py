"""Identifiers, and the references by which policies name entities."""

import os
import secrets
from typing import NamedTuple, NewType

Instant = float
"""Unix seconds, UTC. A plain float, because the hot path compares millions of them."""

Seq = NewType("Seq", int)
"""Position in the change feed: gap-free, monotonic within one epoch."""

BundleId = NewType("BundleId", str)
"""Hex SHA-256 of a bundle's canonical content."""

DecisionId = NewType("DecisionId", str)
"""Sortable id of one decision: 48 bits of milliseconds, 80 bits of randomness, as 32 hex digits."""

SessionId = NewType("SessionId", str)
TokenHash = NewType("TokenHash", str)
"""Hex SHA-256 of a session or client token. The token itself is never stored."""


class EntityRef(NamedTuple):
    """A Cedar entity reference. `type` has no quotes; `id` is the raw, unescaped id."""

    type: str
    id: str

    def __str__(self) -> str:
        return f'{self.type}::"{self.id}"'


def new_id(prefix: str) -> str:
    """Return a fresh random id, such as `ses_9f2c…`, of 96 random bits."""
    return f"{prefix}_{secrets.token_hex(12)}"


def new_decision_id(at: Instant) -> DecisionId:
    """Return a decision id that sorts by time."""
    return DecisionId(f"{int(at * 1000) & 0xFFFFFFFFFFFF:012x}{os.urandom(10).hex()}")

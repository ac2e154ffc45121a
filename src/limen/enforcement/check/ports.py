"""What the check needs of others: a journal, an engine, pages, and somebody who asks control."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from limen.core.changes import SecretFact
from limen.core.decision import AccessRequest, Decision, Explanation, Facts
from limen.core.secret import Secret
from limen.engine.policies import Policies


class Decider(Protocol):
    """The engine, memo included. Never raises: a failure is a decision."""

    def decide(self, request: AccessRequest, facts: Facts, policies: Policies) -> Decision:
        """Answer one request."""
        ...


class Explainer(Protocol):
    """Finds, off the hot path, what would cure a denial."""

    def cached(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        """Return what was found a moment ago for the same question."""
        ...

    async def find(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        """Return the explanation, or None when it could not be found in time."""
        ...


class ControlPort(Protocol):
    """The feed's client, as the check sees it."""

    async def ask(self) -> None:
        """Return once the replica has all that control has; `Unavailable` when control is away."""
        ...

    def note_seen(self, session_id: str, at: float) -> None:
        """Note that a session was used."""
        ...


Unseal = Callable[[SecretFact], Secret[str]]
"""Opens a secret that was sealed to this gateway."""


class Pages(msgspec.Struct, frozen=True):
    """How pages are made. `headers` go with every page."""

    render: Callable[..., str]
    headers: Mapping[str, str]

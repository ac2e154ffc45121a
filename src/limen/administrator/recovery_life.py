"""Recovery, as a table: from a name that was typed to a one-time link that sets sign-in up anew.

Laws:
    V1 two things or another person: `ready` is entered by `two-shown` or by `approved`, by nothing else.
    V2 once: `ready` is left by `taken`, which makes the link, or by `stopped`; both are for good.
    V3 one who says "that was not me" is believed in every state.
"""

from collections.abc import Mapping
from enum import StrEnum

from limen.core.errors import Conflict


class RecoveryState(StrEnum):
    """Where a recovery is."""

    OPEN = "open"
    READY = "ready"
    DONE = "done"
    STOPPED = "stopped"


class RecoveryEvent(StrEnum):
    """What can happen to a recovery."""

    LINK_OPENED = "link-opened"
    TWO_SHOWN = "two-shown"
    WRONG_SHOWN = "wrong-shown"
    SHOWN_TOO_OFTEN = "shown-too-often"
    APPROVED = "approved"
    TAKEN = "taken"
    STOPPED = "stopped"


_S, _E = RecoveryState, RecoveryEvent

TRANSITIONS: Mapping[tuple[RecoveryState, RecoveryEvent], RecoveryState] = {
    (_S.OPEN, _E.LINK_OPENED): _S.OPEN,
    (_S.OPEN, _E.WRONG_SHOWN): _S.OPEN,
    (_S.OPEN, _E.SHOWN_TOO_OFTEN): _S.STOPPED,
    (_S.OPEN, _E.TWO_SHOWN): _S.READY,
    (_S.OPEN, _E.APPROVED): _S.READY,
    (_S.READY, _E.TAKEN): _S.DONE,
    (_S.OPEN, _E.STOPPED): _S.STOPPED,
    (_S.READY, _E.STOPPED): _S.STOPPED,
}


def step(state: RecoveryState, event: RecoveryEvent) -> RecoveryState:
    """Return the next state.

    Raises:
        Conflict: the event cannot happen in this state.
    """
    found = TRANSITIONS.get((state, event))
    if found is None:
        raise Conflict(
            f"A recovery that is {state} cannot take {event}.",
            remedy="Begin a new one.",
            code="RECOVERY_OVER",
        )
    return found

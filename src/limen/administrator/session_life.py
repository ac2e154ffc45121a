"""The life of a single sign-on session, as a table.

Laws:
    S1 an ended session never opens again: no event leads out of `ended`.
    S2 every gain of privilege mints a new token: `sign-in` and `step-up` alone raise what a session
       proves, and both hold `MINT_TOKEN`.
    S3 children end with their parent: every way into `ended` from `active` holds `END_CHILDREN`.
"""

from collections.abc import Mapping
from enum import StrEnum

from limen.core.errors import Conflict


class SessionState(StrEnum):
    """Where a session is."""

    NEW = "new"
    ACTIVE = "active"
    ENDED = "ended"


class SessionEvent(StrEnum):
    """What can happen to a session."""

    SIGN_IN = "sign-in"
    STEP_UP = "step-up"
    OPEN_APP = "open-app"
    SIGN_OUT = "sign-out"
    REPLACE = "replace"  # the same browser signs in again
    EXPIRE = "expire"
    IDLE = "idle"
    REVOKE = "revoke"  # by an administrator, or because of the person


class SessionCommand(StrEnum):
    """What the shell then does, in this order."""

    MINT_TOKEN = "mint-token"  # noqa: S105 - a command's name
    OVERLAP_OLD_TOKEN = "overlap-old-token"  # noqa: S105
    OPEN_CHILD = "open-child"
    END_CHILDREN = "end-children"
    PUBLISH = "publish"
    TOMBSTONE = "tombstone"


_C = SessionCommand
_END = (SessionState.ENDED, (_C.END_CHILDREN, _C.TOMBSTONE))

TRANSITIONS: Mapping[tuple[SessionState, SessionEvent], tuple[SessionState, tuple[SessionCommand, ...]]] = {
    (SessionState.NEW, SessionEvent.SIGN_IN): (SessionState.ACTIVE, (_C.MINT_TOKEN, _C.PUBLISH)),
    (SessionState.ACTIVE, SessionEvent.STEP_UP): (
        SessionState.ACTIVE,
        (_C.MINT_TOKEN, _C.OVERLAP_OLD_TOKEN, _C.PUBLISH),
    ),
    (SessionState.ACTIVE, SessionEvent.OPEN_APP): (SessionState.ACTIVE, (_C.OPEN_CHILD,)),
    (SessionState.ACTIVE, SessionEvent.SIGN_OUT): _END,
    (SessionState.ACTIVE, SessionEvent.REPLACE): _END,
    (SessionState.ACTIVE, SessionEvent.EXPIRE): _END,
    (SessionState.ACTIVE, SessionEvent.IDLE): _END,
    (SessionState.ACTIVE, SessionEvent.REVOKE): _END,
    # Ending is idempotent, so that two who end the same session both succeed.
    (SessionState.ENDED, SessionEvent.SIGN_OUT): (SessionState.ENDED, ()),
    (SessionState.ENDED, SessionEvent.REPLACE): (SessionState.ENDED, ()),
    (SessionState.ENDED, SessionEvent.EXPIRE): (SessionState.ENDED, ()),
    (SessionState.ENDED, SessionEvent.IDLE): (SessionState.ENDED, ()),
    (SessionState.ENDED, SessionEvent.REVOKE): (SessionState.ENDED, ()),
}


def step(state: SessionState, event: SessionEvent) -> tuple[SessionState, tuple[SessionCommand, ...]]:
    """Return the next state and what to do.

    Raises:
        Conflict: the event cannot happen in this state (law S1).
    """
    found = TRANSITIONS.get((state, event))
    if found is None:
        raise Conflict(
            f"A session that is {state} cannot {event}.", remedy="Sign in again.", code="SESSION_ENDED"
        )
    return found

"""The way in, as a table: from a name and a password, a passkey or a provider to a session.

Laws:
    I1 a flow token is minted, never adopted: every way out of `begin` that needs one holds `OPEN_FLOW`,
       and whatever the browser presented is closed.
    I2 a challenge, a state and a flow are looked at once: every way out of `ceremony` and `upstream`
       holds `CLOSE_FLOW`, the failing ones too.
"""

from collections.abc import Mapping
from enum import StrEnum

from limen.core.errors import Conflict


class SignInState(StrEnum):
    """Where a sign-in is. `begin` has no row in the database, `done` and `over` have none any more."""

    BEGIN = "begin"
    SECOND = "second"  # the password was right, a second factor is awaited
    CEREMONY = "ceremony"  # a passkey challenge is out
    UPSTREAM = "upstream"  # the browser is at an identity provider
    DONE = "done"
    OVER = "over"


class SignInEvent(StrEnum):
    """What can happen to a sign-in."""

    PASSWORD_RIGHT = "password-right"  # noqa: S105 - an event's name
    PASSWORD_RIGHT_ALONE = "password-right-alone"  # noqa: S105 - nothing else is enrolled
    PASSWORD_WRONG = "password-wrong"  # noqa: S105
    CHALLENGE_ASKED = "challenge-asked"
    SENT_UPSTREAM = "sent-upstream"
    CODE_RIGHT = "code-right"
    CODE_WRONG = "code-wrong"
    CODES_SPENT = "codes-spent"  # wrong once too often
    PASSKEY_RIGHT = "passkey-right"
    PASSKEY_WRONG = "passkey-wrong"
    UPSTREAM_RIGHT = "upstream-right"
    UPSTREAM_WRONG = "upstream-wrong"


class SignInCommand(StrEnum):
    """What the shell then does, in this order."""

    OPEN_FLOW = "open-flow"
    COUNT_FAILURE = "count-failure"
    CLOSE_FLOW = "close-flow"
    NOTE_FAILURE = "note-failure"
    FORGIVE = "forgive"  # fill the buckets of attempts up again
    OPEN_SESSION = "open-session"


_S, _E, _C = SignInState, SignInEvent, SignInCommand

TRANSITIONS: Mapping[tuple[SignInState, SignInEvent], tuple[SignInState, tuple[SignInCommand, ...]]] = {
    (_S.BEGIN, _E.PASSWORD_RIGHT): (_S.SECOND, (_C.OPEN_FLOW,)),
    (_S.BEGIN, _E.PASSWORD_RIGHT_ALONE): (_S.DONE, (_C.FORGIVE, _C.OPEN_SESSION)),
    (_S.BEGIN, _E.PASSWORD_WRONG): (_S.BEGIN, (_C.NOTE_FAILURE,)),
    (_S.BEGIN, _E.CHALLENGE_ASKED): (_S.CEREMONY, (_C.OPEN_FLOW,)),
    (_S.BEGIN, _E.SENT_UPSTREAM): (_S.UPSTREAM, (_C.OPEN_FLOW,)),
    (_S.SECOND, _E.CODE_RIGHT): (_S.DONE, (_C.CLOSE_FLOW, _C.FORGIVE, _C.OPEN_SESSION)),
    (_S.SECOND, _E.CODE_WRONG): (_S.SECOND, (_C.COUNT_FAILURE, _C.NOTE_FAILURE)),
    (_S.SECOND, _E.CODES_SPENT): (_S.OVER, (_C.CLOSE_FLOW, _C.NOTE_FAILURE)),
    (_S.CEREMONY, _E.PASSKEY_RIGHT): (_S.DONE, (_C.CLOSE_FLOW, _C.OPEN_SESSION)),
    (_S.CEREMONY, _E.PASSKEY_WRONG): (_S.OVER, (_C.CLOSE_FLOW, _C.NOTE_FAILURE)),
    (_S.UPSTREAM, _E.UPSTREAM_RIGHT): (_S.DONE, (_C.CLOSE_FLOW, _C.OPEN_SESSION)),
    (_S.UPSTREAM, _E.UPSTREAM_WRONG): (_S.OVER, (_C.CLOSE_FLOW, _C.NOTE_FAILURE)),
}


def step(state: SignInState, event: SignInEvent) -> tuple[SignInState, tuple[SignInCommand, ...]]:
    """Return the next state and what to do.

    Raises:
        Conflict: the event cannot happen in this state.
    """
    found = TRANSITIONS.get((state, event))
    if found is None:
        raise Conflict(
            f"A sign-in at {state} cannot take {event}.", remedy="Start again.", code="SIGN_IN_OVER"
        )
    return found

"""Setting up sign-in through a one-time link, as a table: a password, then a second factor.

Laws:
    E1 a link works once: every way into `codes` holds `SPEND_LINK`, before anything is stored.
    E2 nothing half-made: person, password and factor are stored together, by the same step.
"""

from collections.abc import Mapping
from enum import StrEnum

from limen.core.errors import Conflict


class EnrolmentState(StrEnum):
    """Where an enrolment is. `link` has no row of its own: the link is looked at each time."""

    LINK = "link"
    CHOOSE = "enrol-choose"
    TOTP = "enrol-totp"
    PASSKEY = "enrol-passkey"
    CODES = "enrol-codes"  # enrolled; the recovery codes are being shown
    DONE = "done"
    OVER = "over"


class EnrolmentEvent(StrEnum):
    """What can happen to an enrolment."""

    PASSWORD_GIVEN = "password-given"  # noqa: S105 - an event's name
    TOTP_CHOSEN = "totp-chosen"
    PASSKEY_CHOSEN = "passkey-chosen"
    CODE_RIGHT = "code-right"
    CODE_WRONG = "code-wrong"
    CODES_SPENT = "codes-spent"
    PASSKEY_MADE = "passkey-made"
    KEPT = "kept"


class EnrolmentCommand(StrEnum):
    """What the shell then does, in this order."""

    OPEN_FLOW = "open-flow"
    MAKE_SEED = "make-seed"
    COUNT_FAILURE = "count-failure"
    SPEND_LINK = "spend-link"
    STORE_PERSON = "store-person"
    STORE_PASSWORD = "store-password"  # noqa: S105
    STORE_TOTP = "store-totp"
    STORE_PASSKEY = "store-passkey"
    MAKE_CODES = "make-codes"
    OPEN_SESSION = "open-session"
    SAVE_FLOW = "save-flow"
    CLOSE_FLOW = "close-flow"


_S, _E, _C = EnrolmentState, EnrolmentEvent, EnrolmentCommand
_Move = tuple[EnrolmentState, tuple[EnrolmentCommand, ...]]
_AFTER = (_C.MAKE_CODES, _C.OPEN_SESSION, _C.SAVE_FLOW)
_TO_TOTP: _Move = (_S.TOTP, (_C.MAKE_SEED, _C.SAVE_FLOW))
_TO_PASSKEY: _Move = (_S.PASSKEY, (_C.SAVE_FLOW,))

TRANSITIONS: Mapping[tuple[EnrolmentState, EnrolmentEvent], _Move] = {
    (_S.LINK, _E.PASSWORD_GIVEN): (_S.CHOOSE, (_C.OPEN_FLOW,)),
    (_S.CHOOSE, _E.TOTP_CHOSEN): _TO_TOTP,
    (_S.CHOOSE, _E.PASSKEY_CHOSEN): _TO_PASSKEY,
    (_S.TOTP, _E.PASSKEY_CHOSEN): _TO_PASSKEY,
    (_S.PASSKEY, _E.TOTP_CHOSEN): _TO_TOTP,
    (_S.PASSKEY, _E.PASSKEY_CHOSEN): _TO_PASSKEY,  # a new challenge
    (_S.TOTP, _E.CODE_WRONG): (_S.TOTP, (_C.COUNT_FAILURE, _C.SAVE_FLOW)),
    (_S.TOTP, _E.CODES_SPENT): (_S.OVER, (_C.CLOSE_FLOW,)),
    (_S.TOTP, _E.CODE_RIGHT): (
        _S.CODES,
        (_C.SPEND_LINK, _C.STORE_PERSON, _C.STORE_PASSWORD, _C.STORE_TOTP, *_AFTER),
    ),
    (_S.PASSKEY, _E.PASSKEY_MADE): (
        _S.CODES,
        (_C.SPEND_LINK, _C.STORE_PERSON, _C.STORE_PASSWORD, _C.STORE_PASSKEY, *_AFTER),
    ),
    (_S.CODES, _E.KEPT): (_S.DONE, (_C.CLOSE_FLOW,)),
}


def step(state: EnrolmentState, event: EnrolmentEvent) -> tuple[EnrolmentState, tuple[EnrolmentCommand, ...]]:
    """Return the next state and what to do.

    Raises:
        Conflict: the event cannot happen in this state.
    """
    found = TRANSITIONS.get((state, event))
    if found is None:
        raise Conflict(
            f"An enrolment at {state} cannot take {event}.",
            remedy="Open the link again.",
            code="ENROLMENT_OVER",
        )
    return found

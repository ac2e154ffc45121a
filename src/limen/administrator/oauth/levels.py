"""What a session has proven, in the words of OpenID Connect; and what a client asks for, in ours.

Source: OpenID EAP ACR Values 1.0 (`phr`, `phrh`), OpenID PAPE (multi-factor), RFC 8176 (`amr`),
RFC 9470 (`acr_values`, `max_age`).
"""

from collections.abc import Iterable, Mapping

from limen.administrator.step_up import Need, is_met
from limen.core.ids import Instant
from limen.core.needs import FRESH_SIGN_IN, HARDWARE_KEY, NEEDS, PASSKEY, SECOND_FACTOR
from limen.store.sessions import Session

HARDWARE, PHISHING_RESISTANT = NEEDS[HARDWARE_KEY].acr, NEEDS[PASSKEY].acr
MULTI_FACTOR = NEEDS[SECOND_FACTOR].acr
SINGLE_FACTOR = "urn:limen:single-factor"

ACR_VALUES: tuple[str, ...] = (HARDWARE, PHISHING_RESISTANT, MULTI_FACTOR, SINGLE_FACTOR)
"""Strongest first: each has those that follow it."""

AMR: Mapping[str, str] = {"password": "pwd", "totp": "otp", "recovery": "otp", "passkey": "pop"}
"""A method as RFC 8176 names it; others have no name there."""

_NEED_OF: Mapping[str, str] = {need.acr: need.id for need in NEEDS.values() if need.acr}


def held(session: Session) -> frozenset[str]:
    """Return the `acr` values that a session meets."""
    strength = 3
    if session.aal >= 2:
        strength = 1 if session.phishing_resistant else 2
    if session.aal >= 3 and session.phishing_resistant:
        strength = 0
    return frozenset(ACR_VALUES[strength:])


def acr_of(session: Session, asked: Iterable[str] = ()) -> str:
    """Return the `acr` of a session: the first that was asked for and is met, else the strongest."""
    has = held(session)
    return next((value for value in asked if value in has), next(v for v in ACR_VALUES if v in has))


def amr_of(session: Session) -> list[str]:
    """Return the `amr` of a session."""
    named = {AMR[method] for method in session.methods if method in AMR}
    return sorted(named | ({"mfa"} if session.aal >= 2 else set()))


def lacking(
    session: Session, asked: Iterable[str], max_age_s: int | None, now: Instant, *, hardware: bool = False
) -> Need | None:
    """Return what a session lacks of what a client asks for; None when nothing, or nothing that helps.

    Of several values the first is preferred (OIDC Core 3.1.2.1). Proven hardware is needed only where no
    other value would do, as few people have it; without `hardware` nobody has, so it is no need.
    """
    wanted = tuple(value for value in asked if value in ACR_VALUES)
    if wanted and not held(session).intersection(wanted):
        needs = sorted((_NEED_OF[value] for value in wanted if value in _NEED_OF), key=HARDWARE_KEY.__eq__)
        brought = (Need(name, max_age_s) for name in needs if hardware or name != HARDWARE_KEY)
        if found := next((need for need in brought if not is_met(need, session, now)), None):
            return found
    fresh = None if max_age_s is None else Need(FRESH_SIGN_IN, max_age_s)
    return None if is_met(fresh, session, now) else fresh


def unmet(session: Session, asked: Iterable[str]) -> bool:
    """Whether none of the values that a client asks for is met (RFC 9470 section 5).

    Values that nobody here knows are wishes, and count for nothing (OIDC Core 3.1.2.1: `acr_values`).
    """
    wanted = frozenset(asked).intersection(ACR_VALUES)
    return bool(wanted) and held(session).isdisjoint(wanted)

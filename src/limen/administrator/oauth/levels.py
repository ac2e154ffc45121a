"""What a session has proven, in the words of OpenID Connect; and what a client asks for, in ours.

Source: OpenID EAP ACR Values 1.0 (`phr`, `phrh`), OpenID PAPE (multi-factor), RFC 8176 (`amr`),
RFC 9470 (`acr_values`, `max_age`).
"""

from collections.abc import Iterable, Mapping

from limen.administrator.step_up import Need, is_met
from limen.core.ids import Instant
from limen.store.sessions import Session

HARDWARE, PHISHING_RESISTANT = "phrh", "phr"
MULTI_FACTOR = "http://schemas.openid.net/pape/policies/2007/06/multi-factor"
SINGLE_FACTOR = "urn:limen:single-factor"

ACR_VALUES: tuple[str, ...] = (HARDWARE, PHISHING_RESISTANT, MULTI_FACTOR, SINGLE_FACTOR)
"""Strongest first: each has those that follow it."""

AMR: Mapping[str, str] = {"password": "pwd", "totp": "otp", "recovery": "otp", "passkey": "pop"}
"""A method as RFC 8176 names it; others have no name there."""

_NEEDS: Mapping[str, str] = {PHISHING_RESISTANT: "passkey", MULTI_FACTOR: "second-factor"}


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


def lacking(session: Session, asked: Iterable[str], max_age_s: int | None, now: Instant) -> Need | None:
    """Return what a session lacks of what a client asks for; None when nothing, or nothing that helps.

    Of several values the first is preferred (OIDC Core 3.1.2.1); one that no step-up brings, such as proven
    hardware, is no need.
    """
    wanted = tuple(value for value in asked if value in ACR_VALUES)
    if wanted and not held(session).intersection(wanted):
        need = next((_NEEDS[value] for value in wanted if value in _NEEDS), None)
        if need is not None:
            return Need(need, max_age_s)
    fresh = None if max_age_s is None else Need("fresh-sign-in", max_age_s)
    return None if is_met(fresh, session, now) else fresh


def unmet(session: Session, asked: Iterable[str]) -> bool:
    """Whether none of the values that a client asks for is met (RFC 9470 section 5).

    Values that nobody here knows are wishes, and count for nothing (OIDC Core 3.1.2.1: `acr_values`).
    """
    wanted = frozenset(asked).intersection(ACR_VALUES)
    return bool(wanted) and held(session).isdisjoint(wanted)

"""Modes: what a denial by policy does where a resource is not enforced yet (`limen.core.rollout`).

Laws:
    M1 no assertion. A mode never asserts what was not authenticated: without a session there is no
       identity, and services are never opened without one.
    M2 hard stops. What is no judgement of a policy is denied in every mode.
"""

import hashlib
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from limen.core.decision import Code
from limen.core.rollout import Mode, Stage, softened
from limen.enforcement.check.answer import Header
from limen.enforcement.check.case import Case
from limen.enforcement.check.credentials import WARNED_COOKIE
from limen.enforcement.check.places import ServicePlace
from limen.enforcement.check.request import FETCH_DEST, is_navigation

WARNING = "limen-warning"


def stage_in_force(case: Case) -> Stage:
    """Return the stage of whoever asks, at what they ask for."""
    rollout = case.asked.place.rollout_of(case.asked.match.resource)
    subject = None if case.seat is None else case.seat.subject
    return rollout.stage if subject is None else rollout.stage_of(subject.ancestors)


def let_through(case: Case, code: Code) -> Stage | None:
    """Return the stage by which a denial of somebody who is signed in is let through, or None."""
    place, seat = case.asked.place, case.seat
    if not place.staged or seat is None or seat.subject is None:
        return None
    return softened(place.rollout_of(case.asked.match.resource), code, seat.subject.ancestors)


def let_in(case: Case) -> Stage | None:
    """Return the stage by which somebody without a session is let through, or None.

    Services always need a session; pages ask for one, unless `sign_in: optional`.
    """
    asked = case.asked
    if isinstance(asked.place, ServicePlace):
        return None
    rollout = asked.place.rollout_of(asked.match.resource)
    if rollout.sign_in and is_navigation(asked.request):
        return None
    return softened(rollout, Code.NO_SESSION, None)


def page_is_due(case: Case, stage: Stage) -> bool:
    """Say whether a person must be told now: once a day in each app, when they open a page of it.

    Programs are not: a token has no browser that could remember. Nor are frames, which show no page of ours.
    """
    asked = case.asked
    return (
        stage.mode is Mode.WARN
        and asked.request.method == "GET"
        and asked.credentials.kind == "cookie"
        and is_navigation(asked.request)
        and asked.request.headers.get(FETCH_DEST, b"document") == b"document"
        and asked.credentials.warned != _mark(case, _today(case))
    )


def warned_cookie(case: Case) -> Header:
    """Return the cookie that keeps this app quiet for this person until tomorrow."""
    today = _today(case)
    tomorrow = today + timedelta(days=1)
    max_age_s = max(1, round(tomorrow.timestamp() - case.question.at))
    attributes = f"Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={max_age_s}"
    return "set-cookie", f"{WARNED_COOKIE}={_mark(case, today)}; {attributes}"


def warning_header(stage: Stage, code: Code, decision_id: str) -> Header:
    """Return what a client is told of a request that went on: that it would be denied, from when, why."""
    day = f"; from={stage.until}" if stage.until else ""
    return WARNING, f"would-deny; code={code}{day}; decision={decision_id}"


def day_words(case: Case, stage: Stage) -> str:
    """Return the day from which it will be denied, as a person says it; empty when none is ahead."""
    day = date.fromisoformat(stage.until) if stage.until else None
    return f"{day.day} {day:%B %Y}" if day is not None and day > _today(case).date() else ""


def _today(case: Case) -> datetime:
    """Return the beginning of this day, where the organisation is."""
    zone = ZoneInfo(case.asked.place.timezone)
    return datetime.combine(datetime.fromtimestamp(case.question.at, zone).date(), time(), zone)


def _mark(case: Case, today: datetime) -> str:
    """Return who was told when, as a cookie that names nobody."""
    whom = f"{today.date()}\0{case.question.subject}"
    return hashlib.sha256(whom.encode()).hexdigest()[:24]

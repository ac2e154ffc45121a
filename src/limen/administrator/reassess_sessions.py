"""Sessions of people who may not come in any more: ended in control, by whatever path that came about.

Gateways refuse and cut such people at once, by their status (law R1). Their sessions are ended besides, so
that a status that is taken back does not bring them to life again, and listings tell the truth.

Law:
    R6 nobody comes back by an old session: once somebody is suspended, has ended or has expired, each of
       their sessions ends, whether a person, an import or time did it.
"""

from collections.abc import Iterable

from limen.administrator.session_life import SessionEvent
from limen.administrator.sessions import Sessions
from limen.core.changes import Change, PersonFact
from limen.core.entities import Status
from limen.core.ids import Instant
from limen.store.directory.people import load_people
from limen.store.sessions import list_locked_out

ACTOR = "limen"


def locked_out(changes: Iterable[Change], now: Instant) -> tuple[str, ...]:
    """Return the people whom committed changes left unable to come in, sorted.

    Pure, for the subscriber of commits: it may not write there, so it hands these to `end_sessions`.
    """
    return tuple(
        sorted(
            {
                change.id
                for change in changes
                if change.kind == "person"
                and (not isinstance(change.value, PersonFact) or _why(change.value, now))
            }
        )
    )


def end_sessions(sessions: Sessions, people: Iterable[str], now: Instant) -> int:
    """End every session of those of `people` who still may not come in; return how many sessions."""
    with sessions.ledger.store.read() as connection:
        found = load_people(connection, tuple(people))
    reasons = {person.id: _why(person.fact, now) for person in found.values()}
    return sum(
        sessions.end_person(person, actor=ACTOR, why=why, event=SessionEvent.REVOKE)
        for person, why in reasons.items()
        if why
    )


def sweep_sessions(sessions: Sessions, now: Instant) -> int:
    """End every session of anybody who may not come in; return how many. Call it every half minute or so.

    This is what ends the sessions of people whose account time has ended, and whatever was missed.
    """
    with sessions.ledger.store.read() as connection:
        people = list_locked_out(connection, now)
    return end_sessions(sessions, people, now) if people else 0


def _why(person: PersonFact, now: Instant) -> str:
    if person.status is not Status.ACTIVE:
        return f"{person.id} is {person.status}"
    over = person.expires_at is not None and person.expires_at <= now
    return f"the account of {person.id} has expired" if over else ""

"""Seats: live app sessions with what each of their requests needs, kept while the replica stands still."""

import msgspec

from limen.administrator.replica import Replica, Touched, session_facts
from limen.core.changes import AppSessionFact, PersonFact, SessionFact
from limen.core.decision import SessionFacts
from limen.core.entities import Closure
from limen.core.ids import EntityRef, Instant
from limen.enforcement.check.answer import Header

SEATS_MAX = 10_000  # sessions in use, ~3 kB each; the oldest goes first, and is found again when used


class Seat(msgspec.Struct):
    """One app session in use.

    Attributes:
        subject: None when the person is not in the directory.
        expires_at: the end of the app session or of its parent, whichever is first.
        stamp: the replica's, when this was last compared with it.
        identity: headers for the app, good until `identity_until`; `removed`: those to take off.
        inputs: ids of stable inputs, by what may differ between requests of one session.
        seen_at: when control was last told of a use.
    """

    app_session: AppSessionFact
    session: SessionFact
    facts: SessionFacts
    ref: EntityRef
    person: PersonFact | None
    subject: Closure | None
    expires_at: Instant
    stamp: int
    identity: tuple[Header, ...] = ()
    removed: str = ""
    identity_until: Instant = 0.0
    inputs: dict[tuple[str, float, tuple[str, ...]], str] = {}
    seen_at: Instant = 0.0


class Seats:
    """Finds the seat of a token. What it returns is as fresh as the replica."""

    def __init__(self, replica: Replica, capacity: int = SEATS_MAX) -> None:
        self._replica = replica
        self._capacity = capacity
        self._seats: dict[str, Seat] = {}
        replica.subscribe(self._forget)

    def find(self, token_hash: str, *, app: str, kind: str, at: Instant) -> Seat | None:
        """Return the live session of a token, if it is of this app, of this kind, and its parent lives."""
        seat = self._seats.get(token_hash)
        if seat is None or seat.stamp != self._replica.stamp:
            seat = self._renew(token_hash, seat)
            if seat is None:
                return None
        fact = seat.app_session
        if fact.app != app or fact.kind != kind or at >= seat.expires_at:
            return None
        return seat

    def _renew(self, token_hash: str, old: Seat | None) -> Seat | None:
        replica = self._replica
        app_session = replica.app_session(token_hash)
        session = None if app_session is None else replica.session(app_session.parent)
        if app_session is None or session is None:
            self._seats.pop(token_hash, None)
            return None
        ref = EntityRef("User", session.person)
        person, subject = replica.person(session.person), replica.closure(ref)
        if (
            old is not None
            and (old.app_session, old.session) == (app_session, session)
            and old.subject is subject
            and old.person is person
        ):
            old.stamp = replica.stamp
            return old
        seat = Seat(
            app_session=app_session,
            session=session,
            facts=session_facts(session),
            ref=ref,
            person=person,
            subject=subject,
            expires_at=min(app_session.expires_at, session.expires_at),
            stamp=replica.stamp,
        )
        if len(self._seats) >= self._capacity and token_hash not in self._seats:
            del self._seats[next(iter(self._seats))]
        self._seats[token_hash] = seat
        return seat

    def _forget(self, touched: Touched) -> None:
        """Drop what was derived from the bundle or from secrets when these change."""
        if not touched.kinds.isdisjoint(("bundle", "secret")):
            self._seats.clear()

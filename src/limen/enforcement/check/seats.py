"""Seats: live sessions with what each of their requests needs, kept while the replica stands still.

A person's is an app session; a machine's is that of its access token, or of the certificate that it shows.
"""

import msgspec

from limen.administrator.machine_sessions import (
    CERTIFICATE_OF_MACHINE,
    TOKEN_OF_MACHINE,
    certificate_session,
)
from limen.administrator.replica import Replica, Touched, machine_facts, session_facts
from limen.core.changes import AppSessionFact, PersonFact, SessionFact, WorkloadFact, WorkloadSessionFact
from limen.core.decision import SessionFacts
from limen.core.entities import Closure
from limen.core.ids import EntityRef, Instant
from limen.enforcement.check.answer import Header
from limen.information.identity.svid import ClientCertificate

SEATS_MAX = 10_000  # sessions in use, ~3 kB each; the oldest goes first, and is found again when used


class Seat(msgspec.Struct):
    """One session in use.

    Attributes:
        session_id: as decisions name it.
        token_hash, token_kind: what it was found by: `cookie` or `token` of a person, `workload` or `svid`
            of a machine.
        held: the rows that it was made of.
        subject: None when whoever it is of is not in the directory.
        machine: a machine's session; `person` is None then.
        certificate: the one that proves it; None of all others.
        expires_at: the end of the app session or of its parent, whichever is first.
        stamp: the replica's, when this was last compared with it.
        identity: headers for the app, good until `identity_until`; `removed`: those to take off.
        inputs: ids of stable inputs, by what may differ between requests of one session.
        seen_at: when control was last told of a use.
    """

    session_id: str
    token_hash: str
    token_kind: str
    app: str
    held: tuple[AppSessionFact, SessionFact] | WorkloadSessionFact
    facts: SessionFacts
    ref: EntityRef
    person: PersonFact | None
    subject: Closure | None
    expires_at: Instant
    stamp: int
    machine: WorkloadSessionFact | None = None
    workload: WorkloadFact | None = None
    certificate: ClientCertificate | None = None
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

    def find(self, token_hash: str, *, app: str, kind: str, at: Instant, door: str = "") -> Seat | None:
        """Return the live session of a token, if it is of this app, of this kind, and its parent lives.

        Args:
            token_hash: the token's.
            app: what a person's session must be of.
            kind: where the token came from: `cookie` or `token`.
            at: this instant.
            door: the name of the app or service, of which a machine's may be.
        """
        seat = self._seats.get(token_hash)
        if seat is None or seat.stamp != self._replica.stamp:
            seat = self._renew(token_hash, seat)
            if seat is None:
                return self._find_machine(token_hash, door, at) if kind == "token" else None
        if seat.app != app or seat.token_kind != kind or at >= seat.expires_at:
            return None
        return seat

    def find_certificate(self, certificate: ClientCertificate, door: str, at: Instant) -> Seat | None:
        """Return the session of a machine that proves itself by its certificate, while that is valid."""
        active = self._replica.active
        fact = None if active is None else certificate_session(certificate, active.catalogue)
        if fact is None or not fact.started_at <= at < fact.expires_at:
            return None
        return self._seat_machine(fact, door, certificate)

    def _find_machine(self, token_hash: str, door: str, at: Instant) -> Seat | None:
        """Return the session of a machine's token, if it is good for this door. It is no cookie."""
        fact = self._replica.workload_session(token_hash)
        if fact is None or at >= fact.expires_at or (fact.apps and door not in fact.apps):
            return None
        return self._seat_machine(fact, door, None)

    def _renew(self, token_hash: str, old: Seat | None) -> Seat | None:
        replica = self._replica
        app_session = replica.app_session(token_hash)
        session = None if app_session is None else replica.session(app_session.parent)
        if app_session is None or session is None:
            self._seats.pop(token_hash, None)
            return None
        ref = EntityRef("User", session.person)
        person, subject = replica.person(session.person), replica.closure(ref)
        held = (app_session, session)
        if old is not None and old.held == held and old.subject is subject and old.person is person:
            old.stamp = replica.stamp
            return old
        seat = Seat(
            session_id=session.id,
            token_hash=app_session.id,
            token_kind=app_session.kind,
            app=app_session.app,
            held=held,
            facts=session_facts(session),
            ref=ref,
            person=person,
            subject=subject,
            expires_at=min(app_session.expires_at, session.expires_at),
            stamp=replica.stamp,
        )
        return self._keep(token_hash, seat)

    def _seat_machine(
        self, fact: WorkloadSessionFact, door: str, certificate: ClientCertificate | None
    ) -> Seat:
        """Return the seat of a machine at one door: what that app is told is for no other."""
        key = f"{fact.id}@{door}"
        replica, old = self._replica, self._seats.get(key)
        if old is not None and old.stamp == replica.stamp and old.certificate == certificate:
            return old
        ref = EntityRef("Workload", fact.workload)
        workload, subject = replica.workload(fact.workload), replica.closure(ref)
        same = old is not None and old.held == fact and old.certificate == certificate
        if old is not None and same and old.subject is subject and old.workload is workload:
            old.stamp = replica.stamp
            return old
        seat = Seat(
            session_id=fact.session_id,
            token_hash=fact.id,
            token_kind=TOKEN_OF_MACHINE if certificate is None else CERTIFICATE_OF_MACHINE,
            app="",
            held=fact,
            facts=machine_facts(fact),
            ref=ref,
            person=None,
            subject=subject,
            expires_at=fact.expires_at,
            stamp=replica.stamp,
            machine=fact,
            workload=workload,
            certificate=certificate,
        )
        return self._keep(key, seat)

    def _keep(self, key: str, seat: Seat) -> Seat:
        if len(self._seats) >= self._capacity and key not in self._seats:
            del self._seats[next(iter(self._seats))]
        self._seats[key] = seat
        return seat

    def _forget(self, touched: Touched) -> None:
        """Drop what was derived from the bundle or from secrets when these change."""
        if not touched.kinds.isdisjoint(("bundle", "secret")):
            self._seats.clear()

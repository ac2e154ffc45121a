"""Complaints: "this is wrong", said of a decision by the person whom it was about."""

import msgspec
from sqlalchemy import Connection, insert, select, update

from limen.core.ids import Instant
from limen.store.tables import complaint

LISTED_MAX = 500


class Complaint(msgspec.Struct, frozen=True):
    """One complaint. `owner` is who looked after the resource then; empty when nobody did."""

    id: str
    decision: str
    person: str
    resource: str
    owner: str
    text: str
    at: Instant
    answer: str | None = None
    answered_at: Instant | None = None
    answered_by: str | None = None


def add_complaint(connection: Connection, row: Complaint) -> None:
    """Store a complaint."""
    connection.execute(insert(complaint).values(**msgspec.structs.asdict(row)))


def load_complaint(connection: Connection, complaint_id: str) -> Complaint | None:
    """Return a complaint."""
    row = connection.execute(select(complaint).where(complaint.c.id == complaint_id)).first()
    return Complaint(**row._mapping) if row else None


def find_complaint(connection: Connection, person: str, decision: str) -> Complaint | None:
    """Return what a person has said of a decision."""
    query = select(complaint).where(complaint.c.person == person, complaint.c.decision == decision)
    row = connection.execute(query).first()
    return Complaint(**row._mapping) if row else None


def list_complaints(
    connection: Connection,
    *,
    person: str | None = None,
    owner: str | None = None,
    waiting: bool = False,
    limit: int = LISTED_MAX,
) -> tuple[Complaint, ...]:
    """Return complaints that fit everything given, the newest first. `waiting`: those without an answer."""
    query = select(complaint).order_by(complaint.c.at.desc(), complaint.c.id).limit(limit)
    if person is not None:
        query = query.where(complaint.c.person == person)
    if owner is not None:
        query = query.where(complaint.c.owner == owner)
    if waiting:
        query = query.where(complaint.c.answered_at.is_(None))
    return tuple(Complaint(**row._mapping) for row in connection.execute(query))


def answer_complaint(connection: Connection, complaint_id: str, text: str, by: str, now: Instant) -> bool:
    """Store an answer; return False if there was one already, so that of two only one is kept."""
    change = (
        update(complaint)
        .where(complaint.c.id == complaint_id, complaint.c.answered_at.is_(None))
        .values(answer=text, answered_at=now, answered_by=by)
    )
    return connection.execute(change).rowcount == 1

"""People over the admin API."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import Field

from limen.administrator.ledger import Entry
from limen.administrator.links import ENROL, new_link
from limen.administrator.links import make_link as make_enrolment_link
from limen.administrator.session_life import SessionEvent
from limen.api.body import Body
from limen.api.deps import Actor, AdminDeps, Deps, decided
from limen.api.grants import grants_of
from limen.core.catalogue import CEDAR_TYPES
from limen.core.entities import Kind, Status
from limen.core.errors import Invalid
from limen.store import directory, sessions
from limen.store.credentials import load_credentials
from limen.store.identities import list_identities

router = APIRouter(tags=["people"])
PAGE = 500  # people per query of the store; the answer holds all that match


class NewPerson(Body):
    """A person to add."""

    id: str
    name: str = ""
    email: str = ""
    groups: list[str] = Field(default_factory=list)
    kind: Kind = Kind.EMPLOYEE
    expires_at: float | None = None
    reason: str = ""


class PersonChange(Body):
    """The fields of a person to change; those left out stay. An attribute that is null is removed.

    `quarantined` denies a person everything and leaves their sessions; it needs a reason.
    """

    name: str | None = None
    email: str | None = None
    status: Status | None = None
    kind: Kind | None = None
    quarantined: bool | None = None
    expires_at: float | None = None
    attributes: dict[str, str | int | bool | None] | None = None
    reason: str = ""


class Import(Body):
    """A CSV file to import: all of it, or nothing."""

    csv: str
    dry_run: bool = False
    reason: str = ""


class NewLink(Body):
    """A link to make."""

    reset: bool = False
    reason: str = ""


class Reason(Body):
    """Why."""

    reason: str = ""


@router.get("/v1/people", summary="List people", **decided("read", "people"))
def list_people(deps: Deps, group: str | None = None, status: Status | None = None) -> list[dict[str, Any]]:
    """Return everybody, or who is in a group (nested ones too), or of a status."""
    found: list[directory.Person] = []
    with deps.store.read() as connection:
        if group is not None:
            directory.get_group(connection, group)  # a misspelt group is not an empty one
        where = directory.PeopleFilter(status=status)
        while page := directory.list_people(
            connection, where, after=found[-1].id if found else "", limit=PAGE
        ):
            found += page
    if group is not None:
        members = deps.authority.members(group)
        found = [person for person in found if person.id in members]
    return [msgspec.to_builtins(person) for person in found]


@router.post("/v1/people", summary="Add a person", status_code=201, **decided("admin", "people"))
def add_person(body: NewPerson, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Add a person, and return a one-time link with which they set up sign-in."""
    with deps.ledger.entry(actor, body.reason) as entry:
        directory.create_person(
            entry.tx, body.id, name=body.name, email=body.email, kind=body.kind, expires_at=body.expires_at
        )
        for group in body.groups:
            directory.add_member(entry.tx, group, body.id)
        link = new_link(deps.desk, entry.tx, body.id)
        entry.note("enrolment.link_made", target=body.id, purpose=ENROL)
        person = directory.get_person(entry.tx.connection, body.id)
    return {**msgspec.to_builtins(person), "enrolment_link": link.reveal()}


@router.post("/v1/people/import", summary="Import people from CSV", **decided("admin", "people"))
def import_people(body: Import, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Import a CSV file. One wrong line, and nothing is imported; every wrong line is named."""
    types = deps.authority.active().catalogue.attribute_types
    with deps.store.transaction(actor, body.reason) as tx:
        report = directory.import_csv(tx, body.csv, dry_run=body.dry_run, attribute_types=types)
    return dict(msgspec.to_builtins(report))


@router.get("/v1/people/{person}", summary="Show a person", **decided("read", "people"))
def show_person(person: str, deps: Deps) -> dict[str, Any]:
    """Return a person with factors, live sessions, and the grants that reach them."""
    with deps.store.read() as connection:
        found = directory.get_person(connection, person)
        credentials = load_credentials(connection, person)
        live = sessions.list_sessions(connection, person)
        elsewhere = list_identities(connection, person)
    factors = sorted(credentials.second_factors) if credentials else []
    more = {
        "second_factors": factors,
        "identities": [{"source": one.source, "subject": one.subject} for one in elsewhere],
        "sessions": [one.id for one in live],
        "grants": grants_of(deps, person),
    }
    return {**msgspec.to_builtins(found), **more}


@router.patch("/v1/people/{person}", summary="Change a person", **decided("admin", "people"))
def change_person(person: str, body: PersonChange, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Change a person; what they may do follows at once."""
    given = body.model_dump(exclude_unset=True, exclude={"reason", "attributes"})
    empty = sorted(field for field, value in given.items() if value is None and field != "expires_at")
    if empty:
        raise Invalid(f"{empty[0]}: it cannot be null.", remedy="Leave the field out to keep what it is.")
    if "quarantined" in given and not body.reason.strip():
        raise Invalid("reason: a quarantine, and its end, need a reason.", remedy="Say why, in a sentence.")
    with deps.ledger.entry(actor, body.reason) as entry:
        standing = _standing(directory.get_person(entry.tx.connection, person))
        if body.attributes is not None:
            _demand_declared(body.attributes, deps.authority.active().catalogue.attribute_types)
            before = directory.get_person(entry.tx.connection, person).attributes
            merged = {**before, **body.attributes}
            given["attributes"] = {key: value for key, value in merged.items() if value is not None}
        found = directory.update_person(entry.tx, person, **given)
        _note_standing(entry, person, standing, _standing(found))
        if found.status is not Status.ACTIVE:
            end_sessions(entry, deps, person, body.reason or f"{person} is {found.status}")
    return dict(msgspec.to_builtins(found))


@router.post(
    "/v1/people/{person}/enrolment-link", summary="Make an enrolment link", **decided("admin", "people")
)
def make_link(person: str, body: NewLink, deps: Deps, actor: Actor) -> dict[str, str]:
    """Return a one-time link, valid one hour, with which a person sets up sign-in.

    With `reset` the old password, factors and codes are gone once it is used, and every session ends.
    """
    link = make_enrolment_link(deps.desk, person, actor=actor, reason=body.reason, reset=body.reset)
    return {"enrolment_link": link.reveal()}


def _standing(person: directory.Person) -> dict[str, Any]:
    return {"status": str(person.status), "quarantined": person.quarantined}


def _note_standing(entry: Entry, person: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Record that somebody was suspended, quarantined, released or ended: each under a name of its own."""
    kinds = []
    if before["status"] != after["status"]:
        kinds.append("released" if after["status"] == Status.ACTIVE else after["status"])
    if before["quarantined"] != after["quarantined"]:
        kinds.append("quarantined" if after["quarantined"] else "released")
    for kind in dict.fromkeys(kinds):
        entry.note(f"person.{kind}", target=person, before=before, after=after)


def end_sessions(entry: Entry, deps: AdminDeps, person: str, why: str) -> int:
    """End every session of a person inside an entry; return how many."""
    live = sessions.list_sessions(entry.tx.connection, person)
    return sum(deps.desk.sessions.end_in(entry, one.id, SessionEvent.REVOKE, why) for one in live)


def _demand_declared(values: Mapping[str, str | int | bool | None], types: Mapping[str, str]) -> None:
    """Refuse an attribute that the bundle does not declare so: policies could not read the person."""
    for name, value in values.items():
        if name not in types:
            raise Invalid(
                f"attributes: the bundle declares no attribute '{name}'.",
                remedy=f"Declare it in limen.yaml, or use one of: {', '.join(sorted(types))}.",
            )
        if value is not None and type(value) is not CEDAR_TYPES[types[name]]:
            raise Invalid(
                f"attributes.{name}: the bundle declares it as {types[name]}.",
                remedy="Give a value of that type.",
            )

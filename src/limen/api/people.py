"""People over the admin API."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import Connection

from limen.administrator.ledger import Entry
from limen.administrator.links import ENROL, new_link, send_link
from limen.administrator.links import make_link as make_enrolment_link
from limen.administrator.partners import Partners, demand_changed_terms, demand_terms, terms_reader
from limen.administrator.session_life import SessionEvent
from limen.api.body import Body, Why
from limen.api.deps import Actor, AdminDeps, Deps, decided, demand_part, guard_roles
from limen.api.person_page import show_page
from limen.api.role_groups import make_role_group
from limen.core.catalogue import CEDAR_TYPES
from limen.core.entities import Kind, Status
from limen.core.errors import Invalid
from limen.store import credentials as keys
from limen.store import directory, sessions

router = APIRouter(tags=["people"])
NULLABLE = frozenset({"expires_at", "sponsor"})
PAGE = 500  # people per query of the store; the answer holds all that match


class NewPerson(Body):
    """A person to add."""

    id: str
    name: str = ""
    email: str = ""
    groups: list[str] = Field(default_factory=list)
    kind: Kind = Kind.EMPLOYEE
    expires_at: float | None = Field(default=None, description="Partners and contractors need an end.")
    sponsor: str | None = Field(default=None, description="Who answers for a partner or contractor.")
    invite: bool = Field(default=False, description="A link for a week, sent by a notice if one can be.")
    provider: str = Field(default="", description="The OpenID provider at which an invitation is taken up.")
    reason: str = ""


class Invitation(Body):
    """An invitation to make."""

    provider: str = ""
    reason: str = ""


class Extension(Body):
    """More time for somebody, and perhaps another sponsor."""

    expires_at: float
    sponsor: str | None = None
    reason: Why


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
    sponsor: str | None = None
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
    send: bool = False
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
def add_person(body: NewPerson, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Add a person, and return a one-time link with which they set up sign-in.

    With `invite` the link lasts a week, and where a notice can carry it, it is sent and not told here.
    """
    with deps.ledger.entry(actor, body.reason) as entry:
        tx = entry.tx
        terms: dict[str, Any] = {"kind": body.kind, "sponsor": body.sponsor, "expires_at": body.expires_at}
        demand_terms(tx.connection, body.id, now=tx.now, **terms)
        directory.create_person(tx, body.id, name=body.name, email=body.email, **terms)
        for group in body.groups:
            make_role_group(tx, group)
            directory.add_member(tx, group, body.id)
        person = directory.get_person(tx.connection, body.id)
        if body.invite:
            shown = _invite(entry, deps, body.id, actor, body.provider)
        else:
            shown = {"enrolment_link": new_link(deps.desk, tx, body.id).reveal()}
            entry.note("enrolment.link_made", target=body.id, purpose=ENROL)
        guard_roles(request, deps, tx)
    return {**msgspec.to_builtins(person), **shown}


@router.post("/v1/people/{person}/invitation", summary="Invite a person", **decided("admin", "people"))
def invite(person: str, body: Invitation, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Send a one-time link, valid a week, with which a person sets up sign-in; or return it.

    `sent` names the channels that carry it. The link itself is told only where there is none. For somebody
    who has a way to sign in already it is another way in, and so is decided as recovery too.
    """
    with deps.store.read() as connection:
        known = _has_signed_in(connection, person)
    if known:
        why = f"{person} can sign in already, and this makes another way in. "
        demand_part(request, deps, "recovery", why)
    with deps.ledger.entry(actor, body.reason) as entry:
        return _invite(entry, deps, person, actor, body.provider)


@router.post("/v1/people/{person}/extension", summary="Give more time", **decided("admin", "people"))
def extend(person: str, body: Extension, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Move the end of somebody's time, also after it has come, and name another sponsor."""
    with deps.ledger.entry(actor, body.reason) as entry:
        found = Partners(deps.desk).extend(entry, person, body.expires_at, body.sponsor)
    return dict(msgspec.to_builtins(found))


def _has_signed_in(connection: Connection, person: str) -> bool:
    """Whether somebody has a way to sign in already: here, or at a provider."""
    owner = keys.load_credentials(connection, person)
    if owner is None:
        return False
    here = owner.password_hash is not None or bool(owner.second_factors)
    return here or directory.get_person(connection, person).signed_in_at is not None


def _invite(entry: Entry, deps: AdminDeps, person: str, by: str, provider: str) -> dict[str, Any]:
    link, sent = Partners(deps.desk).invite(entry, person, by, provider)
    return {"enrolment_link": None if sent else link.reveal(), "sent": list(sent)}


@router.post("/v1/people/import", summary="Import people from CSV", **decided("admin", "people"))
def import_people(body: Import, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Import a CSV file. One wrong line, and nothing is imported; every wrong line is named."""
    types = deps.authority.active().catalogue.attribute_types
    parsed = directory.parse_people(body.csv, types)
    with deps.store.transaction(actor, body.reason) as tx:
        terms = terms_reader(tx.connection, tx.now)
        report = directory.import_rows(tx, parsed, dry_run=body.dry_run, wrong_terms=terms)
        guard_roles(request, deps, tx)
    return dict(msgspec.to_builtins(report))


@router.get("/v1/people/{person}", summary="Show a person", **decided("read", "people"))
def show_person(person: str, deps: Deps) -> dict[str, Any]:
    """Return all about a person: who keeps them, how they prove themselves, what they can reach, findings."""
    return show_page(deps, person)


@router.patch("/v1/people/{person}", summary="Change a person", **decided("admin", "people"))
def change_person(
    person: str, body: PersonChange, request: Request, deps: Deps, actor: Actor
) -> dict[str, Any]:
    """Change a person; what they may do follows at once."""
    given = body.model_dump(exclude_unset=True, exclude={"reason", "attributes"})
    empty = sorted(field for field, value in given.items() if value is None and field not in NULLABLE)
    if empty:
        raise Invalid(f"{empty[0]}: it cannot be null.", remedy="Leave the field out to keep what it is.")
    if "quarantined" in given and not body.reason.strip():
        raise Invalid("reason: a quarantine, and its end, need a reason.", remedy="Say why, in a sentence.")
    with deps.ledger.entry(actor, body.reason) as entry:
        then = directory.get_person(entry.tx.connection, person)
        standing = _standing(then)
        demand_changed_terms(entry.tx, then, given)
        if body.attributes is not None:
            _demand_declared(body.attributes, deps.authority.active().catalogue.attribute_types)
            merged = {**then.attributes, **body.attributes}
            given["attributes"] = {key: value for key, value in merged.items() if value is not None}
        found = directory.update_person(entry.tx, person, **given)
        _note_standing(entry, person, standing, _standing(found))
        if found.status is not Status.ACTIVE:
            end_sessions(entry, deps, person, body.reason or f"{person} is {found.status}")
        guard_roles(request, deps, entry.tx)
    return dict(msgspec.to_builtins(found))


@router.post(
    "/v1/people/{person}/enrolment-link", summary="Make an enrolment link", **decided("admin", "recovery")
)
def make_link(person: str, body: NewLink, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Return a one-time link, valid one hour, with which a person sets up sign-in. They are told of it.

    With `reset` the old password, factors and codes are gone once it is used, and every session ends. With
    `send` it is sent to them and told to nobody else; `sent` names the channels.
    """
    if body.send:
        sent = send_link(deps.desk, person, actor=actor, reason=body.reason, reset=body.reset)
        return {"enrolment_link": None, "sent": list(sent)}
    link = make_enrolment_link(deps.desk, person, actor=actor, reason=body.reason, reset=body.reset)
    return {"enrolment_link": link.reveal(), "sent": []}


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

"""People whom a SCIM client keeps: from a document to the directory, its events, and the end of sessions.

A client says who somebody is and whether they may come in; it never says so of people whom it did not make.
The username here is chosen once, when the person is made: `userName` may change, and `id` stays.

Laws:
    E1 deactivated is out: a person whose client says `active: false` is suspended in the transaction that
       stores it, and every session of theirs ends in it.
    E2 whoever locked unlocks: a client lets in again only whom it has suspended itself. A person suspended
       here, or ended, stays so, whatever the client says.
    E3 nobody is taken over: a username that somebody else keeps is a conflict, and changes nothing.
"""

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from scim2_models import UniquenessException

from limen.administrator.desk import Desk
from limen.administrator.ledger import Entry
from limen.administrator.scim_words import (
    choose_username,
    demand_text,
    demand_user_name,
    fold,
    read_active,
    read_attributes,
    read_email,
    read_name,
    ruled_attributes,
)
from limen.administrator.session_life import SessionEvent
from limen.core.entities import Status
from limen.core.identity_config import ScimConfig
from limen.store import directory, identities, sessions
from limen.store import scim as rows
from limen.store.directory import Person
from limen.store.scim import USER, Narrow, ScimResource

CLIENT_SAYS = "the SCIM client says so"


class Scope(NamedTuple):
    """What one write of a client works in."""

    desk: Desk
    entry: Entry
    config: ScimConfig
    types: Mapping[str, str]

    @property
    def source(self) -> str:
        """What the directory says of who keeps these people."""
        return f"scim:{self.config.name}"


def make_person(scope: Scope, id_: str, document: Mapping[str, Any], text: str) -> ScimResource:
    """Make the person of a new document.

    Raises:
        UniquenessException: the client has this `userName` or `externalId` already, or somebody else keeps
            this username here.
    """
    tx, people = scope.entry.tx, scope.config.people
    user_name = demand_user_name(document)
    _demand_free(scope, id_, document)
    username = choose_username(user_name, secrets.token_hex(8), lambda name: _taken(scope, name))
    expires_at = tx.now + people.expires_s if people.expires_s else None
    directory.create_person(
        tx,
        username,
        name=read_name(document),
        email=read_email(document),
        kind=people.kind,
        attributes=read_attributes(scope.config, document, scope.types),
        expires_at=expires_at,
        source=scope.source,
        sponsor=people.sponsor,
    )
    active = read_active(document)
    if not active:
        _suspend(scope, username)
    _link(scope, None, document.get("externalId"), username)
    row = ScimResource(
        id=id_,
        client=scope.config.name,
        kind=USER,
        target=username,
        user_name=fold(user_name),
        external_id=demand_text(document, "externalId") or None,
        display=read_name(document) or username,
        owned=True,
        locked=not active,
        version=1,
        created_at=tx.now,
        modified_at=tx.now,
        document=text,
    )
    rows.add_resource(tx, row, values_of(document))
    return row


def change_person(scope: Scope, before: ScimResource, document: Mapping[str, Any], text: str) -> ScimResource:
    """Return the row of a changed document, with the person following it; the caller stores the row."""
    tx = scope.entry.tx
    _demand_free(scope, before.id, document)
    person = directory.get_person(tx.connection, before.target)
    ruled = read_attributes(scope.config, document, scope.types)
    kept = {k: v for k, v in person.attributes.items() if k not in ruled_attributes(scope.config)}
    if person.status is not Status.ENDED:
        directory.update_person(
            tx,
            before.target,
            name=read_name(document) or before.target,
            email=read_email(document),
            attributes={**kept, **ruled},
        )
    _link(scope, before.external_id, document.get("externalId"), before.target)
    return msgspec.structs.replace(
        before,
        user_name=fold(demand_user_name(document)),
        external_id=demand_text(document, "externalId") or None,
        display=read_name(document) or before.target,
        locked=_follow(scope, before, person, active=read_active(document)),
        version=before.version + 1,
        modified_at=tx.now,
        document=text,
    )


def end_person(scope: Scope, row: ScimResource) -> None:
    """End a person whom the client has deleted: for good, with every session and all that the client gave."""
    tx = scope.entry.tx
    person = directory.get_person(tx.connection, row.target)
    directory.sync_memberships(tx, row.target, scope.source, ())
    if row.external_id:
        identities.unlink_identity(tx, scope.source, row.external_id)
    if person.status is not Status.ENDED:
        directory.update_person(tx, row.target, status=Status.ENDED)
        _note(scope, "ended", person, Status.ENDED)
    _end_sessions(scope, row.target, "ended: deleted by the SCIM client")
    rows.remove_resource(tx, row.id)


def values_of(document: Mapping[str, Any]) -> list[Narrow]:
    """Return what a person is looked for by."""
    found = [("email", fold(str(one["value"]))) for one in document.get("emails") or () if one.get("value")]
    display = document.get("displayName")
    return [*found, ("display", fold(str(display)))] if display else found


# --- inside ----------------------------------------------------------------------------------------


def _follow(scope: Scope, row: ScimResource, person: Person, *, active: bool) -> bool:
    """Let a person's status follow `active` (laws E1, E2); return whether the client has locked them."""
    if not active:
        if person.status is Status.ACTIVE:
            _suspend(scope, row.target)
            return True
        return row.locked
    if not row.locked:
        if person.status is not Status.ACTIVE and not _was_active(row):
            why = f"{row.target} is {person.status} here, by somebody else"
            scope.entry.note("scim.not_released", target=row.target, client=row.client, why=why)
        return False
    if person.status is Status.SUSPENDED:
        directory.update_person(scope.entry.tx, row.target, status=Status.ACTIVE)
        _note(scope, "released", person, Status.ACTIVE)
    return False


def _was_active(row: ScimResource) -> bool:
    return read_active(msgspec.json.decode(row.document))


def _suspend(scope: Scope, username: str) -> None:
    before = directory.get_person(scope.entry.tx.connection, username)
    directory.update_person(scope.entry.tx, username, status=Status.SUSPENDED)
    _note(scope, "suspended", before, Status.SUSPENDED)
    _end_sessions(scope, username, "suspended by the SCIM client")


def _note(scope: Scope, kind: str, before: Person, after: Status) -> None:
    scope.entry.note(
        f"person.{kind}",
        target=before.id,
        client=scope.config.name,
        why=CLIENT_SAYS,
        before={"status": str(before.status)},
        after={"status": str(after)},
    )


def _end_sessions(scope: Scope, username: str, why: str) -> None:
    for one in sessions.list_sessions(scope.entry.tx.connection, username):
        scope.desk.sessions.end_in(scope.entry, one.id, SessionEvent.REVOKE, why)


def _demand_free(scope: Scope, id_: str, document: Mapping[str, Any]) -> None:
    connection, client = scope.entry.tx.connection, scope.config.name
    other = rows.find_user_name(connection, client, fold(demand_user_name(document)))
    if other is not None and other.id != id_:
        raise UniquenessException(
            detail=f"userName: the resource {other.id} has it already.", attribute="userName"
        )
    external = demand_text(document, "externalId")
    for one in rows.scan_documents(connection, client, USER, [("external", external)]) if external else ():
        if one.id != id_:
            raise UniquenessException(
                detail=f"externalId: the resource {one.id} has it already.", attribute="externalId"
            )


def _taken(scope: Scope, username: str) -> bool:
    """Say whether a username was issued before (law E3).

    Raises:
        UniquenessException: somebody has it who is kept elsewhere, and may still come in.
    """
    person = directory.find_person(scope.entry.tx.connection, username)
    if person is None:
        return False
    if person.source != scope.source and person.status is not Status.ENDED:
        raise UniquenessException(
            detail=f"userName: {username} is a person here already, kept by {person.source}. An "
            f"administrator can hand them over: limen scim adopt {scope.config.name} {username}",
            attribute="userName",
        )
    return True


def _link(scope: Scope, before: str | None, after: Any, username: str) -> None:
    """Keep the client's own stable id of a person, by which a provider may name whom it signs in."""
    after = str(after) if after else None
    if before == after:
        return
    if before:
        identities.unlink_identity(scope.entry.tx, scope.source, before)
    if after:
        identities.link_identity(scope.entry.tx, scope.source, after, username)

"""Grants over the admin API: time-bound permits for one resource, given and taken back by people."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from limen.api.body import Body, Why
from limen.api.deps import Actor, AdminDeps, Deps, Within, decided, guard_roles
from limen.core.entities import Status
from limen.core.errors import Invalid, Refused
from limen.core.ids import EntityRef, Instant
from limen.store import directory, grants
from limen.store.grants import GRANT_MAX_S, GrantFilter, StoredGrant

router = APIRouter(tags=["grants"])

USUAL_ACTIONS = {
    "App": ("read", "write"),
    "Route": ("read", "write"),
    "Service": ("connect",),
    "Client": ("sign_in",),
}
"""What a grant permits that names no action: as much as an entry of `allow:` does."""

WORDS = {"User": "user", "Group": "group"}


class NewGrant(Body):
    """A grant to give: to whom, on what, which actions, until when, why."""

    to: str = Field(description="`user:ada` or `group:dba`.")
    on: str = Field(description="An app, a route (`app/route`), a service or a client.")
    actions: list[str] | None = Field(
        default=None, description="Unset: read and write; of a service connect, of a client sign_in."
    )
    for_s: float | None = Field(default=None, gt=0, le=GRANT_MAX_S, description="How long, in seconds.")
    expires_at: float | None = Field(default=None, description="Or until when, in Unix seconds.")
    reason: Why


def on_asked(resource: str | None = None) -> str | None:
    """Return the resource whose grants are listed."""
    return resource


async def on_given(request: Request) -> str | None:
    """Return the resource that a grant is to be given on, before it is known whether the body is one."""
    body = await request.json() if await request.body() else None
    named = body.get("on") if isinstance(body, dict) else None
    return named if isinstance(named, str) else None


def on_revoked(grant: str, deps: Deps) -> str | None:
    """Return the resource that a grant is on."""
    with deps.store.read() as connection:
        found = grants.find_grant(connection, grant)
    return None if found is None else found.resource.id


@router.get("/v1/grants", summary="List grants", **decided("read", "grants", about=on_asked))
def list_grants(
    deps: Deps,
    within: Within,
    user: str | None = None,
    resource: str | None = None,
    ended: Annotated[bool, Query(alias="all")] = False,
) -> list[dict[str, Any]]:
    """Return the grants in force, those that end first coming first.

    `user`: those that reach a person, through groups too. `resource`: those that reach a resource, through
    what it is a part of, and those on its parts. `all`: those too that ended in the last 90 days. An owner is
    told of those on their resource and its parts.
    """
    now = deps.clock.now()
    about = None if resource is None else deps.authority.resource(resource)
    with deps.store.read() as connection:
        if user is not None:
            directory.get_person(connection, user)  # a misspelt name is not a person without grants
        where = GrantFilter(
            principals=None if user is None else _ancestors(deps, EntityRef("User", user)),
            resources=None if about is None else _ancestors(deps, about),
            parts_of=about.id if about is not None and about.type == "App" else None,
            live_at=None if ended else now,
        )
        found = grants.list_grants(connection, where)
    mine = found if within is None else [one for one in found if _is_part(one.resource, within)]
    return [render_grant(one, now) for one in mine]


@router.post(
    "/v1/grants", summary="Give a grant", status_code=201, **decided("admin", "grants", about=on_given)
)
def add_grant(body: NewGrant, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Give a person or group a grant on one resource. It ends by itself, after 90 days at the latest."""
    resource = deps.authority.resource(body.on)
    if (body.for_s is None) == (body.expires_at is None):
        raise Invalid("for_s, expires_at: give one of the two.", remedy="Every grant has an end.")
    with deps.ledger.entry(actor, body.reason) as entry:
        ends = body.expires_at if body.expires_at is not None else entry.tx.now + (body.for_s or 0)
        given = grants.add_grant(
            entry.tx,
            principal=_principal(entry.tx.connection, body.to),
            actions=USUAL_ACTIONS[resource.type] if body.actions is None else body.actions,
            resource=resource,
            expires_at=ends,
        )
        shown = render_grant(given, entry.tx.now)
        entry.note("grant.added", target=given.id, before=None, after=shown)
        guard_roles(request, deps, entry.tx)
    return shown


@router.delete(
    "/v1/grants/{grant}",
    summary="Revoke a grant",
    status_code=204,
    **decided("admin", "grants", about=on_revoked),
)
def revoke_grant(grant: str, request: Request, deps: Deps, actor: Actor, reason: Why) -> None:
    """End a grant now. What nothing else permits ends with it, open connections too."""
    with deps.ledger.entry(actor, reason) as entry:
        before = grants.revoke_grant(entry.tx, grant)
        entry.note("grant.revoked", target=grant, before=render_grant(before, entry.tx.now), after=None)
        guard_roles(request, deps, entry.tx)


def grants_of(deps: AdminDeps, person: str) -> list[dict[str, Any]]:
    """Return the grants in force that reach a person, through groups too."""
    now = deps.clock.now()
    reach = _ancestors(deps, EntityRef("User", person))
    with deps.store.read() as connection:
        found = grants.list_grants(connection, GrantFilter(principals=reach, live_at=now))
    return [render_grant(one, now) for one in found]


def render_grant(grant: StoredGrant, now: Instant) -> dict[str, Any]:
    """Return a grant as people and programs read it."""
    return {
        "id": grant.id,
        "to": f"{WORDS.get(grant.principal.type, grant.principal.type.lower())}:{grant.principal.id}",
        "on": grant.resource.id,
        "actions": list(grant.actions),
        "created_at": grant.created_at,
        "expires_at": grant.expires_at,
        "live": now < grant.expires_at,
        "actor": grant.actor,
        "reason": grant.reason,
    }


def _is_part(resource: EntityRef, of: str) -> bool:
    """Whether a grant's resource is one that an owner looks after: the resource itself, or a route of it."""
    return resource.id.partition("/")[0] == of.partition("/")[0]


def _principal(connection: Any, text: str) -> EntityRef:
    kind, _, name = text.partition(":")
    if kind == "user":
        if directory.get_person(connection, name).status is Status.ENDED:
            raise Refused(f"to: {name} has ended.", remedy="Give the grant to somebody who is still here.")
        return EntityRef("User", name)
    if kind == "group":
        return EntityRef("Group", directory.get_group(connection, name).id)
    raise Invalid(f"to: '{text[:80]}' names nobody.", remedy="Write user:ada or group:dba.")


def _ancestors(deps: AdminDeps, ref: EntityRef) -> frozenset[EntityRef]:
    """Return an entity and all that it is in, as decisions would see it now."""
    return deps.authority.resource_in(deps.authority.active(), ref).ancestors

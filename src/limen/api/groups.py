"""Groups over the admin API."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request

from limen.api.body import Body
from limen.api.deps import Actor, Deps, decided, guard_roles
from limen.api.people import Reason
from limen.api.role_groups import make_role_group
from limen.store import directory

router = APIRouter(tags=["groups"])
MEMBERS_SHOWN = 1000


class NewGroup(Body):
    """A group to make."""

    id: str
    name: str = ""
    reason: str = ""


@router.get("/v1/groups", summary="List groups", **decided("read", "groups"))
def list_groups(deps: Deps) -> list[dict[str, Any]]:
    """Return every group with the number of its direct members."""
    with deps.store.read() as connection:
        return [msgspec.to_builtins(group) for group in directory.list_groups(connection)]


@router.post("/v1/groups", summary="Make a group", status_code=201, **decided("admin", "groups"))
def add_group(body: NewGroup, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Make an empty group."""
    with deps.store.transaction(actor, body.reason) as tx:
        made = directory.create_group(tx, body.id, title=body.name)
        guard_roles(request, deps, tx)
    return dict(msgspec.to_builtins(made))


@router.get("/v1/groups/{group}", summary="Show a group", **decided("read", "groups"))
def show_group(group: str, deps: Deps) -> dict[str, Any]:
    """Return a group with its direct members."""
    with deps.store.read() as connection:
        found = msgspec.to_builtins(directory.get_group(connection, group))
        found["members"] = list(directory.list_members(connection, group, limit=MEMBERS_SHOWN))
    return dict(found)


@router.delete("/v1/groups/{group}", summary="Remove a group", status_code=204, **decided("admin", "groups"))
def remove_group(group: str, request: Request, deps: Deps, actor: Actor, reason: str = "") -> None:
    """Remove a group; its members lose what it gave them."""
    with deps.store.transaction(actor, reason) as tx:
        directory.delete_group(tx, group)
        guard_roles(request, deps, tx)


@router.put(
    "/v1/groups/{group}/members/{person}",
    summary="Add a member",
    status_code=204,
    **decided("admin", "groups"),
)
def add_member(group: str, person: str, body: Reason, request: Request, deps: Deps, actor: Actor) -> None:
    """Put a person into a group. The group of a role of Limen is made if it is not there."""
    with deps.store.transaction(actor, body.reason) as tx:
        make_role_group(tx, group)
        directory.add_member(tx, group, person)
        guard_roles(request, deps, tx)


@router.delete(
    "/v1/groups/{group}/members/{person}",
    summary="Remove a member",
    status_code=204,
    **decided("admin", "groups"),
)
def remove_member(
    group: str, person: str, request: Request, deps: Deps, actor: Actor, reason: str = ""
) -> None:
    """Take a person out of a group."""
    with deps.store.transaction(actor, reason) as tx:
        directory.remove_member(tx, group, person)
        guard_roles(request, deps, tx)


@router.put(
    "/v1/groups/{group}/parents/{parent}",
    summary="Nest a group",
    status_code=204,
    **decided("admin", "groups"),
)
def nest(group: str, parent: str, body: Reason, request: Request, deps: Deps, actor: Actor) -> None:
    """Put a group into another."""
    with deps.store.transaction(actor, body.reason) as tx:
        directory.nest(tx, group, parent)
        guard_roles(request, deps, tx)


@router.delete(
    "/v1/groups/{group}/parents/{parent}",
    summary="Unnest a group",
    status_code=204,
    **decided("admin", "groups"),
)
def unnest(group: str, parent: str, request: Request, deps: Deps, actor: Actor, reason: str = "") -> None:
    """Take a group out of another."""
    with deps.store.transaction(actor, reason) as tx:
        directory.unnest(tx, group, parent)
        guard_roles(request, deps, tx)

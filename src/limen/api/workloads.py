"""Workloads over the admin API: the machines that act here, and their tokens."""

from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import Field

from limen.administrator.workload_flags import flags_of
from limen.api.body import Body, Why
from limen.api.deps import Actor, Deps, decided, demand_roles, guard_roles
from limen.core.entities import Status
from limen.core.errors import Invalid
from limen.core.ids import EntityRef
from limen.store import machines, workloads
from limen.store.workloads import TOKEN_MAX_S

LONG_S = 86_400.0  # a token that lives longer is a long-lived shared secret

router = APIRouter(tags=["workloads"])


class NewWorkload(Body):
    """A workload to make. `owner` is the person who answers for it."""

    id: str
    owner: str
    description: str = Field(default="", description="What it is for.")
    expires_s: float | None = Field(default=None, gt=0, description="After which it ends, in seconds.")
    reason: str = ""


class WorkloadChange(Body):
    """What to change. `ended` removes it for good: its name is not issued again."""

    owner: str | None = None
    description: str | None = None
    expires_s: float | None = Field(default=None, gt=0, description="From now on, in seconds.")
    status: Status | None = None
    quarantined: bool | None = None
    reason: Why


class NewToken(Body):
    """A token to make: what it is for, and how long it lives; more than a day where the bundle allows it."""

    name: str = Field(min_length=1, max_length=64)
    expires_s: float = Field(gt=0, le=TOKEN_MAX_S, description="In seconds.")
    reason: str = ""


class Reviewed(Body):
    """Why it is still needed."""

    reason: Why


class Joining(Body):
    """Why."""

    reason: str = ""


@router.get("/v1/workloads", summary="List workloads", **decided("read", "workloads"))
def list_workloads(deps: Deps, ended: bool = False) -> list[dict[str, Any]]:
    """Return workloads by name. `ended`: those too that were removed."""
    with deps.store.read() as connection:
        found = workloads.list_workloads(connection, ended=ended)
        held = machines.list_credentials(connection)
    now = deps.clock.now()
    return [{**msgspec.to_builtins(one), "flags": flags_of(one, held, now)} for one in found]


@router.post("/v1/workloads", summary="Make a workload", status_code=201, **decided("admin", "workloads"))
def create_workload(body: NewWorkload, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Make a workload. It may nothing until a policy or a group's grant says so."""
    made = deps.workloads.create(
        body.id,
        owner=body.owner,
        description=body.description,
        expires_s=body.expires_s,
        review_s=deps.desk.catalogue().sources.machines.review_s,
        actor=actor,
        reason=body.reason,
        guard=partial(guard_roles, request, deps),
    )
    return dict(msgspec.to_builtins(made))


@router.get("/v1/workloads/{workload}", summary="Show a workload", **decided("read", "workloads"))
def show_workload(workload: str, deps: Deps) -> dict[str, Any]:
    """Return a workload with its tokens, keys and secrets, and what somebody should look at."""
    with deps.store.read() as connection:
        found = workloads.get_workload(connection, workload)
        tokens = workloads.list_tokens(connection, workload)
        held = machines.list_credentials(connection, workload)
    keys = [{"id": one.id, "kind": one.kind, "name": one.name, "expires_at": one.expires_at} for one in held]
    shown = {"flags": flags_of(found, held, deps.clock.now()), "keys": keys}
    return {
        **msgspec.to_builtins(found),
        **shown,
        "tokens": [msgspec.to_builtins(token) for token in tokens],
    }


@router.patch("/v1/workloads/{workload}", summary="Change a workload", **decided("admin", "workloads"))
def change_workload(
    workload: str, body: WorkloadChange, request: Request, deps: Deps, actor: Actor
) -> dict[str, Any]:
    """Change a workload: who answers for it, and whether it may act at all. What it may follows at once."""
    fields = body.model_dump(exclude_none=True, exclude={"reason", "expires_s"})
    if body.expires_s is not None:
        fields["expires_at"] = deps.clock.now() + body.expires_s
    if not fields:
        raise Invalid("Nothing to change.", remedy="Name a field, such as status.")
    guard = partial(guard_roles, request, deps)
    found = deps.workloads.change(workload, fields, actor=actor, reason=body.reason, guard=guard)
    return dict(msgspec.to_builtins(found))


@router.post("/v1/workloads/{workload}/review", summary="Review a workload", **decided("admin", "workloads"))
def review_workload(workload: str, body: Reviewed, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Say that a workload is still needed. Its owner is asked again after `machines.review`."""
    review_s = deps.desk.catalogue().sources.machines.review_s
    found = deps.workloads.review(workload, review_s=review_s, actor=actor, reason=body.reason)
    return dict(msgspec.to_builtins(found))


@router.put(
    "/v1/workloads/{workload}/groups/{group}",
    summary="Put a workload into a group",
    **decided("admin", "workloads"),
)
def join_group(
    workload: str, group: str, body: Joining, request: Request, deps: Deps, actor: Actor
) -> dict[str, Any]:
    """Put a workload into a group."""
    guard = partial(guard_roles, request, deps)
    found = deps.workloads.join(workload, group, actor=actor, reason=body.reason, guard=guard)
    return dict(msgspec.to_builtins(found))


@router.delete(
    "/v1/workloads/{workload}/groups/{group}",
    summary="Take a workload out of a group",
    **decided("admin", "workloads"),
)
def leave_group(workload: str, group: str, deps: Deps, actor: Actor, reason: str = "") -> dict[str, Any]:
    """Take a workload out of a group."""
    return dict(msgspec.to_builtins(deps.workloads.leave(workload, group, actor=actor, reason=reason)))


@router.get("/v1/workloads/{workload}/tokens", summary="List tokens", **decided("read", "workloads"))
def list_tokens(workload: str, deps: Deps) -> list[dict[str, Any]]:
    """Return a workload's tokens, with which nothing can be opened: when made, used, over."""
    with deps.store.read() as connection:
        return [msgspec.to_builtins(token) for token in workloads.list_tokens(connection, workload)]


@router.post(
    "/v1/workloads/{workload}/tokens",
    summary="Make a token",
    status_code=201,
    **decided("admin", "workloads"),
)
def make_token(workload: str, body: NewToken, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Make a token of a workload, and return it: this once."""
    if body.expires_s > LONG_S:
        deps.workload_keys.demand_allowed(workload)
    token, made = deps.workloads.issue(
        workload, label=body.name, life_s=body.expires_s, actor=actor, reason=body.reason
    )
    return {**msgspec.to_builtins(made), "token": token.reveal()}


@router.delete(
    "/v1/workload-tokens/{token}", summary="Revoke a token", status_code=204, **decided("admin", "workloads")
)
def revoke_token(token: str, request: Request, deps: Deps, actor: Actor, reason: str = "") -> None:
    """End a token now: the next call with it is refused."""
    with deps.store.read() as connection:
        name = workloads.find_token_workload(connection, token)
    demand_roles(request, deps, EntityRef("Workload", name))
    deps.workloads.revoke(token, actor=actor, reason=reason)

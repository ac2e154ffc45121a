"""Workloads over the admin API: the machines that act here, and their tokens."""

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import Field

from limen.api.body import Body, Why
from limen.api.deps import Actor, Deps, decided
from limen.core.entities import Status
from limen.core.errors import Invalid
from limen.store import workloads
from limen.store.workloads import TOKEN_MAX_S

router = APIRouter(tags=["workloads"])


class NewWorkload(Body):
    """A workload to make. `owner` is the person who answers for it."""

    id: str
    owner: str
    description: str = ""
    reason: str = ""


class WorkloadChange(Body):
    """What to change. `ended` removes it for good: its name is not issued again."""

    owner: str | None = None
    description: str | None = None
    status: Status | None = None
    quarantined: bool | None = None
    reason: Why


class NewToken(Body):
    """A token to make: what it is for, and how long it lives."""

    name: str = Field(min_length=1, max_length=64)
    expires_s: float = Field(gt=0, le=TOKEN_MAX_S, description="In seconds.")
    reason: str = ""


class Joining(Body):
    """Why."""

    reason: str = ""


@router.get("/v1/workloads", summary="List workloads", **decided("read", "workloads"))
def list_workloads(deps: Deps, ended: bool = False) -> list[dict[str, Any]]:
    """Return workloads by name. `ended`: those too that were removed."""
    with deps.store.read() as connection:
        return [msgspec.to_builtins(one) for one in workloads.list_workloads(connection, ended=ended)]


@router.post("/v1/workloads", summary="Make a workload", status_code=201, **decided("admin", "workloads"))
def create_workload(body: NewWorkload, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Make a workload. It may nothing until a policy or a group's grant says so."""
    made = deps.workloads.create(
        body.id, owner=body.owner, description=body.description, actor=actor, reason=body.reason
    )
    return dict(msgspec.to_builtins(made))


@router.get("/v1/workloads/{workload}", summary="Show a workload", **decided("read", "workloads"))
def show_workload(workload: str, deps: Deps) -> dict[str, Any]:
    """Return a workload with its tokens."""
    with deps.store.read() as connection:
        found = msgspec.to_builtins(workloads.get_workload(connection, workload))
        tokens = workloads.list_tokens(connection, workload)
    return {**found, "tokens": [msgspec.to_builtins(token) for token in tokens]}


@router.patch("/v1/workloads/{workload}", summary="Change a workload", **decided("admin", "workloads"))
def change_workload(workload: str, body: WorkloadChange, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Change a workload: who answers for it, and whether it may act at all. What it may follows at once."""
    fields = body.model_dump(exclude_none=True, exclude={"reason"})
    if not fields:
        raise Invalid("Nothing to change.", remedy="Name a field, such as status.")
    found = deps.workloads.change(workload, fields, actor=actor, reason=body.reason)
    return dict(msgspec.to_builtins(found))


@router.put(
    "/v1/workloads/{workload}/groups/{group}",
    summary="Put a workload into a group",
    **decided("admin", "workloads"),
)
def join_group(workload: str, group: str, body: Joining, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Put a workload into a group."""
    return dict(msgspec.to_builtins(deps.workloads.join(workload, group, actor=actor, reason=body.reason)))


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
    token, made = deps.workloads.issue(
        workload, label=body.name, life_s=body.expires_s, actor=actor, reason=body.reason
    )
    return {**msgspec.to_builtins(made), "token": token.reveal()}


@router.delete(
    "/v1/workload-tokens/{token}", summary="Revoke a token", status_code=204, **decided("admin", "workloads")
)
def revoke_token(token: str, deps: Deps, actor: Actor, reason: str = "") -> None:
    """End a token now: the next call with it is refused."""
    deps.workloads.revoke(token, actor=actor, reason=reason)

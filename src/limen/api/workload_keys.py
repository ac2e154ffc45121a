"""What workloads prove themselves by, and their sessions, over the admin API."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import Field

from limen.administrator.workload_keys import workload_of
from limen.api.body import Body, Why
from limen.api.deps import Actor, Deps, decided, demand_roles
from limen.core.ids import EntityRef
from limen.store.machines import KEY_MAX_S, SECRET_MAX_S, Credential

router = APIRouter(tags=["workloads"])


class NewKey(Body):
    """The public half of a key that the workload has made for itself, as a JSON Web Key (RFC 7517)."""

    jwk: dict[str, Any]
    name: str = Field(default="", max_length=64, description="What it is for.")
    expires_s: float = Field(default=KEY_MAX_S, gt=0, le=KEY_MAX_S, description="In seconds.")
    reason: str = ""


class NewSecret(Body):
    """A shared secret to make, for a workload that `machines.secrets` of the bundle names."""

    name: str = Field(default="", max_length=64, description="What it is for.")
    expires_s: float = Field(default=SECRET_MAX_S, gt=0, le=SECRET_MAX_S, description="In seconds.")
    overlap_s: float = Field(default=0.0, ge=0, description="How long the one before it counts, in seconds.")
    reason: str = ""


@router.get("/v1/workloads/{workload}/keys", summary="List keys", **decided("read", "workloads"))
def list_keys(workload: str, deps: Deps) -> list[dict[str, Any]]:
    """Return a workload's keys and secrets, with which nothing can be opened: when made, used, over."""
    return [_shown(one) for one in deps.workload_keys.list(workload)]


@router.post(
    "/v1/workloads/{workload}/keys", summary="Add a key", status_code=201, **decided("admin", "workloads")
)
def add_key(workload: str, body: NewKey, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Register a key. Add the next one before this ends: several count at once."""
    made = deps.workload_keys.add_key(
        workload, body.jwk, label=body.name, life_s=body.expires_s, actor=actor, reason=body.reason
    )
    return _shown(made)


@router.post(
    "/v1/workloads/{workload}/secrets",
    summary="Make a secret",
    status_code=201,
    **decided("admin", "workloads"),
)
def add_secret(workload: str, body: NewSecret, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Make a shared secret, and return it: this once. The one before it ends after the overlap."""
    secret, made = deps.workload_keys.add_secret(
        workload,
        label=body.name,
        life_s=body.expires_s,
        overlap_s=body.overlap_s,
        actor=actor,
        reason=body.reason,
    )
    return {**_shown(made), "secret": secret.reveal()}


@router.delete(
    "/v1/workload-keys/{key}", summary="Remove a key", status_code=204, **decided("admin", "workloads")
)
def remove_key(key: str, request: Request, deps: Deps, actor: Actor, reason: str = "") -> None:
    """End a key or a secret now, with its workload's sessions."""
    name = next((one.workload for one in deps.workload_keys.list() if one.id == key), "")
    demand_roles(request, deps, EntityRef("Workload", name))
    deps.workload_keys.remove(key, actor=actor, reason=reason)


@router.get("/v1/workloads/{workload}/sessions", summary="List sessions", **decided("read", "workloads"))
def list_sessions(workload: str, deps: Deps) -> list[dict[str, Any]]:
    """Return a workload's sessions: by what it was proven, what for, bound to what, until when."""
    found = []
    for one in deps.workload_keys.sessions(workload):
        shown = msgspec.to_builtins(one)
        del shown["token_hash"]
        found.append({"id": one.render_fact().session_id, **shown})
    return found


class Ending(Body):
    """Which session ends, and why."""

    session: str
    reason: Why


@router.post(
    "/v1/workload-sessions/end", summary="End a session", status_code=204, **decided("admin", "workloads")
)
def end_session(body: Ending, request: Request, deps: Deps, actor: Actor) -> None:
    """End a session now: its token opens nothing more, and its streams are cut."""
    demand_roles(request, deps, EntityRef("Workload", workload_of(body.session)))
    deps.workload_keys.end_session(body.session, actor=actor, reason=body.reason)


def _shown(one: Credential) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(one)
    if one.public is None:
        del shown["proof"]  # the hash of a secret is nobody's business
    return shown

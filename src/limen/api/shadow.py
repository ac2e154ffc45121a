"""The shadow over the admin API: a candidate that live traffic is decided by too, with no effect."""

from typing import Any

import msgspec
from fastapi import APIRouter, Response

from limen.administrator.shadow import ShadowDesk
from limen.api.body import Body
from limen.api.deps import Actor, AdminDeps, Deps, decided

router = APIRouter(tags=["shadow"])

FOLDER = "shadow"  # beside the journal, in the state folder


class NewShadow(Body):
    """A candidate, as the text of its files by relative path."""

    files: dict[str, str]
    reason: str = ""


class Why(Body):
    """Why it is promoted or stopped."""

    reason: str = ""


def desk_of(deps: AdminDeps) -> ShadowDesk:
    """Return the desk of a running control."""
    return ShadowDesk(deps.ledger, deps.policies, deps.authority, deps.journal_root.parent / FOLDER)


@router.post("/v1/shadow", summary="Start a bundle in shadow", status_code=201, **decided("admin", "policy"))
def start(body: NewShadow, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Check a bundle, and decide live traffic by it too from now on, with no effect."""
    return _plain(desk_of(deps).start(body.files, actor=actor, reason=body.reason))


@router.get("/v1/shadow", summary="Show the shadow", **decided("read", "policy"))
def status(deps: Deps) -> dict[str, Any]:
    """Return what is in shadow, what it has seen, how far it is behind, what it costs."""
    return _plain(desk_of(deps).status())


@router.get("/v1/shadow/report", summary="Report what differs", **decided("read", "decisions"))
def report(deps: Deps) -> dict[str, Any]:
    """Return the same report as a replay's, of all decisions since the shadow was started."""
    return _plain(desk_of(deps).report())


@router.post("/v1/shadow/promote", summary="Apply the bundle in shadow", **decided("admin", "policy"))
def promote(body: Why, deps: Deps, actor: Actor, response: Response) -> dict[str, Any]:
    """Apply the candidate with all checks, and end the shadow; 202: it is proposed, as by `apply`."""
    applied = desk_of(deps).promote(actor=actor, reason=body.reason)
    response.status_code = 202 if applied.proposed else 200
    return _plain(applied)


@router.post("/v1/shadow/stop", summary="End the shadow", status_code=204, **decided("admin", "policy"))
def stop(body: Why, deps: Deps, actor: Actor) -> None:
    """End the shadow; what it found is gone with it."""
    desk_of(deps).stop(actor=actor, reason=body.reason)


def _plain(value: object) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found

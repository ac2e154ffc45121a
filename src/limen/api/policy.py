"""The policy over the admin API: apply, roll back, explain, who can."""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter
from pydantic import Field

from limen.administrator.authority import Supposed
from limen.api.body import Body
from limen.api.deps import Actor, Deps, decided
from limen.core.ids import EntityRef
from limen.core.resources import catalogue_entities
from limen.store import bundles

router = APIRouter(tags=["policy"])


class NewBundle(Body):
    """A bundle, as the text of its files by relative path."""

    files: dict[str, str]
    reason: str = ""


class Rollback(Body):
    """Which bundle of the history to make active again."""

    serial: int
    reason: str = ""


class Question(Body):
    """A person, an action, a resource, and the sign-in that is supposed."""

    subject: str
    action: Literal["read", "write", "admin", "connect"]
    resource: str
    aal: int = Field(default=2, ge=0, le=3)
    passkey: bool = False
    auth_age_s: float = Field(default=300, ge=0)
    ip: str = "127.0.0.1"


class WhoCan(Body):
    """An action on a resource."""

    action: Literal["read", "write", "admin", "connect"]
    resource: str


@router.get("/v1/policy", summary="Show the active bundle", **decided("read", "policy"))
def show_policy(deps: Deps) -> dict[str, Any]:
    """Return the id and the files of the active bundle."""
    active = deps.authority.bundle()
    return {"bundle": active.bundle_id, "files": dict(active.files)}


@router.get("/v1/resources", summary="List resources", **decided("read", "policy"))
def list_resources(deps: Deps) -> list[dict[str, Any]]:
    """Return every app, route and service of the catalogue."""
    found = catalogue_entities(deps.authority.active().catalogue)
    return [
        {"id": ref.id, "type": ref.type, "in": [str(parent) for parent in entity.parents]}
        for ref, entity in sorted(found.items())
        if ref.type in ("App", "Route", "Service")
    ]


@router.post("/v1/policy/apply", summary="Apply a bundle", **decided("admin", "policy"))
def apply_bundle(body: NewBundle, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Check a bundle, then make it active in one change, or refuse it with everything that is wrong."""
    return dict(msgspec.to_builtins(deps.policies.apply(body.files, actor=actor, reason=body.reason)))


@router.get("/v1/policy/history", summary="List the bundles that were active", **decided("read", "policy"))
def list_history(deps: Deps) -> list[dict[str, Any]]:
    """Return every bundle that was applied, newest first, without its files."""
    with deps.store.read() as connection:
        return [msgspec.to_builtins(entry) for entry in bundles.history(connection)]


@router.post("/v1/policy/rollback", summary="Make an earlier bundle active", **decided("admin", "policy"))
def rollback(body: Rollback, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Apply a bundle of the history again, with all checks."""
    return dict(msgspec.to_builtins(deps.policies.rollback(body.serial, actor=actor, reason=body.reason)))


@router.post("/v1/policy/explain", summary="Explain a decision", **decided("read", "policy"))
def explain(body: Question, deps: Deps) -> dict[str, Any]:
    """Return what would be decided now, why, and what would change it."""
    supposed = Supposed(aal=body.aal, passkey=body.passkey, auth_age_s=body.auth_age_s, ip=body.ip)
    subject = EntityRef("User", body.subject)
    answer, why = deps.authority.suppose(
        subject, body.action, deps.authority.resource(body.resource), supposed
    )
    return {
        "verdict": answer.decision.verdict,
        "code": answer.decision.code,
        "policies": answer.decision.policies,
        "errors": answer.decision.errors,
        **msgspec.to_builtins(why),
    }


@router.post("/v1/policy/who-can", summary="List who may do something", **decided("read", "policy"))
def who_can(body: WhoCan, deps: Deps) -> dict[str, Any]:
    """Return the classes of people who may, each with the conditions under which."""
    resource = deps.authority.resource(body.resource)
    people, classes = deps.authority.who_can(body.action, resource)
    shown = [
        {
            "members": [ref.id for ref in found.subjects],
            "conditions": [remedy.id for remedy in found.conditions],
            "policies": list(found.policies),
        }
        for found in classes
        if found.allowed
    ]
    return {
        "action": body.action,
        "resource": resource.id,
        "people": people,
        "count": sum(len(group["members"]) for group in shown),
        "classes": shown,
    }

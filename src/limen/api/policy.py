"""The policy over the admin API: plan, apply, propose and approve, roll back, explain, who can."""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from limen.administrator.authority import Supposed
from limen.administrator.plan import Plan, Step
from limen.api.body import Body, Why
from limen.api.deps import Actor, Deps, decided
from limen.api.lines import stream_lines
from limen.core.ids import EntityRef
from limen.core.resources import ACTIONS_ON, catalogue_entities
from limen.store import bundles, proposals

router = APIRouter(tags=["policy"])


class NewBundle(Body):
    """A bundle, as the text of its files by relative path."""

    files: dict[str, str]
    reason: str = ""
    base: str = Field(default="", description="Refuse unless this bundle is active: a plan's `base`.")


class NewPlan(Body):
    """A bundle to plan, and how far back recorded decisions are replayed."""

    files: dict[str, str]
    since_s: float = Field(default=7 * 86_400.0, gt=0)
    replay: bool = True


class Verdict(Body):
    """Why a proposal is approved or rejected."""

    reason: Why


class Rollback(Body):
    """Which bundle of the history to make active again."""

    serial: int
    reason: str = ""


class Question(Body):
    """A person, an action, a resource, and the sign-in that is supposed."""

    subject: str
    action: Literal["read", "write", "admin", "connect", "sign_in"]
    resource: str
    aal: int = Field(default=2, ge=0, le=3)
    passkey: bool = False
    auth_age_s: float = Field(default=300, ge=0)
    ip: str = "127.0.0.1"


class WhoCan(Body):
    """An action on a resource."""

    action: Literal["read", "write", "admin", "connect", "sign_in"]
    resource: str


@router.get("/v1/policy", summary="Show the active bundle", **decided("read", "policy"))
def show_policy(deps: Deps) -> dict[str, Any]:
    """Return the id and the files of the active bundle."""
    active = deps.authority.bundle()
    return {"bundle": active.bundle_id, "files": dict(active.files)}


@router.get("/v1/resources", summary="List resources", **decided("read", "policy"))
def list_resources(deps: Deps) -> list[dict[str, Any]]:
    """Return every app, route, service and client of the catalogue."""
    found = catalogue_entities(deps.authority.active().catalogue)
    return [
        {"id": ref.id, "type": ref.type, "in": [str(parent) for parent in entity.parents]}
        for ref, entity in sorted(found.items())
        if ref.type in ACTIONS_ON
    ]


@router.post("/v1/policy/plan", summary="Plan a bundle", **decided("read", "policy"))
def plan_bundle(body: NewPlan, deps: Deps) -> StreamingResponse:
    """Say what a bundle would do, as a stream of JSON lines.

    `{"step": …}` tells how far it is; the last line is `{"plan": …}`, or a `failure`.
    """
    since = deps.clock.now() - body.since_s
    steps = deps.planner.follow(body.files, since=since, replay=body.replay)
    return stream_lines(map(_line, steps))


def _line(one: Step | Plan) -> dict[str, Any]:
    if isinstance(one, Step):
        return {"step": one}
    return {"plan": {**msgspec.to_builtins(one), "loses": one.loses}}


@router.post("/v1/policy/apply", summary="Apply a bundle", **decided("admin", "policy"))
def apply_bundle(body: NewBundle, deps: Deps, actor: Actor, response: Response) -> dict[str, Any]:
    """Check a bundle, then make it active in one change, or refuse it with everything that is wrong.

    202: it is proposed, and waits for another administrator.
    """
    applied = deps.policies.apply(body.files, actor=actor, reason=body.reason, base=body.base)
    response.status_code = 202 if applied.proposed else 200
    return dict(msgspec.to_builtins(applied))


@router.get("/v1/policy/proposals", summary="List proposed bundles", **decided("read", "policy"))
def list_proposals(deps: Deps) -> list[dict[str, Any]]:
    """Return the bundles that wait for another administrator, without their files.

    One that is `stale` has to be proposed again: another bundle became active since.
    """
    active = deps.authority.bundle().bundle_id
    with deps.store.read() as connection:
        found = proposals.list_proposals(connection)
    return [{**_without_files(one), "stale": one.base != active} for one in found]


@router.get("/v1/policy/proposals/{bundle}", summary="Show a proposed bundle", **decided("read", "policy"))
def show_proposal(bundle: str, deps: Deps) -> dict[str, Any]:
    """Return a proposed bundle with its files."""
    with deps.store.read() as connection:
        return dict(msgspec.to_builtins(proposals.get_proposal(connection, bundle)))


@router.post(
    "/v1/policy/proposals/{bundle}/approve", summary="Approve a bundle", **decided("admin", "policy")
)
def approve_bundle(bundle: str, body: Verdict, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Make exactly this proposed bundle active, as another administrator than who proposed it."""
    return dict(msgspec.to_builtins(deps.policies.approve(bundle, actor=actor, reason=body.reason)))


@router.post("/v1/policy/proposals/{bundle}/reject", summary="Reject a bundle", **decided("admin", "policy"))
def reject_bundle(bundle: str, body: Verdict, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Forget a proposal."""
    return _without_files(deps.policies.reject(bundle, actor=actor, reason=body.reason))


def _without_files(proposal: proposals.Proposal) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(proposal).items() if key != "files"}


@router.get("/v1/policy/history", summary="List the bundles that were active", **decided("read", "policy"))
def list_history(deps: Deps) -> list[dict[str, Any]]:
    """Return every bundle that was applied, newest first, without its files."""
    with deps.store.read() as connection:
        return [msgspec.to_builtins(entry) for entry in bundles.history(connection)]


@router.post("/v1/policy/rollback", summary="Make an earlier bundle active", **decided("admin", "policy"))
def rollback(body: Rollback, deps: Deps, actor: Actor, response: Response) -> dict[str, Any]:
    """Apply a bundle of the history again, with all checks; 202: it is proposed, as by `apply`."""
    applied = deps.policies.rollback(body.serial, actor=actor, reason=body.reason)
    response.status_code = 202 if applied.proposed else 200
    return dict(msgspec.to_builtins(applied))


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

"""Recovery over the admin API: who recovers, approval of one, and whose trust is lower for a while."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import Field

from limen.administrator import lowered_trust
from limen.administrator.hands import demand_another
from limen.administrator.recovery_approval import REASON_MAX, ROLES_PART, Approvals, Demand
from limen.api.body import Body
from limen.api.deps import Actor, AdminDeps, Deps, decided, demand_roles
from limen.core.ids import EntityRef
from limen.store import recoveries

router = APIRouter(tags=["recovery"])


class Heard(Body):
    """What somebody who recovers read out."""

    code: str = Field(max_length=64)


class Approval(Heard):
    """An approval."""

    reason: str = Field(description=f"How you made sure who they are; at most {REASON_MAX} characters.")


class Reasoned(Body):
    """Why."""

    reason: str = ""


@router.get("/v1/recoveries", summary="List recoveries", **decided("read", "recovery"))
def list_recoveries(deps: Deps) -> list[dict[str, Any]]:
    """Return who recovers at this moment, the newest first. What they read out is told to nobody else."""
    return [msgspec.structs.asdict(one) for one in Approvals(deps.desk).listed()]


@router.post("/v1/recoveries/look-up", summary="Look up a recovery", **decided("admin", "recovery"))
def look_up(body: Heard, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Return who recovers under what was read out: look before you approve."""
    found = Approvals(deps.desk).look(body.code, actor, _demand(request, deps))
    return msgspec.structs.asdict(found)


@router.post("/v1/recoveries/approve", summary="Approve a recovery", **decided("admin", "recovery"))
def approve(body: Approval, request: Request, deps: Deps, actor: Actor) -> dict[str, str]:
    """Approve the recovery whose code was read out. Nobody approves their own."""
    person = Approvals(deps.desk).approve(body.code, actor, body.reason, _demand(request, deps))
    return {"person": person}


@router.post(
    "/v1/recoveries/{person}/stop", summary="Stop a person's recoveries", **decided("admin", "recovery")
)
def stop(person: str, body: Reasoned, deps: Deps, actor: Actor) -> dict[str, int]:
    """Stop every recovery of a person that is under way."""
    return {"stopped": Approvals(deps.desk).stop(person, actor, body.reason)}


@router.get("/v1/recovered", summary="List lowered trust", **decided("read", "recovery"))
def list_recovered(deps: Deps) -> list[dict[str, Any]]:
    """Return who came back by recovery, and until when policies read `recovered` about them."""
    with deps.store.read() as connection:
        return [msgspec.structs.asdict(one) for one in recoveries.list_recovered(connection)]


@router.post(
    "/v1/recovered/{person}/restore", summary="End lowered trust early", **decided("admin", "recovery")
)
def restore(person: str, body: Reasoned, deps: Deps, actor: Actor) -> dict[str, str]:
    """End it before its time."""
    with deps.ledger.entry(actor, body.reason) as entry:
        demand_another(entry.tx.connection, actor, person, own="Nobody gives their own trust back.")
        lowered_trust.restore(entry, person)
    return {"person": person}


def _demand(request: Request, deps: AdminDeps) -> Demand:
    """Return what has a role's part decided; the call itself was decided on `recovery` already."""

    def demand(part: str, person: str) -> None:
        if part == ROLES_PART:
            demand_roles(request, deps, EntityRef("User", person))

    return demand

"""Gateways over the admin API: which there are, how far behind, how another joins, how one is removed."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from limen.administrator.gateway_desk import TOKEN_LIFE_MAX_S, TOKEN_LIFE_S
from limen.administrator.join_wire import parse_address
from limen.api.body import Body, Why
from limen.api.deps import Actor, AdminDeps, Deps, decided
from limen.api.gateway_office import GatewayOffice
from limen.core.errors import Unavailable

router = APIRouter(tags=["gateways"])


class NewToken(Body):
    """A join token to make. `addresses` are control's, as the gateway reaches them; unset: as started."""

    node: str = Field(description="The gateway's name: a DNS label.")
    for_s: float = Field(default=TOKEN_LIFE_S, gt=0, le=TOKEN_LIFE_MAX_S, description="How long it works.")
    addresses: list[str] = Field(default=[], max_length=10)
    reason: Why


@router.get("/v1/gateways", summary="List gateways", **decided("read", "gateways"))
def list_gateways(deps: Deps) -> list[dict[str, Any]]:
    """Return every gateway: release, position, how far and how old, streams, certificate."""
    return office(deps).gateways()


@router.post(
    "/v1/gateways/tokens", summary="Make a join token", status_code=201, **decided("admin", "gateways")
)
def make_token(body: NewToken, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Return a token with which one machine may join once. It is not shown again."""
    for text in body.addresses:
        parse_address(text, "addresses")
    token = office(deps).make_token(
        body.node,
        actor=actor,
        reason=body.reason,
        life_s=body.for_s,
        addresses=tuple(body.addresses),
    )
    return {"node": body.node, "token": token.reveal(), "expires_at": deps.clock.now() + body.for_s}


@router.delete(
    "/v1/gateways/{node}", summary="Remove a gateway", status_code=204, **decided("admin", "gateways")
)
async def remove_gateway(node: str, deps: Deps, actor: Actor, reason: Why) -> None:
    """Remove a gateway: its certificate counts no longer, its connection ends at once."""
    await office(deps).remove(node, actor=actor, reason=reason)


def office(deps: AdminDeps) -> GatewayOffice:
    """Return control's gateways.

    Raises:
        Unavailable: this process serves none.
    """
    if deps.gateways is None:
        raise Unavailable("This process serves no gateways.", remedy="Ask a running control.")
    return deps.gateways

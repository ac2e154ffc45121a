"""What the admin API works with, and how each call is decided before it does anything."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from limen.administrator.authority import Authority
from limen.administrator.desk import Desk
from limen.administrator.ledger import Ledger
from limen.administrator.policies import HOST_OPERATOR, PolicyAdministrator
from limen.api.gateway_office import GatewayOffice
from limen.api.peer import verify_peer
from limen.core.clock import Clock
from limen.core.errors import Refused
from limen.core.ids import EntityRef
from limen.store.database import Store
from limen.store.sealing import Sealer


@dataclass(frozen=True)
class AdminDeps:
    """The parts of a running control.

    `committed_at` is the instant of the last commit, by which revocation is measured.
    """

    store: Store
    clock: Clock
    authority: Authority
    policies: PolicyAdministrator
    sealer: Sealer
    journal_root: Path
    ledger: Ledger
    desk: Desk
    status: Callable[[], dict[str, Any]]
    ready: Callable[[], bool]
    registry: CollectorRegistry
    gateways: GatewayOffice | None = None
    committed_at: Callable[[], float] = float


def find_deps(request: Request) -> AdminDeps:
    """Return the parts of the control that this request reached."""
    deps = request.app.state.deps
    assert isinstance(deps, AdminDeps)
    return deps


Deps = Annotated[AdminDeps, Depends(find_deps)]


def decided(action: str, part: str) -> dict[str, Any]:
    """Return the route options that have a call decided as `action` on `Route::"limen/<part>"`.

    The decision is made by the same engine as every other, under the active bundle, and recorded.
    """
    resource = EntityRef("Route", f"limen/{part}")

    def demand(request: Request, deps: Deps) -> None:
        peer = verify_peer(request)
        answer = deps.authority.decide(
            HOST_OPERATOR, action, resource, method=request.method, path=request.url.path
        )
        if not answer.decision.allowed:
            raise Refused(
                f"{HOST_OPERATOR} may not {action} {resource}: {answer.decision.code} "
                f"(decision {answer.request.id}).",
                remedy="A policy must permit it: see `limen policy show`.",
            )
        request.state.actor = f"{HOST_OPERATOR.id}:uid={peer.uid}"

    return {
        "dependencies": [Depends(demand)],
        "openapi_extra": {"x-limen-decision": f"`{action}` on `{resource}`"},
    }


def find_actor(request: Request) -> str:
    """Return who acts, once the call was decided."""
    return str(request.state.actor)


Actor = Annotated[str, Depends(find_actor)]

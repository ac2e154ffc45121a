"""What the admin API works with, and how each call is decided before it does anything.

Two doors lead to the same calls: the Unix socket, where the kernel says which user asks, and HTTPS
(`limen.api.remote`), where a token says which workload does. A door is a property of the application that
serves it, never of what a request says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from limen.administrator.authority import LOOPBACK, Authority
from limen.administrator.desk import Desk
from limen.administrator.ledger import Ledger
from limen.administrator.plan import Planner
from limen.administrator.policies import HOST_OPERATOR, PolicyAdministrator
from limen.administrator.workloads import Workloads
from limen.api.gateway_office import GatewayOffice
from limen.api.peer import verify_peer
from limen.api.reads import Read, note_read
from limen.core.clock import Clock
from limen.core.decision import Code
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
    sinks: Callable[[], list[dict[str, Any]]] = list  # how live exports do

    @cached_property
    def workloads(self) -> Workloads:
        """The administration of workloads, with the key of this state's tokens."""
        return Workloads(self.ledger, self.clock, self.desk.key)

    @cached_property
    def planner(self) -> Planner:
        """What makes plans of bundles."""
        return Planner(self.authority, self.journal_root, self.clock)


class Caller(msgspec.Struct, frozen=True):
    """Who calls: what the engine decides about, what the journal calls it, and where it is."""

    subject: EntityRef
    actor: str
    ip: str = LOOPBACK


MARK = "x-limen-decision"
"""By which a route's description says that it is decided, and how."""

Identify = Callable[[Request], Caller]
"""How a door knows who calls. Raises `Refused` for nobody."""

CURES: Mapping[Code, str] = {
    Code.SUBJECT_SUSPENDED: "`limen workload release {}` takes the suspension back.",
    Code.QUARANTINED: "`limen workload release {}` lifts the quarantine.",
    Code.SUBJECT_ENDED: "{} was removed: make another workload.",
    Code.SUBJECT_UNKNOWN: "{} was removed: make another workload.",
}
"""What to do about a workload that is denied for what it is. What policies deny, a policy must permit."""


def find_host_user(request: Request) -> Caller:
    """Return the operator of this host, on the Unix socket."""
    return Caller(HOST_OPERATOR, f"{HOST_OPERATOR.id}:uid={verify_peer(request).uid}")


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
        identify: Identify = request.app.state.identify
        caller = identify(request)
        subject = caller.subject
        answer = deps.authority.decide(
            subject, action, resource, method=request.method, path=recorded_path(request), ip=caller.ip
        )
        code = answer.decision.code
        if not answer.decision.allowed:
            cure = CURES.get(code, "A policy must permit it: see `limen policy show`.")
            raise Refused(
                f"{subject} may not {action} {resource}: {code} (decision {answer.request.id}).",
                remedy=cure.format(subject.id),
                code=code if code in CURES else None,
            )
        request.state.actor = caller.actor
        read = Read(request, part, answer.request.id, caller.actor, caller.ip)
        note_read(deps.ledger, read, lambda name: deps.authority.knows(EntityRef("User", name)))

    return {
        "dependencies": [Depends(demand)],
        "openapi_extra": {MARK: f"`{action}` on `{resource}`"},
    }


def recorded_path(request: Request) -> str:
    """Return the path of a call as its decision records it: without the name of the person it is about.

    That record is about who calls, so no erasure would reach the name. The events of what a call read or
    changed have it, sealed.
    """
    person = request.path_params.get("person")
    parts = request.url.path.split("/")
    return "/".join("{person}" if unquote(part) == person else part for part in parts)


def find_actor(request: Request) -> str:
    """Return who acts, once the call was decided."""
    return str(request.state.actor)


Actor = Annotated[str, Depends(find_actor)]

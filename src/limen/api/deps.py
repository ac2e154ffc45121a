"""What the admin API works with, and how each call is decided before it does anything.

Two doors lead to the same calls: the Unix socket, where the kernel says which user asks, and HTTPS
(`limen.api.remote`), where a token says which workload or person does. A door is a property of the
application that serves it, never of what a request says.

Laws:
    A3 roles are guarded. A call that touches somebody who has a role of Limen, or makes one, is decided a
       second time, on `Route::"limen/roles"`: where the path names them, before it does anything; else before
       its transaction is committed (`guard_roles`).
    A4 an owner's call is about their resource. Where nothing permits a call as a whole, and it names a
       resource, it is decided on that resource's own part, and does no more than that part is about.
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

from limen.administrator.authority import LOOPBACK, Answer, Authority
from limen.administrator.desk import Desk
from limen.administrator.ledger import Ledger
from limen.administrator.oauth.server import AuthorizationServer
from limen.administrator.plan import Planner
from limen.administrator.policies import HOST_OPERATOR, PolicyAdministrator
from limen.administrator.roles import ROLES_PART
from limen.administrator.touched import Books
from limen.administrator.workload_keys import WorkloadKeys
from limen.administrator.workloads import Workloads
from limen.api.gateway_office import GatewayOffice
from limen.api.peer import verify_peer
from limen.api.reads import Read, note_read
from limen.core.clock import Clock
from limen.core.decision import Code, SessionFacts
from limen.core.errors import Refused
from limen.core.ids import EntityRef
from limen.core.needs import cured_by_sign_in
from limen.core.resources import owner_part
from limen.core.roles import OWNER_PARTS
from limen.store.database import Store, Transaction
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
    oauth: AuthorizationServer | None = None  # clients that people sign in to

    @cached_property
    def workloads(self) -> Workloads:
        """The administration of workloads, with the key of this state's tokens."""
        return Workloads(self.ledger, self.clock, self.desk.key)

    @cached_property
    def workload_keys(self) -> WorkloadKeys:
        """The administration of what workloads prove themselves by."""
        return WorkloadKeys(self.ledger, self.desk.catalogue)

    @cached_property
    def books(self) -> Books:
        """Who has a role of Limen."""
        return Books(self.authority)

    @cached_property
    def planner(self) -> Planner:
        """What makes plans of bundles."""
        return Planner(self.authority, self.journal_root, self.clock)


class Caller(msgspec.Struct, frozen=True):
    """Who calls: what the engine decides about, what the journal calls it, and where it is.

    `session` is what a person has proven, or a machine at the token endpoint; other programs have none.
    """

    subject: EntityRef
    actor: str
    ip: str = LOOPBACK
    session: SessionFacts | None = None


MARK = "x-limen-decision"
"""By which a route's description says that it is decided, and how."""

Identify = Callable[[Request], Caller]
"""How a door knows who calls. Raises `Refused` for nobody."""

CURES: Mapping[str, Mapping[Code, str]] = {
    "Workload": {
        Code.SUBJECT_SUSPENDED: "`limen workload release {}` takes the suspension back.",
        Code.QUARANTINED: "`limen workload release {}` lifts the quarantine.",
        Code.SUBJECT_ENDED: "{} was removed: make another workload.",
        Code.SUBJECT_UNKNOWN: "{} was removed: make another workload.",
    },
    "User": {
        Code.SUBJECT_SUSPENDED: "An administrator takes it back: `limen user release {}`.",
        Code.QUARANTINED: "An administrator lifts it: `limen user release {}`.",
        Code.SUBJECT_EXPIRED: "An administrator gives more time: `limen user extend {}`.",
        Code.GROUPS_UNKNOWN: "Sign in again once the provider, or another source, lists your groups.",
    },
}
"""What to do about a subject that is denied for what it is. What policies deny, a policy must permit."""

PATH_NAMES: Mapping[str, str] = {
    "person": "User",
    "group": "Group",
    "parent": "Group",
    "workload": "Workload",
}
"""Parameters of paths that name whom a call changes, and what they are (law A3)."""


class Denied(Refused):
    """A call that is not permitted. `cure`: what signing in again must achieve; empty when it is no cure."""

    cure: str = ""
    decision: str = ""


def find_host_user(request: Request) -> Caller:
    """Return the operator of this host, on the Unix socket."""
    return Caller(HOST_OPERATOR, f"{HOST_OPERATOR.id}:uid={verify_peer(request).uid}")


def find_deps(request: Request) -> AdminDeps:
    """Return the parts of the control that this request reached."""
    deps = request.app.state.deps
    assert isinstance(deps, AdminDeps)
    return deps


Deps = Annotated[AdminDeps, Depends(find_deps)]


def about_nothing() -> str | None:
    """Return that a call is about no resource in particular."""
    return None


def decided(action: str, part: str, *, about: Callable[..., Any] = about_nothing) -> dict[str, Any]:
    """Return the route options that have a call decided as `action` on `Route::"limen/<part>"`.

    The decision is made by the same engine as every other, under the active bundle, and recorded.

    Args:
        action, part: what is asked.
        about: a dependency that says which resource a call is about; its owner's part would do (law A4). The
            call then looks at `Within`.
    """
    resource = EntityRef("Route", f"limen/{part}")

    def demand(request: Request, deps: Deps, named: Annotated[str | None, Depends(about)] = None) -> None:
        identify: Identify = request.app.state.identify
        caller = identify(request)
        own = (owner_part(part, named),) if named and part in OWNER_PARTS else ()
        answer = _decide(request, deps, caller, action, resource, own)
        request.state.caller, request.state.actor = caller, caller.actor
        request.state.within = None if answer.request.resource == resource else named
        if action == "admin":
            demand_roles(request, deps, *named_in_path(request))
        read = Read(request, part, answer.request.id, caller.actor, caller.ip)
        note_read(deps.ledger, read, lambda name: deps.authority.knows(EntityRef("User", name)))

    return {
        "dependencies": [Depends(demand)],
        "openapi_extra": {MARK: f"`{action}` on `{resource}`"},
    }


def _decide(
    request: Request,
    deps: AdminDeps,
    caller: Caller,
    action: str,
    resource: EntityRef,
    narrower: tuple[EntityRef, ...] = (),
    why: str = "",
) -> Answer:
    answer = deps.authority.decide(
        caller.subject,
        action,
        resource,
        session=caller.session,
        method=request.method,
        path=recorded_path(request),
        ip=caller.ip,
        narrower=narrower,
    )
    if not answer.decision.allowed:
        raise _denial(deps, caller, answer, why)
    return answer


def _denial(deps: AdminDeps, caller: Caller, answer: Answer, why: str) -> Denied:
    """Return why not, and what would cure it: for a person, by what the engine finds."""
    code, asked = answer.decision.code, answer.request
    said = f"{why}{caller.subject} may not {asked.action} {asked.resource}: {code} (decision {asked.id})."
    cures = CURES.get(caller.subject.type, {})
    remedy, need = cures.get(code, "").format(caller.subject.id), ""
    if not remedy and caller.session is not None and caller.subject.type == "User":
        explanation = deps.authority.explain(answer)
        for remedies in (explanation.remedies, *explanation.alternatives):
            if need := cured_by_sign_in(one.id for one in remedies):
                remedy = f"Run: limen login {deps.desk.auth_origin} --need {need}"
                break
        said = f"{said} {' '.join(explanation.reasons)}".strip()
    denied = Denied(
        said,
        remedy=remedy or "A policy must permit it: see `limen policy show`.",
        code=code if code in cures else "STEP_UP" if need else None,
    )
    denied.cure, denied.decision = need, str(asked.id)
    return denied


def named_in_path(request: Request) -> tuple[EntityRef, ...]:
    """Return the people, groups and workloads that a call's path names."""
    given = request.path_params
    return tuple(EntityRef(PATH_NAMES[key], str(given[key])) for key in PATH_NAMES if key in given)


def demand_roles(request: Request, deps: AdminDeps, *refs: EntityRef) -> None:
    """Have a call decided on `Route::"limen/roles"` too if one of these has, or gives, a role (law A3).

    Raises:
        Denied: the caller may not touch roles.
    """
    held = next((ref for ref in refs if deps.books.holds(ref)), None)
    if held is not None:
        why = f"This touches a role of Limen, by {held}. "
        _decide(request, deps, request.state.caller, "admin", ROLES_PART, why=why)


def demand_part(request: Request, deps: AdminDeps, part: str, why: str) -> None:
    """Have a call decided on another part of the administration too.

    Raises:
        Denied: the caller may not administer it.
    """
    _decide(request, deps, request.state.caller, "admin", EntityRef("Route", f"limen/{part}"), why=why)


def guard_roles(request: Request, deps: AdminDeps, tx: Transaction) -> None:
    """Have it decided so too if its transaction touches a role. Called last within it: a denial undoes it."""
    touched = deps.books.touched(tx)
    if touched:
        why = f"This touches a role of Limen, by {touched[0]}. "
        _decide(request, deps, request.state.caller, "admin", ROLES_PART, why=why)


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


def find_within(request: Request) -> str | None:
    """Return the one resource that a call may be about; None when it is permitted as a whole."""
    found: str | None = request.state.within
    return found


Within = Annotated[str | None, Depends(find_within)]

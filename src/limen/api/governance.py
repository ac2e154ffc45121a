"""Governance over the admin API: what access control costs people, and what recorded use does not need.

Both read the whole journal of a period, in a process of their own, and answer a line of JSON at a time: how
far they are, and the outcome at last.
"""

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from limen.administrator.apart import follow_apart
from limen.api.deps import Deps, decided
from limen.api.lines import stream_lines
from limen.core.decision import Grant
from limen.core.entities import Closure, Status
from limen.core.ids import EntityRef
from limen.governance.least_privilege import Standing
from limen.governance.work import FRICTION, LEAST_PRIVILEGE, FrictionJob, LeastPrivilegeJob
from limen.store import workloads
from limen.store.grants import GrantFilter, StoredGrant, list_grants

router = APIRouter(tags=["governance"])

DAY_S = 86_400.0


@router.get("/v1/friction", summary="Measure friction", **decided("read", "decisions"))
def friction(deps: Deps, since_s: float = Query(default=7 * DAY_S, gt=0)) -> StreamingResponse:
    """Send how far it is, then prompts, denials, cures and time to cure, per person-day, app and group."""
    groups = {closure.root.id: _groups(closure) for closure in deps.authority.people()}
    job = FrictionJob(str(deps.journal_root), deps.clock.now() - since_s, groups)
    return stream_lines(follow_apart(FRICTION, job))


@router.get("/v1/least-privilege", summary="Propose least privilege", **decided("read", "policy"))
def least_privilege(deps: Deps, unused_for_s: float = Query(default=90 * DAY_S, gt=0)) -> StreamingResponse:
    """Send how far it is, then what recorded use does not need, and a bundle without it."""
    now = deps.clock.now()
    active = deps.authority.bundle()
    job = LeastPrivilegeJob(str(deps.journal_root), now - unused_for_s, active.files, _standing(deps, now))
    return stream_lines(follow_apart(LEAST_PRIVILEGE, job))


def _standing(deps: Deps, now: float) -> Standing:
    """Return what active people and workloads hold now."""
    with deps.store.read() as connection:
        grants = list_grants(connection, GrantFilter(live_at=now))
        machines = workloads.list_workloads(connection)
        tokens = [token for one in machines for token in workloads.list_tokens(connection, one.id)]
    people = [closure for closure in deps.authority.people() if closure.status is Status.ACTIVE]
    held = [(closure.root, _direct_groups(closure)) for closure in people]
    held += [(EntityRef("Workload", machine.id), machine.groups) for machine in machines]
    return Standing(
        memberships=tuple(held),
        grants=tuple(_grant(grant) for grant in grants),
        workloads=tuple(machine.id for machine in machines),
        tokens=tuple((token.id, token.workload, token.used_at) for token in tokens),
    )


def _grant(stored: StoredGrant) -> Grant:
    return Grant(stored.id, stored.principal, stored.actions, stored.resource, stored.expires_at)


def _groups(closure: Closure) -> tuple[str, ...]:
    return tuple(sorted(ref.id for ref in closure.ancestors if ref.type == "Group"))


def _direct_groups(closure: Closure) -> tuple[str, ...]:
    root = next(entity for entity in closure.entities if entity.ref == closure.root)
    return tuple(sorted(parent.id for parent in root.parents if parent.type == "Group"))

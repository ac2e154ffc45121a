"""How mature identity is here, over the admin API: the facts of one instant, assessed in a process apart."""

from collections.abc import Iterable

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection

from limen.administrator.apart import follow_apart
from limen.api.deps import AdminDeps, Deps, decided
from limen.api.lines import stream_lines
from limen.api.sources import configured_sources
from limen.assurance.identity_facts import IdentityFacts, ReportRules, ResourceFacts, WorkloadFacts
from limen.assurance.identity_read import Context, read_facts
from limen.assurance.identity_work import WORK, Job
from limen.core.decision import AccessRequest, Network
from limen.core.ids import DecisionId, EntityRef
from limen.core.resources import ACTIONS_ON, owners
from limen.engine.decide import decide
from limen.store.grants import GrantFilter, list_grants

router = APIRouter(tags=["identity"])

RULES = ReportRules()
QUESTIONS_MAX = 20_000  # about machines; each takes some 50 µs. Beyond, what they may is not known


@router.get("/v1/identity/report", summary="Report on identity", **decided("read", "identity"))
def report(
    deps: Deps,
    dormant_s: float = Query(default=RULES.dormant_s, gt=0),
    never_used_s: float = Query(default=RULES.never_used_s, gt=0),
    moved_s: float = Query(default=RULES.moved_s, gt=0),
    secret_s: float = Query(default=RULES.secret_s, gt=0),
    idle_s: float = Query(default=RULES.idle_s, gt=0),
    use: bool = True,
) -> StreamingResponse:
    """Send how far it is, then coverage by group, and every finding with its cure.

    With `use`, what machines did in the last `idle_s` is read from the journal.
    """
    rules = ReportRules(dormant_s, never_used_s, moved_s, secret_s, idle_s)
    facts = _facts(deps)
    if use and facts.workloads:
        facts = msgspec.structs.replace(facts, workloads=tuple(_entitled(deps, facts.workloads)))
    job = Job(facts, rules, str(deps.journal_root) if use else None)
    return stream_lines(follow_apart(WORK, msgspec.to_builtins(job)))


def _facts(deps: AdminDeps) -> IdentityFacts:
    with deps.store.read() as connection:
        return read_facts(connection, deps.clock.now(), read_context(deps, connection))


def read_context(deps: AdminDeps, connection: Connection) -> Context:
    """Return what the bundle in force says of sources, owners and privileges."""
    active = deps.authority.active()
    grants = list_grants(connection, GrantFilter(live_at=deps.clock.now()))
    admins = [one.principal for one in grants if "admin" in one.actions]
    groups = [name for name in deps.authority.groups() if deps.books.holds(EntityRef("Group", name))]
    named = [ref for ref in active.policies.principals if ref.type == "User"]
    people = [ref.id for ref in named if deps.books.holds(ref)]
    return Context(
        sources=configured_sources(active.catalogue),
        privileged=_ids(groups, admins, "Group"),
        privileged_people=_ids(people, admins, "User"),
        resources=tuple(
            ResourceFacts(name, owner) for name, owner in sorted(owners(active.catalogue).items())
        ),
    )


def _ids(known: Iterable[str], refs: Iterable[EntityRef], kind: str) -> tuple[str, ...]:
    return tuple(sorted({*known, *(ref.id for ref in refs if ref.type == kind)}))


def _entitled(deps: AdminDeps, machines: tuple[WorkloadFacts, ...]) -> Iterable[WorkloadFacts]:
    """Yield machines with what policies let them do now, on everything but Limen's own parts."""
    active = deps.authority.active()
    doors = [
        (action, ref)
        for ref in sorted(active.entities)
        if ref.type in ("App", "Service", "Client")
        for action in ACTIONS_ON[ref.type]
    ]
    live = sum(one.status == "active" for one in machines)
    if live * len(doors) > QUESTIONS_MAX:
        yield from machines
        return
    for one in machines:
        may = tuple(f"{action} {ref}" for action, ref in doors if _may(deps, one.id, action, ref))
        yield msgspec.structs.replace(one, may=may) if one.status == "active" else one


def _may(deps: AdminDeps, machine: str, action: str, on: EntityRef) -> bool:
    subject, at = EntityRef("Workload", machine), deps.clock.now()
    facts = deps.authority.ask(
        lambda replica: replica.facts(subject, on, at=at, session=None, network=Network())
    )
    if facts is None:
        return False
    request = AccessRequest(DecisionId("0" * 32), at, subject, action, on)
    return decide(request, facts, deps.authority.active().policies).allowed

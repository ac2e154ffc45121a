"""The rollout over the admin API: stages, what passes, who is not ready."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter, Query

from limen.administrator.apart import run_apart
from limen.api.deps import Deps, decided
from limen.assurance.rollout import Job, declared_in

router = APIRouter(tags=["rollout"])

WEEK_S = 7 * 86_400.0
WORK = "limen.assurance.rollout:work"


@router.get("/v1/rollout", summary="Show the rollout", **decided("read", "rollout"))
def show_rollout(deps: Deps, since_s: float = Query(default=WEEK_S, gt=0)) -> list[dict[str, Any]]:
    """Return each stage that a bundle's `mode:` names: owner, date, requests, share that would pass, and
    who would be denied now, why, and what would cure it. Read from recorded decisions, in a process apart.
    """
    catalogue = deps.authority.active().catalogue
    declared = declared_in(catalogue)
    groups = {group for one in declared for group in one.rollout.groups}
    now = deps.clock.now()
    job = Job(
        journal=str(deps.journal_root),
        since=now - since_s,
        today=datetime.fromtimestamp(now, ZoneInfo(catalogue.timezone)).date().isoformat(),
        declared=declared,
        members={group: deps.authority.members(group) for group in groups},
    )
    if not declared:
        return []
    found: list[dict[str, Any]] = run_apart(WORK, msgspec.to_builtins(job))
    return found

"""What is held about a person, over the admin API: all of it told, or erased.

The person stands in the query or the body and not in the path: paths are part of the records of these calls,
which are about who calls, and nobody erases those.
"""

from typing import Any

import anyio.from_thread
import msgspec
from fastapi import APIRouter, Query

from limen.administrator.apart import run_apart
from limen.administrator.subject_erase import erase_subject
from limen.administrator.subject_export import RECORDS, RecordsJob, export_directory
from limen.api.body import Body, Why
from limen.api.deps import Actor, Deps, decided
from limen.api.people import end_sessions
from limen.core.entities import Status
from limen.core.ids import EntityRef
from limen.store.directory import get_person

router = APIRouter(tags=["people"])


class Erasure(Body):
    """Whom to erase, and why."""

    person: str
    reason: Why


@router.get("/v1/subject", summary="Export what is held about a person", **decided("admin", "people"))
def export(deps: Deps, person: str = Query(max_length=128)) -> dict[str, Any]:
    """Return what the directory and the journal hold about a person, secrets left out."""
    found = export_directory(deps.store, person)
    names = tuple(one for one in (found["person"]["email"],) if one)
    records = run_apart(RECORDS, RecordsJob(str(deps.journal_root), person, names))
    return {"at": deps.clock.now(), "subject": person, **found, "records": records}


@router.post("/v1/subject/erase", summary="Erase a person", **decided("admin", "people"))
def erase(body: Erasure, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Erase an ended person. What the journal sealed under their keys is then readable by nobody.

    `pending` names the joined gateways that are away: they erase before control takes a record from them.
    """
    with deps.ledger.entry(actor, body.reason) as entry:
        if get_person(entry.tx.connection, body.person).status is Status.ENDED:
            end_sessions(entry, deps, body.person, "erased")  # none is left, but for the sweep's delay
    erased = erase_subject(deps.ledger, deps.journal_root, actor, body.reason, body.person)
    away: list[str] = []
    if deps.gateways is not None:
        done = anyio.from_thread.run(deps.gateways.erase, str(EntityRef("User", body.person)))
        away = sorted(node for node, has in done.items() if not has)
    return {**msgspec.to_builtins(erased), "pending": away}

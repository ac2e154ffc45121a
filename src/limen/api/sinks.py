"""Exports over the admin API: how the live sinks do, and a trace of each export from files."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import StringConstraints

from limen.api.body import Body
from limen.api.deps import Actor, Deps, decided

router = APIRouter(tags=["audit"])

Word = Annotated[str, StringConstraints(max_length=256)]


class Export(Body):
    """An export that is about to be made from the state folder's files."""

    format: Literal["ocsf", "jsonl", "parquet", "csv"]
    classes: list[Literal["decisions", "events"]]
    since: float | None = None
    until: float | None = None
    subject: Word = ""
    pseudonyms: bool = False
    reason: Word = ""


@router.get("/v1/audit/sinks", summary="List live sinks", **decided("read", "decisions"))
def list_sinks(deps: Deps) -> list[dict[str, Any]]:
    """Return each sink's state, what it has sent, how far it is behind, and what went wrong last."""
    return deps.sinks()


@router.post("/v1/audit/exports", summary="Record an export", status_code=204, **decided("read", "decisions"))
def note_export(body: Export, deps: Deps, actor: Actor) -> None:
    """Record who exports what, before it is done: reading others' data leaves a trace."""
    deps.ledger.tell(
        "audit.exported",
        actor=actor,
        reason=body.reason,
        target=body.subject,
        **body.model_dump(exclude={"reason", "subject"}, exclude_none=True),
    )

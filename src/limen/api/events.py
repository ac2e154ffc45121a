"""Recorded events over the admin API: changes, sign-ins, sessions, streams, and who was behind them."""

from typing import Any

import msgspec
from fastapi import APIRouter, Query

from limen.api.deps import Deps, decided
from limen.core.record import EventRecord
from limen.journal.query import EVENTS
from limen.journal.query import Query as JournalQuery
from limen.journal.search import search

router = APIRouter(tags=["events"])


@router.get("/v1/events", summary="List events", **decided("read", "decisions"))
def list_events(
    deps: Deps,
    kind: str = "",
    actor: str | None = None,
    target: str | None = None,
    since_s: float = 86_400,
    limit: int = Query(default=100, ge=1, le=10_000),
) -> list[dict[str, Any]]:
    """Return events, the newest last. `kind` is a prefix: `stream` stands for `stream.ended` too."""
    query = JournalQuery(
        kinds=(EVENTS,),
        event=kind,
        actor=actor,
        target=target,
        since=deps.clock.now() - since_s,
        limit=limit,
    )
    found = search(deps.journal_root, query)
    return [render_event(hit) for hit in reversed(found) if isinstance(hit, EventRecord)]


def render_event(event: EventRecord) -> dict[str, Any]:
    """Return all fields, those of no value too: a listing has the same keys in every row."""
    return {name: getattr(event, name) for name in event.__struct_fields__} | {
        "data": msgspec.to_builtins(event.data)
    }

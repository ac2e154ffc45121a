"""Recorded events over the admin API: changes, sign-ins, sessions, streams, and who was behind them."""

import heapq
from collections.abc import Iterator
from typing import Any

import msgspec
from fastapi import APIRouter, Query

from limen.api.deps import AdminDeps, Deps, decided
from limen.core.record import EventRecord
from limen.journal.reader import JournalReader

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
    found = (
        event
        for event in _events(deps, kind, since_s)
        if (actor is None or event.actor == actor) and (target is None or event.target == target)
    )
    newest = heapq.nlargest(limit, found, key=lambda event: (event.at, event.id))
    return [_row(event) for event in reversed(newest)]


def _events(deps: AdminDeps, kind: str, since_s: float) -> Iterator[EventRecord]:
    return JournalReader(deps.journal_root).events(since=deps.clock.now() - since_s, kind=kind)


def _row(event: EventRecord) -> dict[str, Any]:
    """Return all fields, those of no value too: a listing has the same keys in every row."""
    return {name: getattr(event, name) for name in event.__struct_fields__} | {
        "data": msgspec.to_builtins(event.data)
    }

"""Notices over the admin API: what waits to be sent, and a test."""

from typing import Any

from fastapi import APIRouter

from limen.api.body import Body
from limen.api.deps import Actor, Deps, decided
from limen.core.errors import Conflict
from limen.store import directory
from limen.store.notices import list_notices

router = APIRouter(tags=["notices"])
LISTED_MAX = 1_000


class NewTest(Body):
    """Whom to send a test to."""

    person: str
    reason: str = ""


@router.get("/v1/notices", summary="List waiting notices", **decided("read", "system"))
def list_waiting(deps: Deps) -> list[dict[str, Any]]:
    """Return what waits to be sent, the oldest first, with why it was not yet. Words are not told."""
    with deps.store.read() as connection:
        rows = list_notices(connection, LISTED_MAX)
    told = ("id", "channel", "person", "kind", "queued_at", "expires_at", "next_at", "attempts", "error")
    return [{name: getattr(row, name) for name in told} for row in rows]


@router.post("/v1/notices/test", summary="Send a test notice", **decided("admin", "system"))
def send_test(body: NewTest, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Queue a test for a person; return the channels that will carry it."""
    with deps.ledger.entry(actor, body.reason or "test notices") as entry:
        directory.get_person(entry.tx.connection, body.person)
        channels = deps.desk.notices.queue(entry, body.person, "test")
        if not channels:
            raise Conflict(
                f"Nothing would carry a notice to {body.person}.",
                remedy="Set notices.smtp or notices.webhook in limen.yaml, and the person's email.",
                code="NO_NOTICE_CHANNEL",
            )
    return {"person": body.person, "channels": list(channels)}

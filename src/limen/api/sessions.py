"""Sessions over the admin API."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request

from limen.administrator.session_life import SessionEvent
from limen.api.deps import Actor, Deps, decided, demand_roles
from limen.api.people import end_sessions
from limen.core.errors import NotFound
from limen.core.ids import EntityRef
from limen.store import directory, sessions

router = APIRouter(tags=["sessions"])


@router.get("/v1/sessions", summary="List live sessions", **decided("read", "sessions"))
def list_sessions(deps: Deps, person: str | None = None) -> list[dict[str, Any]]:
    """Return live sessions, and the apps that each has opened."""
    with deps.store.read() as connection:
        live = sessions.list_sessions(connection, person)
        apps = {one.id: sessions.list_app_sessions(connection, one.id) for one in live}
    rows = []
    for one in live:
        row = msgspec.to_builtins(one)
        for hidden in ("token_hash", "old_token_hash"):
            row.pop(hidden)
        rows.append({**row, "apps": sorted({app.app for app in apps[one.id]})})
    return rows


@router.delete(
    "/v1/sessions/{session}", summary="End a session", status_code=204, **decided("admin", "sessions")
)
def end_session(session: str, request: Request, deps: Deps, actor: Actor, reason: str = "") -> None:
    """End a session and every app session below it."""
    with deps.store.read() as connection:
        found = sessions.load_session(connection, session)
    if found is not None:
        demand_roles(request, deps, EntityRef("User", found.person))
    with deps.ledger.entry(actor, reason) as entry:
        why = reason or "ended by an administrator"
        if not deps.desk.sessions.end_in(entry, session, SessionEvent.REVOKE, why):
            raise NotFound(f"There is no live session '{session}'.", remedy="See `limen session list`.")


@router.delete("/v1/sessions", summary="End all sessions of a person", **decided("admin", "sessions"))
def end_all(person: str, request: Request, deps: Deps, actor: Actor, reason: str = "") -> dict[str, int]:
    """End all sessions of a person."""
    demand_roles(request, deps, EntityRef("User", person))
    with deps.ledger.entry(actor, reason) as entry:
        directory.get_person(entry.tx.connection, person)
        return {"ended": end_sessions(entry, deps, person, reason or "ended by an administrator")}

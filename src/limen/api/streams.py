"""Live streams over the admin API: what is open at every gateway, and the end of it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter

from limen.api.body import Why
from limen.api.deps import Actor, AdminDeps, Deps, decided
from limen.api.gateways import office
from limen.core.errors import Invalid, NotFound, Unavailable

router = APIRouter(tags=["streams"])


class Heard(msgspec.Struct, frozen=True):
    """What the gateways answered, and which did not: those are named, never left out in silence."""

    answers: list[tuple[str, Any]]
    unanswered: list[dict[str, str]]


@router.get("/v1/streams", summary="List live streams", **decided("read", "streams"))
async def list_streams(
    deps: Deps, user: str | None = None, session: str | None = None, resource: str | None = None
) -> dict[str, Any]:
    """Return live streams, oldest first, with the gateways that did not answer."""
    heard = await _ask(deps, "streams.list", _selection(user, session, resource))
    return {"streams": _rows(deps, heard), "unanswered": heard.unanswered}


@router.get("/v1/streams/{stream}", summary="Show a live stream", **decided("read", "streams"))
async def show_stream(stream: str, deps: Deps) -> dict[str, Any]:
    """Return one live stream."""
    heard = await _ask(deps, "streams.list", {})
    for row in _rows(deps, heard):
        if row["id"] == stream:
            return row
    raise _not_live(stream, heard)


@router.delete("/v1/streams/{stream}", summary="End a live stream", **decided("admin", "streams"))
async def end_stream(stream: str, deps: Deps, actor: Actor, reason: Why) -> dict[str, Any]:
    """End one live stream."""
    answer = await _end(deps, {"id": stream}, actor, reason)
    if not answer["ended"]:
        raise _not_live(stream, Heard([], answer["unanswered"]))
    return answer


@router.delete("/v1/streams", summary="End live streams", **decided("admin", "streams"))
async def end_streams(
    deps: Deps,
    actor: Actor,
    reason: Why,
    user: str | None = None,
    session: str | None = None,
    resource: str | None = None,
) -> dict[str, Any]:
    """End all live streams of a person, of a session, or to a resource. A new one is decided anew."""
    selection = _selection(user, session, resource)
    if not selection:
        raise Invalid("user, session, resource: name at least one.", remedy="Say whose streams are to end.")
    return await _end(deps, selection, actor, reason)


async def _end(deps: AdminDeps, selection: Mapping[str, str], actor: str, reason: str) -> dict[str, Any]:
    await asyncio.to_thread(_note, deps, selection, actor, reason)
    heard = await _ask(deps, "streams.end", {**selection, "reason": reason, "actor": actor})
    ended = sum(int(answer.get("ended", 0)) for _, answer in heard.answers if isinstance(answer, dict))
    return {"ended": ended, "unanswered": heard.unanswered}


def _note(deps: AdminDeps, selection: Mapping[str, str], actor: str, reason: str) -> None:
    """Say who wanted it; each stream's own end is told by its gateway."""
    with deps.ledger.entry(actor, reason) as entry:
        entry.note("streams.end_asked", target=next(iter(selection.values())), **selection)


async def _ask(deps: AdminDeps, do: str, args: Mapping[str, Any]) -> Heard:
    gateways = office(deps)
    reports = await gateways.command(None, do, args)
    away = await asyncio.to_thread(gateways.away)
    answers = [(node, report.data) for node, report in reports if report.ok]
    failed = [
        {"gateway": node, **{key: str(text) for key, text in report.data.items()}}
        for node, report in reports
        if not report.ok and isinstance(report.data, dict)
    ]
    failed += [
        {"gateway": node, "code": "GATEWAY_AWAY", "message": "It does not follow this control node."}
        for node in away
    ]
    return Heard(answers, failed)


def _rows(deps: AdminDeps, heard: Heard) -> list[dict[str, Any]]:
    now = deps.clock.now()
    rows = [
        {**stream, "gateway": node, "age_s": max(0.0, now - float(stream["opened_at"]))}
        for node, streams in heard.answers
        for stream in streams
    ]
    return sorted(rows, key=lambda row: (row["opened_at"], row["id"]))


def _selection(user: str | None, session: str | None, resource: str | None) -> dict[str, str]:
    named = {"subject": user, "session": session, "resource": resource}
    return {name: value for name, value in named.items() if value}


def _not_live(stream: str, heard: Heard) -> NotFound | Unavailable:
    if heard.unanswered:
        names = ", ".join(sorted({one["gateway"] for one in heard.unanswered}))
        return Unavailable(
            f"No gateway that answered has the stream '{stream[:64]}'; unanswered: {names}.",
            remedy="Ask again, or end the person's session.",
        )
    return NotFound(f"There is no live stream '{stream[:64]}'.", remedy="See `limen stream list`.")

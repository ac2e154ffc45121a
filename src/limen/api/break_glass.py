"""Break-glass over the admin API: seal, withdraw, look at what a use did, say that it was reviewed."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import Field

from limen.administrator.break_glass import HOUR_S, PERSON, REVIEW_MAX, BreakGlassDesk
from limen.administrator.roles import PARTS
from limen.api.body import Body, Why
from limen.api.decisions import render_decision
from limen.api.deps import Actor, AdminDeps, Deps, decided, guard_roles
from limen.api.events import render_event
from limen.core.decision import AccessRequest, Network, SessionFacts
from limen.core.ids import EntityRef, new_decision_id
from limen.core.record import EventRecord
from limen.core.roles import BREAK_GLASS_METHOD
from limen.engine.decide import decide
from limen.journal.query import EVENTS
from limen.journal.query import Query as JournalQuery
from limen.journal.reader import JournalReader
from limen.journal.search import search
from limen.store.break_glass import BreakGlass

router = APIRouter(tags=["break-glass"])
DONE_MAX = 1_000  # records shown of one use
POLICY, PEOPLE = "limen/policy", "limen/people"


class Reasoned(Body):
    """Why."""

    reason: Why


class Review(Body):
    """What a use was for."""

    text: str = Field(description=f"What happened, and what was done about it; at most {REVIEW_MAX:,}.")


@router.get("/v1/break-glass", summary="List emergency credentials", **decided("read", "break-glass"))
def list_credentials(deps: Deps) -> list[dict[str, Any]]:
    """Return every sealed credential and what became of it, the newest first. None of them is told."""
    return [_rendered(one) for one in _desk(deps).list_all()]


@router.post(
    "/v1/break-glass/seal",
    summary="Seal an emergency credential",
    status_code=201,
    **decided("admin", "break-glass"),
)
def seal(body: Reasoned, request: Request, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Return a credential to print and put away. It is told once, and the one before is void.

    `warning` says that the policies in force would not let it do anything.
    """
    with deps.ledger.entry(actor, body.reason) as entry:
        credential, row = _desk(deps).seal(entry, body.reason)
        guard_roles(request, deps, entry.tx)
    return {
        **_rendered(row),
        "credential": credential.reveal(),
        "url": f"{deps.desk.auth_origin}/break-glass",
        "warning": _useless(deps),
    }


@router.post(
    "/v1/break-glass/withdraw",
    summary="Withdraw the emergency credential",
    status_code=204,
    **decided("admin", "break-glass"),
)
def withdraw(body: Reasoned, deps: Deps, actor: Actor) -> None:
    """Make the sealed credential void: it was lost, or seen."""
    _desk(deps).withdraw(actor=actor, reason=body.reason)


@router.get("/v1/break-glass/{use}", summary="Show what a use did", **decided("read", "break-glass"))
def show_use(use: str, deps: Deps) -> dict[str, Any]:
    """Return a use with every decision and event of its hour, the oldest first."""
    found = _desk(deps).find(use)
    assert found.used_at is not None and found.ends_at is not None
    until = found.ends_at + 1.0
    decisions = JournalReader(deps.journal_root).search(
        JournalQuery(subject=PERSON, since=found.used_at, until=until, limit=DONE_MAX)
    )
    events = search(
        deps.journal_root,
        JournalQuery(kinds=(EVENTS,), actor=PERSON, since=found.used_at, until=until, limit=DONE_MAX),
    )
    return {
        **_rendered(found),
        "decisions": [render_decision(one) for one in reversed(decisions)],
        "events": [render_event(one) for one in reversed(events) if isinstance(one, EventRecord)],
    }


@router.post("/v1/break-glass/{use}/review", summary="Review a use", **decided("admin", "break-glass"))
def review(use: str, body: Review, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Say what a use was for. Its session ends, if it is still open."""
    return _rendered(_desk(deps).review(use, body.text, actor=actor))


def _desk(deps: AdminDeps) -> BreakGlassDesk:
    return BreakGlassDesk(deps.desk)


def _rendered(row: BreakGlass) -> dict[str, Any]:
    shown = msgspec.structs.asdict(row)
    del shown["hash"]
    state = "void" if row.voided_at else "sealed"
    if row.used_at is not None:
        state = "reviewed" if row.reviewed_at is not None else "to review"
    return {"state": state, **shown}


def _useless(deps: AdminDeps) -> str:
    """Return why the policies in force would let emergency access do nothing; empty when they let it."""
    policies, now = deps.authority.active().policies, deps.authority.now()
    subject = EntityRef("User", PERSON)
    session = SessionFacts("sealed", 1, False, (BREAK_GLASS_METHOD,), now, now, now + HOUR_S)
    for part in (part for part in PARTS if part.id in (POLICY, PEOPLE)):
        facts = deps.authority.ask(
            lambda replica, part=part: replica.facts(  # type: ignore[misc]
                subject, part, at=now, session=session, network=Network()
            )
        )
        request = AccessRequest(new_decision_id(now), now, subject, "admin", part)
        decision = decide(request, facts, policies)
        if not decision.allowed:
            named = f" ({', '.join(decision.policies)})" if decision.policies else ""
            return (
                f"The policies in force would not let it administer {part.id}: {decision.code}{named}. "
                "See the policy limen-break-glass, and the guardrails, of a bundle of `limen init`."
            )
    return ""

"""The audit log over the admin API: search of everything recorded, volume, legal holds."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import StringConstraints

from limen.administrator import holds
from limen.administrator.node_trust import forget_key
from limen.api.body import Body
from limen.api.decisions import render_decision
from limen.api.deps import Actor, AdminDeps, Deps, decided
from limen.api.events import render_event
from limen.core.record import EventRecord
from limen.journal.keys import Keys
from limen.journal.query import DECISIONS, EVENTS
from limen.journal.query import Query as JournalQuery
from limen.journal.search import Hit, search
from limen.journal.volume import Volume, by_app, by_label, by_person, count_volume
from limen.store.holds import list_holds

router = APIRouter(tags=["audit"])

Text = Annotated[str | None, Query(max_length=400)]
Reason = Annotated[str, StringConstraints(max_length=1000)]
MONTH_S = 31 * 86_400.0


class NewHold(Body):
    """A hold to add: on a person, or, without one, on everything."""

    person: str | None = None
    reason: Reason


class Trust(Body):
    """Why another key of a node is believed."""

    reason: Reason


class EndedHold(Body):
    """Why a hold ends."""

    reason: Reason


@router.get("/v1/audit/search", summary="Search the audit log", **decided("read", "decisions"))
def search_audit(
    deps: Deps,
    subject: Text = None,
    resource: Text = None,
    verdict: Text = None,
    code: Text = None,
    policy: Text = None,
    event: Text = None,
    address: Text = None,
    text: Text = None,
    node: Text = None,
    since: float | None = None,
    until: float | None = None,
    kind: Literal["all", "decisions", "events"] = "all",
    limit: int = Query(default=100, ge=1, le=10_000),
) -> list[dict[str, Any]]:
    """Return decisions and events that fit everything given, the newest last.

    `since` and `until` are Unix seconds; without `since`, a month back. `address` may be a network.
    """
    query = JournalQuery(
        subject=subject,
        resource=resource,
        verdict=verdict,
        code=code,
        policy=policy,
        event=event,
        address=address,
        text=text,
        node=node,
        since=deps.clock.now() - MONTH_S if since is None else since,
        until=until,
        kinds=(DECISIONS, EVENTS) if kind == "all" else (kind,),
        limit=limit,
    )
    return [_row(hit) for hit in reversed(search(deps.journal_root, query))]


@router.get("/v1/audit/volume", summary="Sum up volume", **decided("read", "decisions"))
def volume(
    deps: Deps, by: Literal["person", "app", "label"] = "app", since_s: float = Query(default=MONTH_S, gt=0)
) -> list[dict[str, Any]]:
    """Return requests and bytes, live streams included, by person, app or label, the greatest first."""
    found = count_volume(deps.journal_root, deps.clock.now() - since_s)
    if by == "person":
        sums = by_person(found, Keys.open(deps.journal_root))
    elif by == "app":
        sums = by_app(found)
    else:
        sums = by_label(found, lambda resource: _labels(deps, resource))
    ordered = sorted(sums.items(), key=lambda item: (-_bytes(item[1]), -item[1].requests, item[0]))
    return [{by: name, **msgspec.to_builtins(one)} for name, one in ordered]


@router.get("/v1/audit/holds", summary="List legal holds", **decided("read", "decisions"))
def list_all(deps: Deps, ended: bool = False) -> list[dict[str, Any]]:
    """Return the holds in force; with `ended`, those too that are over."""
    with deps.store.read() as connection:
        return [msgspec.to_builtins(hold) for hold in list_holds(connection, ended=ended)]


@router.post("/v1/audit/holds", summary="Add a legal hold", status_code=201, **decided("admin", "system"))
def add(body: NewHold, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Keep what is recorded of a person, or everything, from retention and erasure."""
    hold = holds.add_hold(deps.ledger, deps.journal_root, actor, body.reason, body.person)
    return dict(msgspec.to_builtins(hold))


@router.post("/v1/audit/holds/{hold}/end", summary="End a legal hold", **decided("admin", "system"))
def end(hold: str, body: EndedHold, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Let retention and erasure go on."""
    ended = holds.end_hold(deps.ledger, deps.journal_root, actor, body.reason, hold)
    return dict(msgspec.to_builtins(ended))


@router.post("/v1/audit/nodes/{node}/trust", summary="Trust a new key", **decided("admin", "system"))
def trust(node: str, body: Trust, deps: Deps, actor: Actor) -> dict[str, Any]:
    """Forget the key of a node whose own was lost or changed: the next that it shows is believed."""
    forgotten = forget_key(deps.ledger, deps.journal_root, node, actor=actor, reason=body.reason)
    return dict(msgspec.to_builtins(forgotten))


def _row(hit: Hit) -> dict[str, Any]:
    if isinstance(hit, EventRecord):
        return {"type": "event", **render_event(hit)}
    return {"type": "decision", **render_decision(hit)}


def _labels(deps: AdminDeps, resource: str) -> tuple[str, ...]:
    """Return the labels of a resource, those of its app included, as the bundle in force has them."""
    entities = deps.authority.active().entities
    app = resource.partition('::"')[2].removesuffix('"').partition("/")[0]
    found = {
        parent.id
        for ref, entity in entities.items()
        if str(ref) == resource or (ref.type == "App" and ref.id == app)
        for parent in entity.parents
        if parent.type == "Label"
    }
    return tuple(sorted(found)) or ("–",)


def _bytes(volume: Volume) -> int:
    return volume.bytes_in + volume.bytes_out

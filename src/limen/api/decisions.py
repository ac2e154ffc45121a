"""Recorded decisions over the admin API: search them, show one, derive it again."""

import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from limen.api.cut import cure_of
from limen.api.deps import Deps, decided
from limen.core.errors import LimenError
from limen.core.record import DecisionRecord
from limen.engine.bundle import parse_bundle
from limen.engine.policies import compile_policies
from limen.engine.replay import agrees, rederive
from limen.journal.follow import Follower
from limen.journal.query import Query as JournalQuery
from limen.journal.reader import Found, Joined, JournalReader

router = APIRouter(tags=["decisions"])
TAIL_EVERY_S = 0.25
RESOURCE = re.compile(r'(?:App|Route|Service|Client)::"([^"\\]+)"')


def of_resource(resource: str | None = None) -> str | None:
    """Return the resource whose decisions are sought."""
    return resource


def of_decision(decision: str, deps: Deps) -> str | None:
    """Return the resource that a decision was about."""
    try:
        asked = JournalReader(deps.journal_root).find(decision).decision.resource
    except LimenError:
        return None
    return RESOURCE.sub(r"\1", asked) if RESOURCE.fullmatch(asked) else None


@router.get("/v1/decisions", summary="Search decisions", **decided("read", "decisions", about=of_resource))
def search(
    deps: Deps,
    subject: str | None = None,
    resource: str | None = None,
    verdict: str | None = None,
    policy: str | None = None,
    text: str | None = None,
    code: str | None = None,
    address: str | None = None,
    node: str | None = None,
    since_s: float = 86_400,
    limit: int = Query(default=100, ge=1, le=10_000),
) -> list[dict[str, Any]]:
    """Return decisions that fit, the newest last."""
    query = JournalQuery(
        subject=subject,
        resource=resource,
        verdict=verdict,
        policy=policy,
        text=text,
        code=code,
        address=address,
        node=node,
        since=deps.clock.now() - since_s,
        limit=limit,
    )
    found = JournalReader(deps.journal_root).search(query)
    return [render_decision(joined) for joined in reversed(found)]


@router.get("/v1/decisions/tail", summary="Follow decisions", **decided("read", "decisions"))
def tail(deps: Deps) -> StreamingResponse:
    """Send each decision as it is made, one JSON object a line, until the caller leaves."""
    return StreamingResponse(_follow(Follower.from_now(deps.journal_root)), media_type="application/x-ndjson")


def _follow(journal: Follower) -> Iterator[bytes]:
    while True:
        lines = [
            msgspec.json.encode(render_decision(Joined(stored.record))) + b"\n"
            for stored in journal.poll()
            if isinstance(stored.record, DecisionRecord)
        ]
        yield b"".join(lines) or b"\n"  # an empty line shows whether the caller is still there
        time.sleep(TAIL_EVERY_S)


@router.get(
    "/v1/decisions/{decision}", summary="Show a decision", **decided("read", "decisions", about=of_decision)
)
def show(decision: str, deps: Deps) -> dict[str, Any]:
    """Return a decision with its outcome and reasons, and derive it again from its stored inputs."""
    found = JournalReader(deps.journal_root).find(decision)
    derived, why_not, reasons = _derive(found)
    return {
        "record": render_decision(Joined(found.decision, found.outcome)),
        "reasons": reasons,
        "derived": derived,
        "agrees": None if derived is None else derived["agrees"],
        "why_not_derived": why_not,
    }


def _derive(found: Found) -> tuple[dict[str, Any] | None, str, list[str]]:
    if not found.decision.inputs:
        return None, "The engine was not asked: the answer needed no policy.", []
    if found.inputs is None or found.bundle is None:
        return None, "Its inputs are no longer in the journal.", []
    if "resource" not in found.inputs.facts:
        return None, "What was known of this person was erased.", []
    try:
        bundle = parse_bundle(found.bundle.files)
    except LimenError as error:
        return None, f"Its bundle cannot be read by this release: {error.message}", []
    decision = rederive(found.decision, found.inputs, compile_policies(bundle))
    sentences = {policy.id: policy.reason for policy in bundle.policies}
    reasons = [sentences[policy] for policy in found.decision.policies if sentences.get(policy)]
    derived = {
        "verdict": decision.verdict,
        "code": decision.code,
        "policies": decision.policies,
        "agrees": agrees(found.decision, decision),
    }
    return derived, "", reasons


def render_decision(joined: Joined) -> dict[str, Any]:
    """Return a decision as listings have it: its fields, what Envoy saw, and what would let it live."""
    row = dict(msgspec.to_builtins(joined.decision))
    row.pop("type", None)
    if joined.outcome is not None:
        row["status"] = joined.outcome.status
        row["duration_ms"] = joined.outcome.duration_ms
        row["bytes_in"] = joined.outcome.bytes_in
        row["bytes_out"] = joined.outcome.bytes_out
        row |= {"details": joined.outcome.details} if joined.outcome.details else {}
    cure = cure_of(joined)
    if cure is not None:
        row["cut"] = cure
    return row

"""Replay over the admin API: recorded decisions derived again; told as it goes on, an object a line."""

from itertools import chain

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from limen.administrator.replaying import follow_replay
from limen.api.body import Body
from limen.api.deps import Deps, decided
from limen.api.lines import stream_lines

router = APIRouter(tags=["replay"])


class ReplayJob(Body):
    """What to derive again. Without `files`, each decision under the bundle that it was made under."""

    files: dict[str, str] | None = None
    since_s: float | None = Field(default=None, gt=0)


@router.post("/v1/replay", summary="Derive recorded decisions again", **decided("read", "decisions"))
def replay(body: ReplayJob, deps: Deps) -> StreamingResponse:
    """Send how far it is (`type: progress`), and at last what differs (`type: report`).

    A process of its own reads the journals, at low priority; it ends when the caller leaves.
    """
    since = None if body.since_s is None else deps.clock.now() - body.since_s
    messages = follow_replay(deps.journal_root, body.files, since)
    first = next(messages)  # a bundle that is none is refused here, as a problem document
    return stream_lines(chain((first,), messages))

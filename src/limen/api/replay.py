"""Replay over the admin API: recorded decisions derived again; told as it goes on, an object a line."""

from collections.abc import Iterator
from itertools import chain

import msgspec
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from limen.administrator.replaying import Progress, Report, follow_replay
from limen.api.body import Body
from limen.api.deps import Deps, decided
from limen.core.errors import LimenError

router = APIRouter(tags=["replay"])

NDJSON = "application/x-ndjson"


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
    return StreamingResponse(_lines(chain((first,), messages)), media_type=NDJSON)


def _lines(messages: Iterator[Progress | Report]) -> Iterator[bytes]:
    try:
        for message in messages:
            yield msgspec.json.encode(message) + b"\n"
    except LimenError as error:
        failed = {"type": "failed", "code": error.code, "message": error.message, "remedy": error.remedy}
        yield msgspec.json.encode(failed) + b"\n"

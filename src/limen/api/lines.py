"""Long work over the admin API: an answer of JSON lines that tells how far it is, and the outcome at last."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from fastapi.responses import StreamingResponse

from limen.api.client import FAILURE
from limen.core.errors import LimenError


def stream_lines(objects: Iterable[Any]) -> StreamingResponse:
    """Return an answer of one JSON object a line. What fails on the way is its last line."""
    return StreamingResponse(_encoded(objects), media_type="application/x-ndjson")


def _encoded(objects: Iterable[Any]) -> Iterator[bytes]:
    try:
        for one in objects:
            yield msgspec.json.encode(one) + b"\n"
    except LimenError as error:  # the answer has begun: its status says nothing any more
        said = {"type": FAILURE, "code": error.code, "message": error.message, "remedy": error.remedy}
        yield msgspec.json.encode(said) + b"\n"

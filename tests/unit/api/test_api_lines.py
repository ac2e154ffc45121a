"""An answer of JSON lines that fails on the way ends with why, and the client raises it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from limen.api.client import AdminClient
from limen.api.lines import stream_lines
from limen.core.errors import LimenError, Unavailable
from limen.core.secret import Secret


def words() -> Iterator[dict[str, Any]]:
    yield {"type": "step", "done": 1}
    raise Unavailable("The child died.", remedy="Try again.", code="GONE")


def test_what_fails_on_the_way_is_the_last_line_and_the_clients_error() -> None:
    app = FastAPI()
    app.add_api_route("/api/v1/work", lambda: stream_lines(words()))
    answer = TestClient(app).get("/api/v1/work")
    transport = httpx.MockTransport(lambda _: httpx.Response(answer.status_code, content=answer.content))
    found = AdminClient.remote("https://auth.corp.example", Secret("t"), transport).follow("/v1/work")
    assert next(found) == {"type": "step", "done": 1}
    with pytest.raises(LimenError, match="The child died") as refused:
        next(found)
    assert (refused.value.code, refused.value.remedy) == ("GONE", "Try again.")

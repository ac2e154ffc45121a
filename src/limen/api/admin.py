"""The admin API: one FastAPI application on a Unix socket. `describe` is its OpenAPI document."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limen import __version__
from limen.api import (
    decisions,
    events,
    gateways,
    grants,
    groups,
    people,
    policy,
    secrets,
    sessions,
    streams,
    system,
)
from limen.api.deps import AdminDeps
from limen.api.problems import install_problems

COMMITTED_AT = b"x-limen-committed-at"


def create_admin(deps: AdminDeps | None) -> FastAPI:
    """Return the application. Without parts it can describe itself, and nothing else."""
    app = FastAPI(title="Limen admin API", version=__version__, docs_url=None, redoc_url=None)
    app.state.deps = deps
    install_problems(app)
    for module in (
        *(system, people, groups, grants, policy, sessions),
        *(decisions, events, secrets, streams, gateways),
    ):
        app.include_router(module.router)
    if deps is not None:
        app.add_middleware(CommitStamp, committed_at=deps.committed_at)
    return app


class CommitStamp:
    """Tells in each answer when the last change was committed: what `limen conformance` measures from."""

    def __init__(self, app: ASGIApp, committed_at: Callable[[], float]) -> None:
        self._app = app
        self._committed_at = committed_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                stamp = f"{self._committed_at():.6f}".encode()
                message["headers"] = [*message.get("headers", ()), (COMMITTED_AT, stamp)]
            await send(message)

        await self._app(scope, receive, stamped)


def describe() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return create_admin(None).openapi()

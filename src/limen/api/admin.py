"""The admin API: one FastAPI application, on a Unix socket. `describe` is its OpenAPI document.

`limen.api.remote` serves the same to workloads that call from elsewhere.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limen import __version__
from limen.api import (
    audit,
    break_glass,
    clients,
    complaints,
    decisions,
    events,
    gateways,
    governance,
    grants,
    groups,
    identity,
    notices,
    people,
    policy,
    recovery,
    replay,
    rollout,
    saml,
    scim,
    secrets,
    sessions,
    shadow,
    sinks,
    sources,
    streams,
    subjects,
    system,
    workload_keys,
    workloads,
)
from limen.api.deps import MARK, AdminDeps, Identify, find_host_user
from limen.api.problems import install_problems

COMMITTED_AT = b"x-limen-committed-at"


def create_admin(
    deps: AdminDeps | None, identify: Identify = find_host_user, *, only_decided: bool = False
) -> FastAPI:
    """Return the application. Without parts it can describe itself, and nothing else.

    With `only_decided` it has no route that no decision guards: no health, no metrics, no description.
    """
    about = None if only_decided else "/openapi.json"
    app = FastAPI(
        title="Limen admin API", version=__version__, docs_url=None, redoc_url=None, openapi_url=about
    )
    app.state.deps = deps
    app.state.identify = identify
    install_problems(app)
    for module in (
        *(system, people, groups, grants, policy, sessions),
        *(decisions, complaints, rollout, events, secrets, streams, gateways, workloads, governance),
        *(replay, shadow, sinks),
        *(audit, subjects),
        break_glass,
        *(sources, identity, scim, saml),
        *(recovery, notices),
        workload_keys,
        clients,
    ):
        app.include_router(decided_part(module.router) if only_decided else module.router)
    if deps is not None:
        app.add_middleware(CommitStamp, committed_at=deps.committed_at)
    return app


def decided_part(router: APIRouter) -> APIRouter:
    """Return those of a router's routes that a decision guards."""
    part = APIRouter()
    part.routes[:] = [
        route
        for route in router.routes
        if isinstance(route, APIRoute) and MARK in (route.openapi_extra or {})
    ]
    return part


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

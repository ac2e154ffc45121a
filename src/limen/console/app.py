"""The console: everything that control answers to browsers, as one ASGI application.

Law: Z1 an empty system answers nothing but its first administrator's link (and the files its pages need).
    The admin API below `/api` knows no workload then, as there is nobody to own one.
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from limen.administrator import links
from limen.console import (
    account_routes,
    answers,
    break_glass_routes,
    callback,
    complaint_routes,
    connect_routes,
    enrol_routes,
    identity_routes,
    invited_routes,
    oauth_program_routes,
    oauth_routes,
    oidc_routes,
    recovery_routes,
    saml_idp_routes,
    saml_routes,
    sign_in_routes,
    step_up_routes,
    system_routes,
)
from limen.console.deps import ConsoleDeps, Parts
from limen.console.destinations import HOME, Target
from limen.console.guard import Caller, SignInWanted, unavailable
from limen.console.hosts import HostGate
from limen.core.errors import Conflict, Invalid, LimenError, NotFound, Refused, Unavailable

STATUS: tuple[tuple[type[LimenError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 400),
    (Refused, 403),
    (Unavailable, 503),
    (LimenError, 400),
)

OPEN_WHEN_EMPTY = ("/enrol/", "/.limen/static/")

AUTH_ROUTERS = (
    system_routes.static,
    system_routes.public,
    sign_in_routes.router,
    step_up_routes.router,
    oidc_routes.router,
    identity_routes.router,
    saml_routes.router,
    saml_idp_routes.router,
    enrol_routes.router,
    recovery_routes.router,
    account_routes.router,
    connect_routes.router,
    oauth_routes.router,
    oauth_program_routes.router,
    complaint_routes.router,
    break_glass_routes.router,
    invited_routes.router,
)
APP_ROUTERS = (system_routes.static, callback.router)
INTERNAL_ROUTERS = (system_routes.internal, system_routes.public)


def create_console(deps: ConsoleDeps) -> FastAPI:
    """Return the application for `control.sock`. Its `state.parts` holds the services it is made of.

    `state.gate.mount` takes other applications in, such as the admin API.
    """
    parts = Parts(deps)
    gate = HostGate(
        deps.catalogue,
        auth=_face(parts, AUTH_ROUTERS, gated=True),
        apps=_face(parts, APP_ROUTERS, gated=True),
        internal=_face(parts, INTERNAL_ROUTERS, gated=False),
    )
    console = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    console.state.parts = parts
    console.state.gate = gate
    console.mount("/", gate)
    return console


def _face(parts: Parts, routers: tuple[APIRouter, ...], *, gated: bool) -> FastAPI:
    face = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    face.state.parts = parts
    for router in routers:
        face.include_router(router)
    face.add_exception_handler(LimenError, _refuse)
    face.add_exception_handler(SignInWanted, _ask_to_sign_in)
    face.add_exception_handler(RequestValidationError, _malformed)
    face.add_exception_handler(HTTPException, _http)
    if gated:
        face.middleware("http")(_EmptyGate(parts))
    return face


class _EmptyGate:
    """Law Z1. Nobody is ever deleted, so a system that has people is not asked again."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._empty = True

    async def __call__(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if self._empty:
            self._empty = await run_in_threadpool(links.is_empty, self._parts.desk)
        if self._empty and not request.url.path.startswith(OPEN_WHEN_EMPTY):
            return await run_in_threadpool(_render, request, unavailable())
        return await call_next(request)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, LimenError)
    return await run_in_threadpool(_render, request, error)


async def _malformed(request: Request, _: Exception) -> Response:
    error = Invalid("This request is not well formed.", remedy="Go back, and try again.")
    return await run_in_threadpool(_render, request, error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    found = NotFound("There is nothing at this address.", remedy="Go to your apps.")
    return await run_in_threadpool(_render, request, found, error.status_code)


def _render(request: Request, error: LimenError, status: int | None = None) -> Response:
    status = status or next(status for kind, status in STATUS if isinstance(error, kind))
    caller = Caller(request)
    if caller.wants_json:
        body = {
            "error": f"{error.message} {error.remedy}".strip(),
            "code": error.code,
            "detail": error.message,
        }
        return answers.json_answer(caller, body, status)
    auth_url = caller.parts.desk.auth_origin
    home = {"url": f"{auth_url}/", "label": "Go to my apps", "method": "get"}
    other = {"url": f"{auth_url}/login", "label": "Sign in another way", "method": "get"}
    gone = [other] if error.code == "UPSTREAM_UNAVAILABLE" else []
    title, _, more = error.message.partition(". ")  # one sentence is a heading; the rest is not
    return answers.message(
        caller,
        title.rstrip("."),
        *([more] if more else []),
        error.remedy or "Try again.",
        status=status,
        actions=gone if status == 503 else [home],
        door="closed" if status == 503 else "ajar",
        auth_url=auth_url if "limen.app" in request.scope else "",
    )


async def _ask_to_sign_in(request: Request, _: Exception) -> Response:
    return await run_in_threadpool(_sign_in_first, request)


def _sign_in_first(request: Request) -> Response:
    caller = Caller(request)
    if caller.wants_json:
        body = {"error": "Sign in first.", "code": "NO_SESSION", "detail": "Sign in first."}
        return answers.json_answer(caller, body, 401)
    target = Target(path=request.url.path) if request.method == "GET" else HOME
    return answers.redirect(answers.with_flow("/login", target))

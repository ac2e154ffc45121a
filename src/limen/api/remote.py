"""The admin API from elsewhere: the same calls, below `/api` of the sign-in host, by a token.

A program calls with a workload's token. A person calls with the token of `limen login`, which is a child of
their session: what that session has proven is what the engine sees, so guardrails about factors and fresh
sign-ins hold here as at any app, and a denial says which sign-in would cure it. Tokens for apps open nothing
here.

Nothing but `Authorization: Bearer` is a credential here: no cookie, no query. So there is nothing that a
page of another site could ride on. The token is looked at before a byte of the body is read. Each call is
then decided by the engine as that person or workload, and recorded with the address that it came from.

Laws:
    A1 only what is decided. A route that no decision guards (health, metrics, the description) is not here.
    A2 the door decides. Who calls is what the token proves, whatever else the request says.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limen.administrator.replica import session_facts
from limen.administrator.sessions import Sessions
from limen.administrator.workloads import TokenRefused, Workloads
from limen.api.admin import create_admin
from limen.api.deps import AdminDeps, Caller
from limen.api.door import read_address, read_bearer
from limen.api.problems import problem
from limen.core.errors import Invalid, LimenError
from limen.core.ids import EntityRef

BODY_MAX_BYTES = 16 * 1024 * 1024  # a bundle; 5,000 people as CSV are 1 MB
CALLER = "limen.caller"
SESSION_TOKEN = "l1."  # noqa: S105 - how tokens of sessions begin (`core.tokens`)


def create_remote(deps: AdminDeps) -> ASGIApp:
    """Return the application that the sign-in host serves below `/api`."""
    app = create_admin(deps, _find_caller, only_decided=True)
    app.router.redirect_slashes = False
    return TokenGate(app, deps.workloads, deps.desk.sessions)


def _find_caller(request: Request) -> Caller:
    caller = request.scope[CALLER]
    assert isinstance(caller, Caller)
    return caller


class TokenGate:
    """Lets in whoever a token proves to be a person or a workload, and bounds bodies."""

    def __init__(self, app: ASGIApp, workloads: Workloads, sessions: Sessions) -> None:
        self._app = app
        self._workloads = workloads
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        headers = Headers(scope=scope)
        try:
            scope = {**scope, CALLER: await self._identify(headers)}
        except LimenError as refused:
            await _refuse(refused)(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY_MAX_BYTES:
            await _too_large()(scope, receive, send)
            return
        await self._app(scope, _bounded(receive), send)

    async def _identify(self, headers: Headers) -> Caller:
        return await run_in_threadpool(self._caller, read_bearer(headers), _address(headers))

    def _caller(self, token: str, ip: str) -> Caller:
        """Return whom a token proves.

        Raises:
            TokenRefused: nobody. Whoever it is, the engine decides what they may.
        """
        program = self._sessions.find_program(token) if token.startswith(SESSION_TOKEN) else None
        if program is not None:
            session, _ = program
            self._sessions.see(session)
            facts = session_facts(session.render_fact())
            return Caller(EntityRef("User", session.person), session.person, ip, facts)
        try:
            workload, proven = self._workloads.identify(token, ip)
        except TokenRefused as refused:
            if token.startswith(SESSION_TOKEN) and not refused.wait_s:
                refused.message = "This sign-in is over, or its token is none of `limen login`."
                refused.remedy = "Log in again: `limen login`."
            raise
        return Caller(workload, f"workload:{workload.id}", ip, proven)


def _address(headers: Headers) -> str:
    found = read_address(headers)
    if found is None:
        raise Invalid("This call did not come through a gateway.", remedy="Call the sign-in host by HTTPS.")
    return found


def _bounded(receive: Receive) -> Callable[[], Awaitable[Message]]:
    """Pass a body on up to its bound; what is over it ends the request as a broken one."""
    seen = 0

    async def part() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= BODY_MAX_BYTES else {"type": "http.disconnect"}

    return part


def _refuse(error: LimenError) -> JSONResponse:
    wait_s = error.wait_s if isinstance(error, TokenRefused) else 0.0
    status = 429 if wait_s else 401 if isinstance(error, TokenRefused) else 400
    answer = problem(status, error)
    if wait_s:
        answer.headers["retry-after"] = f"{wait_s:.0f}"
    elif status == 401:
        answer.headers["www-authenticate"] = 'Bearer realm="limen"'
    return answer


def _too_large() -> JSONResponse:
    said = f"The body is larger than {BODY_MAX_BYTES} bytes."
    return problem(413, LimenError(said, remedy="Send less at once.", code="TOO_LARGE"))

"""SCIM 2.0 below `/scim/v2` of the sign-in host: one bearer token per client, and nothing else opens it.

The token is looked at before a byte of the body is read. Requests are answered on threads of their own, a few
at a time, and the writes of one client one after the other, as most clients send them anyway.

Laws:
    O1 one answer: whoever has no token that counts reads 401 and the same words, whatever the reason.
    O2 not first: a system without people answers nothing here; its first administrator comes first.
    O3 nothing of ours shows: an error that is not the client's says so, and no more.
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import anyio
import msgspec
import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from limen.administrator import links
from limen.administrator.desk import Desk
from limen.administrator.scim_clients import ScimClients
from limen.administrator.upstream_groups import settle_listed
from limen.administrator.workloads import TokenRefused
from limen.api.door import read_address, read_bearer
from limen.core.errors import LimenError
from limen.core.identity_config import ScimConfig

if TYPE_CHECKING:
    from scim2_server.requests import ScimRequest
    from scim2_server.responses import ScimResponse

    from limen.administrator.scim_service import ClientService

PATH = "/scim/v2"
MEDIA_TYPE = "application/scim+json"
ERROR_URN = "urn:ietf:params:scim:api:messages:2.0:Error"

AT_ONCE = 4  # requests that are worked on; the others wait
BODY_S = 30.0  # within which a body must have come
READS = frozenset({"GET", "HEAD"})

_log = structlog.get_logger("limen.scim")


class ScimDoor:
    """The application that the sign-in host serves below `/scim/v2`.

    Args:
        settle: called after a write: what others wait for from this source.
    """

    def __init__(self, desk: Desk, clients: ScimClients, settle: Callable[[], object] = lambda: None) -> None:
        self._desk = desk
        self._clients = clients
        self._settle = settle
        self._limiter: anyio.CapacityLimiter | None = None
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._empty = True
        self._service: ClientService | None = None

    def sweep(self) -> None:
        """Forget tokens that have long been over."""
        self._clients.sweep()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self._answer(scope, receive)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = Headers(scope=scope)
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)
        ip = read_address(headers)
        if ip is None:
            return _error(400, "This call did not come through a gateway.")
        try:
            config = await anyio.to_thread.run_sync(self._admit, read_bearer(headers), ip)
        except TokenRefused as refused:
            return _refuse(refused)
        except LimenError as error:
            return _error(503, error.message)
        body = await _read(headers, receive)
        if isinstance(body, Response):
            return body
        turn = None if _only_reads(scope) else self._turns[config.name]
        async with turn or contextlib.nullcontext():
            work = partial(self._work, scope, headers, body, config, ip)
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    # --- on a thread -----------------------------------------------------------------------------------

    def _admit(self, token: str, ip: str) -> ScimConfig:
        config = self._clients.authenticate(token, ip)
        if self._empty:
            self._empty = links.is_empty(self._desk)
        if self._empty:
            raise LimenError("This system has no administrator yet.", code="EMPTY")
        return config

    def _work(self, scope: Scope, headers: Headers, body: bytes, config: ScimConfig, ip: str) -> Response:
        from scim2_models import SCIMException
        from scim2_server.requests import ScimRequest

        from limen.administrator.scim_service import ClientHandler
        from limen.administrator.scim_storage import ClientStorage

        service = self._ready()
        request = ScimRequest(
            method=scope["method"],
            base_url=f"{self._desk.auth_origin}{PATH}",
            path=scope["path"][len(PATH) :].removesuffix(".scim") or "/",
            query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
            headers=list(headers.items()),
            body=body,
            subject=config.name,
        )
        handler = ClientHandler(service, ClientStorage(self._desk, config, ip))
        try:
            return _render(self._serve(handler.handle, request))
        except SCIMException as refused:
            return _render(service.error_response(refused))
        except LimenError as error:
            return _error(503, f"{error.message} {error.remedy}".strip())
        except RecursionError:
            return _error(400, "The request nests too deeply.", "invalidSyntax")
        except Exception as error:
            _log.error("scim.failed", method=request.method, why=type(error).__name__, exc_info=error)
            return _error(500, "Limen could not do this. Its log says why.")

    def _serve(
        self, handle: "Callable[[ScimRequest], ScimResponse]", request: "ScimRequest"
    ) -> "ScimResponse":
        answer = handle(request)
        if request.method not in READS:
            self._settle()
        return answer

    def _ready(self) -> "ClientService":
        """Return the service; its schemas become models at the first request, which takes half a second."""
        from limen.administrator.scim_service import ClientService

        if self._service is None:
            secret = hmac.digest(self._desk.key, b"scim cursors", hashlib.sha256)
            self._service = ClientService(secret)
        return self._service


def create_scim(desk: Desk) -> ScimDoor:
    """Return the application, which tells whoever waits for a SCIM client's word that there is news."""
    return ScimDoor(desk, ScimClients(desk), lambda: settle_listed(desk.ledger, desk.catalogue()))


def _only_reads(scope: Scope) -> bool:
    return scope["method"] in READS or str(scope["path"]).endswith("/.search")


def _render(answer: "ScimResponse") -> Response:
    content = b"" if answer.body is None else msgspec.json.encode(answer.body)
    headers = {"cache-control": "no-store", **{name.lower(): text for name, text in answer.headers.items()}}
    media_type = headers.pop("content-type", MEDIA_TYPE)
    return Response(content, int(answer.status), headers, media_type if content else None)


def _error(status: int, detail: str, scim_type: str = "", **headers: str) -> Response:
    body: dict[str, Any] = {"schemas": [ERROR_URN], "status": str(status), "detail": detail}
    if scim_type:
        body["scimType"] = scim_type
    return Response(msgspec.json.encode(body), status, {"cache-control": "no-store", **headers}, MEDIA_TYPE)


def _refuse(refused: TokenRefused) -> Response:
    """Law O1."""
    if refused.wait_s:
        return _error(
            429, "Too many tokens from this address were refused.", **{"retry-after": f"{refused.wait_s:.0f}"}
        )
    return _error(401, refused.message, **{"www-authenticate": 'Bearer realm="scim"'})


async def _read(headers: Headers, receive: Receive) -> bytes | Response:
    """Return the body, or the answer to one that is too large or does not come."""
    from limen.administrator.scim_models import BODY_MAX_BYTES

    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > BODY_MAX_BYTES:
        return _error(413, f"The body is larger than {BODY_MAX_BYTES} bytes.")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return _error(400, "The body broke off.")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_MAX_BYTES:
                    return _error(413, f"The body is larger than {BODY_MAX_BYTES} bytes.")
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        return _error(408, "The body did not come.")

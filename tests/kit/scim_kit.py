"""A SCIM client over httpx, and a console in process with SCIM clients to be."""

import asyncio
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from identity_world import AUTH, World
from scim2_client.client import BaseSyncSCIMClient

from limen.administrator.scim_clients import ScimClients
from limen.api import scim_door
from limen.core.identity_config import ScimConfig, SourcesConfig

BASE = f"{AUTH}{scim_door.PATH}"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
PEER = {"x-limen-peer": "192.0.2.7"}


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


class InProcess(httpx.BaseTransport):
    """Brings requests to an application on one loop for all, cheaper than starlette's client."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        return asyncio.run_coroutine_threadsafe(self._send(request), _loop()).result(60)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        body, told = request.read(), dict[str, Any]()
        parts: list[bytes] = []
        path, _, query = request.url.raw_path.partition(b"?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method,
            "scheme": "https", "path": request.url.path, "raw_path": path, "query_string": query,
            "root_path": "", "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 443),
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                told.update(message)
            else:
                parts.append(message.get("body", b""))

        await self._app(scope, receive, send)
        return httpx.Response(told["status"], headers=told["headers"], content=b"".join(parts))


def in_process(app: Any, base_url: str = BASE, **headers: str) -> httpx.Client:
    """Return a way to an application."""
    return httpx.Client(transport=InProcess(app), base_url=base_url, headers={**PEER, **headers})


class HttpxScimClient(BaseSyncSCIMClient):
    """scim2-client's own client speaks through httpx2; this is the same through httpx."""

    def __init__(self, http: httpx.Client) -> None:
        super().__init__()
        self.http = http

    def _stays_under_base_url(self, endpoint: str) -> bool:
        return str(self.http.build_request("GET", endpoint).url).startswith(str(self.http.base_url))

    def _parse_json(self, response: Any) -> Any:
        return response.json()

    def request(self, method: str, url: str, **kwargs: Any) -> Any:
        return self.http.request(method, url, **kwargs)


class ScimWorld(World):
    """A console with somebody in it, and the SCIM clients `okta` and `entra`, or others."""

    def __init__(self, folder: Path, *clients: ScimConfig, **more: Any) -> None:
        super().__init__(folder, **more)
        self.set_clients(*(clients or (ScimConfig("okta"), ScimConfig("entra"))))
        self.add("root")
        self.clients = ScimClients(self.parts.desk)
        self.door = scim_door.create_scim(self.parts.desk)
        self.console.state.gate.mount(scim_door.PATH, self.door)

    def set_clients(self, *clients: ScimConfig) -> None:
        """Say which SCIM clients the bundle has."""
        self.catalogue = msgspec.structs.replace(self.catalogue, sources=SourcesConfig(scim=clients))

    def token(self, client: str = "okta", life_s: float = 86_400.0) -> str:
        """Return a new token of a client."""
        made, _ = self.clients.issue(client, label="test", life_s=life_s, actor="test", reason="")
        return made.reveal()

    def http(self, client: str = "okta") -> "ScimHttp":
        """Return a client's way in."""
        return ScimHttp(self, self.token(client))


class ScimHttp:
    """Requests of one client."""

    def __init__(self, world: World, token: str) -> None:
        self.http = in_process(world.console, authorization=f"Bearer {token}")

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Send one request."""
        return self.http.request(method, path, json=body, **more)

    def make(self, user_name: str, **more: Any) -> dict[str, Any]:
        """Make a person."""
        answer = self.call("POST", "/Users", {"schemas": [USER], "userName": user_name, **more})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def group(self, name: str, *members: str) -> dict[str, Any]:
        """Make a group."""
        listed = [{"value": one} for one in members]
        answer = self.call("POST", "/Groups", {"schemas": [GROUP], "displayName": name, "members": listed})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def patch(self, path: str, *operations: dict[str, Any], **more: Any) -> httpx.Response:
        """Send a PATCH."""
        return self.call("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, **more)

    def find(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return what a search finds."""
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["Resources"])


class Served:
    """A console on a loopback port, as the gateway would bring requests to it."""

    def __init__(self, world: World) -> None:
        self._world = world
        config = uvicorn.Config(self._app, port=0, log_level="error", lifespan="off", interface="asgi3")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        named = [(name, value) for name, value in scope["headers"] if name not in (b"host", b"x-limen-peer")]
        own = [(b"host", httpx.URL(AUTH).netloc), (b"x-limen-peer", b"192.0.2.8")]
        await self._world.console({**scope, "headers": named + own}, receive, send)

    def __enter__(self) -> str:
        """Serve; return the address of `/scim/v2`."""
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}{scim_door.PATH}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)

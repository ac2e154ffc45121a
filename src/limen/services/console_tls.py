"""The console for gateways on other machines: their Envoys reach it over the same mutual TLS as the feed.

A gateway's certificate opens the door to the pages, and is nobody's session: it says which Envoy asks,
as control's own Unix socket does on one machine. Each request is admitted anew, so a gateway that was
removed is refused on the connection that it has. What control's own socket answers to the host alone
(health, metrics) is not here: only requests that a gateway's Envoy has marked with their client's address.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from limen.administrator.gateway_ca import RENEW_AT, GatewayCertificate, parse_gateway_certificate
from limen.console.guard import PEER
from limen.core.clock import Clock
from limen.core.errors import Refused
from limen.services.control_tls import HANDSHAKE_TIMEOUT_S, ControlTls
from limen.services.serving import BACKLOG, STOP_S, QuietServer

CERTIFICATE = "limen.gateway"
RECONNECT_AFTER = (1 + RENEW_AT) / 2  # of a certificate's life: by then its gateway has a new one

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class GatewayProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which notes whose certificate the connection has."""

    certificate: GatewayCertificate | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the certificate, once a connection."""
        super().connection_made(transport)
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        try:
            self.certificate = parse_gateway_certificate(shown or b"")
        except Refused:
            transport.close()

    def on_message_begin(self) -> None:
        """Hand it to the application."""
        super().on_message_begin()
        scope: Scope = self.scope  # type: ignore[assignment]  # uvicorn types it closed
        scope[CERTIFICATE] = self.certificate


class GatewaysOnly:
    """An ASGI application that is served to admitted gateways alone."""

    def __init__(self, app: Any, admit: Callable[[GatewayCertificate], None], clock: Clock) -> None:
        self._app, self._admit, self._clock = app, admit, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        certificate = scope.get(CERTIFICATE)
        try:
            if certificate is None or PEER.encode() not in dict(scope["headers"]):
                raise Refused("No gateway's certificate was shown, or no Envoy of a gateway asks.")
            await asyncio.to_thread(self._admit, certificate)
        except Refused:
            await _refuse(send)
            return
        life_s = certificate.expires_at - certificate.issued_at
        if self._clock.now() - certificate.issued_at < RECONNECT_AFTER * life_s:
            await self._app(scope, receive, send)
            return

        async def send_closing(message: MutableMapping[str, Any]) -> None:
            """Have Envoy connect again, with the certificate that it has by now."""
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_closing)


class TlsServer(QuietServer):
    """uvicorn, but a stranger who connects and does not shake hands is dropped as soon as at the feed."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. uvicorn's own leaves the handshake the loop's minute."""
        await self.lifespan.startup()
        loop, config = asyncio.get_running_loop(), self.config

        def make() -> asyncio.Protocol:
            state, app_state = self.server_state, self.lifespan.state
            return GatewayProtocol(config=config, server_state=state, app_state=app_state)

        self.servers = [
            await loop.create_server(
                make,
                sock=one,
                ssl=config.ssl,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                backlog=config.backlog,
            )
            for one in sockets or ()
        ]
        self.started = True


class TlsConsole:
    """The console on `host:port`. `port` says where, also when it was to take a free one."""

    def __init__(
        self,
        app: Any,
        tls: ControlTls,
        admit: Callable[[GatewayCertificate], None],
        clock: Clock,
        *,
        host: str,
        port: int,
    ) -> None:
        self._host = host
        self.port = port
        config = uvicorn.Config(
            GatewaysOnly(app, admit, clock),
            http=GatewayProtocol,
            loop="none",
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_S,
            ssl_context_factory=lambda _config, _default: tls.console,
        )
        self._server = TlsServer(config)
        self._task: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        """Listen, and serve until `stop`."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.create_server(
            (self._host, self.port), family=family, backlog=BACKLOG, reuse_port=False
        )
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name="serve-console-tls")
        await asyncio.wait((self._task,), timeout=0)  # what fails at once shows here
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Finish what is under way, and stop."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": b"This gateway is not admitted.\n"})

"""The change feed for gateways on other machines, and their journals: TLS 1.3, certificates, the way to one.

Whoever connects is one of two: a gateway with a certificate of our CA, whose name is what the certificate
says; or somebody without one, who may say a single line, to ask for the CA or to join with a token.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Coroutine

import msgspec
import structlog

from limen.administrator.feed_lines import BUFFER_BYTES, LineReader, drop, send_line
from limen.administrator.feed_wire import FIRST_LINE_MAX_BYTES, Bye, Signed, render_line
from limen.administrator.gateway_ca import GatewayCa, GatewayCertificate, parse_gateway_certificate
from limen.administrator.gateway_desk import GatewayDesk
from limen.administrator.join_wire import CaIs, FetchCa, parse_from_joiner
from limen.administrator.ship_wire import is_ship_line
from limen.core.clock import Clock
from limen.core.errors import LimenError, Refused
from limen.core.ids import Instant
from limen.services.control_tls import HANDSHAKE_TIMEOUT_S, ControlTls
from limen.services.feed import FeedServer
from limen.services.feed_line import HELLO_TIMEOUT_S
from limen.services.ship_server import ShipServer

STRANGERS_MAX = 64  # connections whose first line is awaited
REFRESH_EVERY_S = 3600.0

log = structlog.get_logger("limen.feed")


class TlsPeer:
    """A gateway with a certificate."""

    protocol_oldest = 2  # there was no TLS with protocol 1, so nothing can be talked down to it

    def __init__(
        self,
        certificate: GatewayCertificate,
        address: str,
        desk: GatewayDesk,
        sign_leaf: Callable[[str], tuple[str, str]],
    ) -> None:
        self._certificate, self._desk, self._sign_leaf = certificate, desk, sign_leaf
        self.node: str | None = certificate.node
        self.address = address

    @property
    def expires_at(self) -> Instant | None:
        """When its newest certificate ends."""
        return self._certificate.expires_at

    def admit(self) -> None:
        """Raise `Refused` if its certificate counts no longer."""
        self._desk.admit(self._certificate)

    def renew(self, csr: str) -> Signed:
        """Sign its next certificate, which this connection has from now on."""
        issued = self._desk.renew(self._certificate, csr)
        self._certificate = msgspec.structs.replace(
            self._certificate, serial=issued.serial, expires_at=issued.expires_at
        )
        return Signed(0, issued.chain, issued.ca)

    def sign_leaf(self, csr: str) -> Signed:
        """Sign a certificate of the catalogue's hosts by the development CA."""
        self.admit()
        chain, ca = self._sign_leaf(csr)
        return Signed(0, chain, ca)


class FeedTls:
    """Serves the feed on `host:port`.

    Attributes:
        port: where it listens, also when it was to take a free one.
    """

    def __init__(
        self,
        feed: FeedServer,
        desk: GatewayDesk,
        ca: GatewayCa,
        tls: ControlTls,
        clock: Clock,
        *,
        host: str,
        port: int,
        sign_leaf: Callable[[str], tuple[str, str]],
        ships: ShipServer | None = None,
    ) -> None:
        self._feed, self._desk, self._ca, self._tls, self._clock = feed, desk, ca, tls, clock
        self._host, self._sign_leaf, self._ships = host, sign_leaf, ships
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers = 0
        self.port = port

    async def start(self) -> None:
        """Begin to serve."""
        self._server = await asyncio.start_server(
            self._accept,
            self._host,
            self.port,
            ssl=self._tls.feed,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            limit=BUFFER_BYTES,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._keep(self._refresh())

    async def stop(self) -> None:
        """Stop serving and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(self._serve(reader, writer))

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            self._tls.refresh()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = _address(writer)
        lines = LineReader(reader, max_bytes=FIRST_LINE_MAX_BYTES, silence_s=HELLO_TIMEOUT_S)
        first = await self._first_line(lines)
        if first is None:
            drop(writer)
            return
        shown = _shown(writer)
        try:
            if shown is None:
                await self._welcome(first, writer, address)
                return
            peer = TlsPeer(parse_gateway_certificate(shown), address, self._desk, self._sign_leaf)
        except LimenError as error:
            log.warning("feed.stranger_refused", address=address, code=error.code, why=error.message)
            await _say(writer, Bye(error.message, error.code, error.remedy))
            return
        if self._ships is not None and is_ship_line(first):
            await self._ships.serve(first, lines, writer, peer)
        else:
            await self._feed.serve(first, lines, writer, peer)

    async def _first_line(self, lines: LineReader) -> bytes | None:
        if self._strangers >= STRANGERS_MAX:
            return None
        self._strangers += 1
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                return await lines.line()
        except (OSError, LimenError):
            return None
        finally:
            self._strangers -= 1

    async def _welcome(self, first: bytes, writer: asyncio.StreamWriter, address: str) -> None:
        """Answer the one line of who has no certificate."""
        request = parse_from_joiner(first)
        if isinstance(request, FetchCa):
            await _say(writer, CaIs(self._ca.pem))
            return
        welcome = await asyncio.to_thread(self._desk.join, request, address=address)
        log.info("feed.gateway_joined", node=welcome.node, address=address)
        # Whoever had the name until now is another machine, or has no use for its connection.
        self._feed.disconnect(welcome.node, _replaced())
        if self._ships is not None:
            self._ships.disconnect(welcome.node)
        await _say(writer, welcome)


async def _say(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    """Send a last line, and end the connection."""
    with contextlib.suppress(OSError, LimenError):
        await send_line(writer, render_line(message), stall_s=HELLO_TIMEOUT_S)
        writer.close()
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            await writer.wait_closed()
    drop(writer)


def _shown(writer: asyncio.StreamWriter) -> bytes | None:
    """Return the certificate that the client showed and TLS verified (DER)."""
    secured = writer.get_extra_info("ssl_object")
    assert isinstance(secured, ssl.SSLObject), "this server speaks TLS alone"
    return secured.getpeercert(binary_form=True)


def _address(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if peer else "?"


def _replaced() -> Refused:
    return Refused(
        "Another machine has joined under this name.", remedy="Join it again.", code="GATEWAY_REMOVED"
    )

"""Streams as clients hold them open: each notes its last byte and its end, on this process's own clock.

Plain and bare on purpose: what is measured is the gateway, so nothing here waits, retries or buffers.
"""

import asyncio
import base64
import os
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import msgspec

from limen.core.errors import Unavailable

OPEN_TIMEOUT_S = 30.0
STREAMS_PER_CONNECTION = 90  # below the gateway's 100
WINDOW_BYTES = 1 << 20


class Door(msgspec.Struct, frozen=True):
    """One gateway's public face, and what is behind it for a conformance run."""

    name: str
    address: str
    port: int
    app_host: str
    service_host: str
    contexts: Mapping[str, ssl.SSLContext]  # by ALPN protocol: http/1.1, h2
    ca_file: str = ""

    def authority(self, host: str) -> str:
        """Return a host as it stands in a request through this door."""
        return host if self.port == 443 else f"{host}:{self.port}"

    def at(self, place: str) -> "Door":
        """Return the same gateway's face of another app and service of the run."""
        if not place:
            return self
        name, _, domain = self.app_host.partition(".")
        app = f"{name}-{place}"
        return msgspec.structs.replace(self, app_host=f"{app}.{domain}", service_host=f"{app}-tcp.{domain}")


class Stream:
    """One live stream. `opened_at`, `last_byte_at` and `closed_at` are Unix seconds; 0 is never."""

    def __init__(self, kind: str, door: Door, holder: str) -> None:
        self.kind = kind
        self.door = door
        self.holder = holder
        self.opened_at = 0.0
        self.last_byte_at = 0.0
        self.closed_at = 0.0
        self.status = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.drop: Any = None  # closes it from this side

    @property
    def open(self) -> bool:
        """Whether it lives."""
        return self.opened_at > 0 and self.closed_at == 0

    def note_open(self, status: int) -> None:
        """It was answered."""
        self.status = status
        if status in (101, 200):
            self.opened_at = time.time()
        if not self.ready.done():
            self.ready.set_result(None)

    def note_byte(self) -> None:
        """Something came."""
        self.last_byte_at = time.time()

    def note_close(self) -> None:
        """It is over."""
        if self.closed_at == 0:
            self.closed_at = time.time()
            self.ended.set()
        if not self.ready.done():
            self.ready.set_result(None)


class _Http1(asyncio.Protocol):
    """A stream that has a connection of its own: server-sent events, or a WebSocket over HTTP/1.1."""

    def __init__(self, stream: Stream, request: bytes) -> None:
        self._stream = stream
        self._request = request
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._stream.drop = self._transport.abort
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note what comes."""
        if self._stream.status:
            self._stream.note_byte()
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._stream.note_open(int(self._head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._stream.note_close()


class _Http2(asyncio.Protocol):
    """A connection that many streams share: WebSockets over HTTP/2 (RFC 8441), and CONNECT."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.used = 0
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._streams: dict[int, tuple[Stream, bytes]] = {}
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW_BYTES)
        self._flush()

    def request(self, stream: Stream, headers: Iterable[tuple[str, str]], first: bytes) -> None:
        """Open a stream; `first` is sent once it is open."""
        number = self._h2.get_next_available_stream_id()
        self._streams[number] = (stream, first)
        stream.drop = lambda: self._reset(number)
        self._h2.send_headers(number, list(headers))
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Note what comes, by stream."""
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.RemoteSettingsChanged) and not self.settled.done():
                self.settled.set_result(None)
            elif isinstance(event, h2.events.ResponseReceived):
                self._answered(event)
            elif isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                self._streams[event.stream_id][0].note_byte()
            elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                self._streams[event.stream_id][0].note_close()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Everything on it is over."""
        for stream, _ in self._streams.values():
            stream.note_close()

    def close(self) -> None:
        """Let go of it."""
        self._transport.abort()

    def _answered(self, event: h2.events.ResponseReceived) -> None:
        stream, first = self._streams[event.stream_id]
        status = next(value for name, value in event.headers if name == b":status")
        stream.note_open(int(status))
        if stream.opened_at and first:
            self._h2.send_data(event.stream_id, first)

    def _reset(self, number: int) -> None:
        try:
            self._h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        except h2.exceptions.StreamClosedError:
            return
        self._streams[number][0].note_close()
        self._flush()

    def _flush(self) -> None:
        self._transport.write(self._h2.data_to_send())


class StreamClient:
    """Opens streams for one person through one door."""

    def __init__(self, door: Door, holder: str, *, cookie: str, token: str) -> None:
        self._door = door
        self._holder = holder
        self._cookie = cookie
        self._token = token
        self._shared: list[_Http2] = []

    async def open(self, kind: str, every_ms: int) -> Stream:
        """Open a stream of `kind`, and return it once it was answered (which may be a no)."""
        stream = Stream(kind, self._door, self._holder)
        if kind in ("sse", "ws1"):
            request = self._http1(kind, every_ms)
            await self._dial(lambda: _Http1(stream, request), self._door.app_host, "http/1.1")
        else:
            host = self._door.service_host if kind == "tcp" else self._door.app_host
            connection = await self._shareable(host)
            first = f"{every_ms}\n".encode() if kind == "tcp" else b""
            connection.request(stream, self._http2(kind, every_ms), first)
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await stream.ready
        return stream

    def close(self) -> None:
        """Close the shared connections."""
        for connection in self._shared:
            connection.close()

    async def _shareable(self, host: str) -> _Http2:
        for connection in self._shared:
            if connection.host == host and connection.used < STREAMS_PER_CONNECTION:
                break
        else:
            connection = await self._dial(lambda: _Http2(host), host, "h2")
            self._shared.append(connection)
        connection.used += 1
        await connection.settled
        return connection

    async def _dial(self, make: Any, host: str, protocol: str) -> Any:
        context = self._door.contexts[protocol]
        try:
            _, made = await asyncio.get_running_loop().create_connection(
                make, self._door.address, self._door.port, ssl=context, server_hostname=host
            )
        except OSError as error:
            raise Unavailable(
                f"The gateway {self._door.name} does not answer: {error}.", remedy="Look at its log."
            ) from None
        return made

    def _http1(self, kind: str, every_ms: int) -> bytes:
        host = self._door.authority(self._door.app_host)
        path = "events" if kind == "sse" else "ws"
        lines = [f"GET /{path}?every_ms={every_ms} HTTP/1.1", f"host: {host}", f"cookie: {self._cookie}"]
        if kind == "sse":
            lines.append("accept: text/event-stream")
        else:
            key = base64.b64encode(os.urandom(16)).decode()
            lines += ["connection: Upgrade", "upgrade: websocket", f"origin: https://{host}"]
            lines += [f"sec-websocket-key: {key}", "sec-websocket-version: 13"]
        return "\r\n".join([*lines, "", ""]).encode()

    def _http2(self, kind: str, every_ms: int) -> list[tuple[str, str]]:
        if kind == "tcp":
            authority = f"{self._door.service_host}:443"
            return [
                (":method", "CONNECT"),
                (":authority", authority),
                ("authorization", f"Bearer {self._token}"),
            ]
        host = self._door.authority(self._door.app_host)
        return [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", f"/ws?every_ms={every_ms}"),
            (":authority", host),
            ("sec-websocket-version", "13"),
            ("origin", f"https://{host}"),
            ("cookie", self._cookie),
        ]

"""What stands behind a gateway in tests: servers that echo, count, stream, and speak gRPC."""

import asyncio
import base64
import hashlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
CHUNK = hashlib.sha256(b"limen").digest() * 8192  # 256 KiB that do not compress to nothing


class Peer:
    """An asyncio server of one kind. `port` once it listens."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.serve(reader, writer)
        self._writers.discard(writer)
        writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes; say farewell once the other side has said all."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


class TcpEcho(Peer):
    """A TCP service whose last words come after the client's."""

    FAREWELL = b"bye"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await echo(reader, writer)
        writer.write(self.FAREWELL)
        await writer.drain()


class StreamApp(Peer):
    """An HTTP/1.1 app: WebSockets, events, a long poll, big bodies. `heads` is what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[bytes] = []
        self.early = b""  # what came behind a refused upgrade before the answer
        self.received = ""  # hash of the last upload
        self.released = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        lines = head.split(b"\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(b": ") for line in lines[1:] if line)}
        path = lines[0].split(b" ")[1]
        if path == b"/refuse":
            with suppress(TimeoutError):
                self.early = await asyncio.wait_for(reader.read(65_536), 0.5)
            await self._say(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        elif b"upgrade" in headers:
            await self._websocket(reader, writer, headers)
        elif path == b"/poll":
            await self.released.wait()
            await self._say(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        elif path == b"/big":
            await self._big(reader, writer, headers)
        else:
            await self._events(writer)

    async def _websocket(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: dict[bytes, bytes]
    ) -> None:
        """RFC 6455 section 4.2, as servers of HTTP/1.1 have it; then whatever comes goes back."""
        key = headers.get(b"sec-websocket-key", b"")
        if len(base64.b64decode(key)) != 16 or headers.get(b"sec-websocket-version") != b"13":
            await self._say(writer, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        said = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
        await self._say(writer, b"HTTP/1.1 101 Switching Protocols\r\n" + said + b"\r\n\r\n")
        await self._frames(reader, writer)

    async def _frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Echo short frames, unmasked."""
        while True:
            first, length = await reader.readexactly(2)
            size = length & 0x7F
            mask = await reader.readexactly(4)
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(await reader.readexactly(size)))
            await self._say(writer, bytes((first, size)) + data)

    async def _events(self, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self._say(writer, head + b"b\r\ndata: one\n\n\r\n")
        await self.released.wait()
        await self._say(writer, b"b\r\ndata: two\n\n\r\n0\r\n\r\n")

    async def _big(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: dict[bytes, bytes]
    ) -> None:
        left, digest = int(headers.get(b"content-length", b"0")), hashlib.sha256()
        while left:
            data = await reader.read(min(left, 1 << 18))
            digest.update(data)
            left -= len(data)
        self.received = digest.hexdigest()
        size = int(headers.get(b"x-send", b"0"))
        await self._say(writer, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for piece in pieces(size):
            await self._say(writer, piece)

    async def _say(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()


def pieces(size: int) -> Iterator[bytes]:
    """Return `size` bytes in pieces."""
    while size:
        piece = CHUNK[:size]
        yield piece
        size -= len(piece)


class GrpcApp:
    """A gRPC server of two methods that speak bytes: `/demo/Count` streams, `/demo/Echo` does both ways."""

    def __init__(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4))
        handlers = {
            "Count": grpc.unary_stream_rpc_method_handler(self._count),
            "Echo": grpc.stream_stream_rpc_method_handler(self._echo),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo", handlers),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(0)

    def _count(self, request: bytes, context: Any) -> Iterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()
        context.set_trailing_metadata((("counted", request.decode()),))

    def _echo(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        yield from requests


def frame(text: bytes) -> bytes:
    """Return a short masked text frame, as clients send it."""
    mask = b"\x01\x02\x03\x04"
    return bytes((0x81, 0x80 | len(text))) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text))


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """Read `size` bytes, or fewer at the end."""
    found = b""
    while len(found) < size and (data := connection.recv(size - len(found))):
        found += data
    return found


def read_head(connection: socket.socket) -> bytes:
    """Read up to the end of an answer's headers."""
    found = b""
    while not found.endswith(b"\r\n\r\n") and (data := connection.recv(1)):
        found += data
    return found

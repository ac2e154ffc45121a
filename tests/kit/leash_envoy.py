"""The real leash behind the real Envoy: an app that upgrades and streams, and a TCP service that echoes."""

import asyncio
import base64
import hashlib
import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from envoy_rig import DOMAIN, Rig, app_config
from leash_rig import LeashWorld

from limen.administrator.streams import LiveStream
from limen.core.catalogue import Catalogue, RouteConfig, ServiceConfig, StreamLimits
from limen.enforcement.leash.server import LeashServer, start_leash

WIKI, LEDGER = f"wiki.{DOMAIN}", f"ledger-db.{DOMAIN}"
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 4.2.2


def catalogue(app_port: int = 1, service_port: int = 1) -> Catalogue:
    """Return an app with a streaming route, and a service. The leash needs no port of theirs."""
    apps = {
        "wiki": app_config("wiki", app_port, routes=(RouteConfig("feed", "/feed", streaming=True),)),
        "other": app_config("other", app_port),
    }
    limits = StreamLimits(per_session=2_000, per_subject=2_000)
    service = ServiceConfig("ledger-db", LEDGER, "127.0.0.1", service_port, streams=limits)
    return Catalogue(domain=DOMAIN, apps=apps, services={"ledger-db": service})


class Echo:
    """Both upstreams: bytes come back. What begins as HTTP is answered first, by what it asks for."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self, *, http: bool) -> int:
        serve = self._http if http else self._echo
        self._server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2_000)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            key = _header(head, b"sec-websocket-key")
            if b"upgrade: websocket" in head.lower() and key and b" /refuses" not in head:
                accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID, usedforsecurity=False).digest())
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n")
                writer.write(b"Upgrade: websocket\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
                await self._echo(reader, writer)
            elif b"text/event-stream" in head or b" /feed" in head:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
                writer.write(b"Transfer-Encoding: chunked\r\n\r\n6\r\ndata:\n\r\n")
                self._writers.add(writer)
                await reader.read()
            else:
                status = b"400 Bad Request" if b"upgrade" in head.lower() else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nshort")
                await self._http(reader, writer)
        writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


class RealLeash:
    """The leash in the rig's own process; stands where the rig's fake one stood."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world: LeashWorld
        self.server: LeashServer | None = None
        self.held: list[Any] = []

    async def listen(self, path: Path) -> None:
        self.world = LeashWorld(self.folder, catalogue())
        self.server = await start_leash(path, self.world.leash)

    async def close(self) -> None:
        if self.server is not None:
            await self.server.close()


class LeashProcess:
    """The leash in a process of its own, which a test may stop, block or kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: list[Any] = []
        self.token = ""
        self.process: subprocess.Popen[str]

    async def listen(self, path: Path) -> None:
        self.process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, __file__, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "leash.err").open("w"),
            text=True,
        )
        assert self.process.stdout is not None
        self.token = self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    async def close(self) -> None:
        self.process.kill()
        self.process.wait(10)


class LeashedRig(Rig):
    """Envoy, a leash, and the upstreams `wiki` (HTTP) and `ledger-db` (TCP)."""

    def __init__(self, folder: Path, *, apart: bool = False, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.leash: Any = LeashProcess(folder) if apart else RealLeash(folder)
        self.wiki, self.ledger = Echo(), Echo()

    @property
    def world(self) -> LeashWorld:
        world: LeashWorld = self.leash.world
        return world

    @property
    def token(self) -> str:
        """Ada's token for services."""
        token: str = self.leash.token if isinstance(self.leash, LeashProcess) else self.world.connect_token
        return token

    def begin(self) -> None:
        self.start(lambda rig: self._catalogue())

    def _catalogue(self) -> Catalogue:
        return catalogue(self.run(self.wiki.listen(http=True)), self.run(self.ledger.listen(http=False)))

    def stop(self) -> None:
        for echo in (self.wiki, self.ledger):
            self.run(echo.close())
        super().stop()

    def streams(self) -> tuple[LiveStream, ...]:
        return self.call(lambda: self.world.streams.all())

    def websocket_h1(
        self, *headers: tuple[str, str], token: str | None = None
    ) -> tuple[ssl.SSLSocket, bytes]:
        """Shake hands over HTTP/1.1; return the connection, and the head of the answer."""
        connection = self.connect(WIKI)
        token = self.world.token if token is None else token
        lines = [
            "GET /ws HTTP/1.1",
            f"Host: {WIKI}:{self.port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Cookie: __Host-limen={token}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65_536)
            if not piece:
                break
            head += piece
        return connection, head


@contextmanager
def leashed(*, apart: bool = False, **settings: Any) -> Iterator[LeashedRig]:
    """Yield a rig with Envoy ready. The folder is short, for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="lm") as name:
        rig = LeashedRig(Path(name), apart=apart, **settings)
        try:
            rig.begin()
            yield rig
        finally:
            rig.stop()


def problem_of(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)
    return found


async def _serve(path: Path) -> None:
    """Be a leash with a watchdog: tell Ada's token, then do what each line on standard input says."""
    import time

    from limen.enforcement.leash.watchdog import Watchdog

    world = LeashWorld(path.parent, catalogue())
    server = await start_leash(path, world.leash, watchdog=Watchdog())
    print(world.connect_token, flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while (line := (await reader.readline()).decode().strip()) != "":
        if line == "block":
            time.sleep(3_600)  # noqa: ASYNC251 - what the watchdog is for
    await server.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(Path(sys.argv[1])))

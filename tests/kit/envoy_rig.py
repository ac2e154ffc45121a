"""A real Envoy in front of fakes: a check that answers what a test says, control, and one app server.

Everything runs on one event loop in a thread, so that tests are plain functions with plain sockets.
"""

import asyncio
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import h11
import msgspec
from envoy_h2 import H2Client
from envoy_leash import FakeLeash, Verdict
from envoy_peers import Peer

from limen.core.catalogue import AppConfig, Catalogue
from limen.core.clock import SystemClock
from limen.core.record import OutcomeRecord
from limen.enforcement.certificates import CertificateFolder
from limen.enforcement.envoy.admin import EnvoyAdmin
from limen.enforcement.envoy.binary import find_envoy
from limen.enforcement.envoy.settings import EnvoySettings
from limen.enforcement.envoy.supervise import EnvoySupervisor
from limen.enforcement.envoy.swap import ConfigurationSwap, until

T = TypeVar("T")
DOMAIN = "limen.localhost"
WAIT_S = 10.0


class Seen(NamedTuple):
    """A request as a fake server received it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None


class Answer(NamedTuple):
    """What a fake server says. `raw` replaces everything by bytes of the test's choosing."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    raw: bytes | None = None
    wait: asyncio.Event | None = None  # answer only once it is set
    parts: tuple[
        tuple[bytes, asyncio.Event | float], ...
    ] = ()  # body pieces, each before an event or seconds


class Reply(NamedTuple):
    """What the client got."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()


class FakeServer:
    """An HTTP/1.1 server that records what it sees and answers what `answer` returns."""

    def __init__(self, default: Answer) -> None:
        self.default = default
        self.seen: list[Seen] = []
        self.answer: Callable[[Seen], Answer] = lambda seen: self.default
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(
        self, *, path: Path | None = None, tls: ssl.SSLContext | None = None, port: int = 0
    ) -> int:
        if path is not None:
            path.unlink(missing_ok=True)  # noqa: ASYNC240
            self._server = await asyncio.start_unix_server(self._serve, path)
            return 0
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
            while await self._one(connection, reader, writer):
                connection.start_next_cycle()
        self._writers.discard(writer)
        writer.close()

    async def _one(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        assert request is not None
        headers = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
        seen = Seen(request.method.decode(), request.target.decode("latin-1"), headers, body)
        self.seen.append(seen)
        answer = self.answer(seen)
        if answer.wait is not None:
            await answer.wait.wait()
        if answer.raw is not None:
            writer.write(answer.raw)
            await writer.drain()
            return False
        if answer.parts:
            await self._stream(answer, writer)
            return False
        size = ("content-length", str(len(answer.body)))
        empty = answer.status in (204, 304)
        out = h11.Response(status_code=answer.status, headers=[*answer.headers, *(() if empty else (size,))])
        writer.write(connection.send(out) or b"")
        payload = answer.body if seen.method != "HEAD" else b""
        writer.write(connection.send(h11.Data(data=payload)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    async def _stream(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece, then in answer.parts:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            await (then.wait() if isinstance(then, asyncio.Event) else asyncio.sleep(then))
        writer.write(b"0\r\n\r\n")
        await writer.drain()


class Rig:
    """Envoy between a test's client and the fakes."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.port = free_port()
        self.settings = EnvoySettings(
            folder=folder / "envoy",
            run=folder,
            binary=find_envoy(),
            port=self.port,
            concurrency=1,
            drain_s=1,
            **settings,
        )
        self.check = FakeServer(Answer(200))
        self.leash = FakeLeash()
        self.control = FakeServer(Answer(200, (("content-type", "text/plain"),), b"control"))
        self.app = FakeServer(Answer(200, (("content-type", "text/plain"),), b"app"))
        self.app_port = 0
        self.outcomes: list[OutcomeRecord] = []
        self.certificates = CertificateFolder(folder / "ca")
        self.catalogue = Catalogue(domain=DOMAIN)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rig", daemon=True)
        self.envoy: EnvoySupervisor
        self.extra: list[FakeServer | Peer | FakeLeash] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def call(self, work: Callable[[], T]) -> T:
        async def inside() -> T:
            return work()

        return self.run(inside())

    def later(self, delay_s: float, work: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(self._loop.call_later, delay_s, work)

    def start(self, make: Callable[["Rig"], Catalogue]) -> None:
        self._thread.start()
        self.run(self.check.listen(path=self.settings.check_socket))
        self.run(self.leash.listen(self.settings.leash_socket))
        self.run(self.control.listen(path=self.settings.control_socket))
        self.app_port = self.run(self.app.listen())
        self.catalogue = make(self)
        self.envoy = self.call(
            lambda: EnvoySupervisor(
                self.settings, self.certificates, SystemClock(), on_outcome=self.outcomes.append
            )
        )
        self.run(self.envoy.start(self.catalogue))
        self.run(self.envoy.wait_ready())

    def beside(self, peer: Peer) -> int:
        """Start a server that ends with the rig; return its port."""
        self.extra.append(peer)
        return self.run(peer.listen())

    def decided_by(self, slot: str) -> EnvoySettings:
        """Have check and leash of `slot` asked from now on; return the settings that name their sockets."""
        settings = msgspec.structs.replace(self.settings, slot=slot)
        swap = ConfigurationSwap(settings, EnvoyAdmin(settings.admin_socket), list)
        self.run(swap.move())
        return settings

    def another_app(self, tls: ssl.SSLContext | None = None) -> tuple[FakeServer, int]:
        server = FakeServer(Answer(200, (), b"another"))
        self.extra.append(server)
        return server, self.run(server.listen(tls=tls))

    def stop(self) -> None:
        if hasattr(self, "envoy"):
            self.run(self.envoy.stop())
        for server in (self.check, self.control, self.app, *self.extra):
            self.run(server.close())
        self.run(self.leash.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def reset(self) -> None:
        for server in (self.check, self.control, self.app):
            server.seen.clear()
            server.answer = lambda seen, server=server: server.default  # type: ignore[misc]
        self.leash.held.clear()
        self.leash.verdict = lambda headers: Verdict()

    def allow(self, *headers: tuple[str, str]) -> None:
        self.check.answer = lambda seen: Answer(200, headers)

    def deny(self, status: int = 403, *headers: tuple[str, str], body: bytes = b"no") -> None:
        self.check.answer = lambda seen: Answer(status, headers, body)

    @property
    def reached(self) -> int:
        return len(self.app.seen)

    def connect(self, sni: str = f"wiki.{DOMAIN}", alpn: str = "http/1.1") -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.certificates.ca_file))
        context.set_alpn_protocols([alpn])
        plain = socket.create_connection(("127.0.0.1", self.port), WAIT_S)
        return context.wrap_socket(plain, server_hostname=sni)

    def h2(self, host: str = f"wiki.{DOMAIN}") -> H2Client:
        connection = self.connect(host, alpn="h2")
        assert connection.selected_alpn_protocol() == "h2"
        return H2Client(connection)

    def raw(self, request: bytes, sni: str = f"wiki.{DOMAIN}", method: str = "GET") -> Reply:
        with self.connect(sni) as connection:
            with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
                connection.sendall(request)
            return read_reply(connection, method)

    def get(
        self, path: str = "/", *headers: tuple[str, str], host: str = f"wiki.{DOMAIN}", **more: Any
    ) -> Reply:
        return self.request("GET", path, *headers, host=host, **more)

    def request(
        self,
        method: str,
        path: str,
        *headers: tuple[str, str],
        host: str = f"wiki.{DOMAIN}",
        body: bytes | None = None,
        sni: str | None = None,
    ) -> Reply:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in headers)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return self.raw(head + (body or b""), sni or host, method)

    def counted(self, name: str, least: int, *, most: int | None = None) -> bool:
        """Wait until Envoy's statistic `name` has a value."""
        admin = EnvoyAdmin(self.settings.admin_socket)

        async def there() -> bool:
            found = await admin.stats(f"^{re.escape(name)}$")
            return bool(found) and least <= int(found[name]) <= (most if most is not None else 1 << 62)

        return self.run(until(there, 2 * WAIT_S))

    def eventually(self, true: Callable[[], bool], timeout_s: float = WAIT_S) -> bool:
        async def look() -> bool:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while not true():  # noqa: ASYNC110 - Envoy answers, and sets no event
                        await asyncio.sleep(0.01)
            return true()

        return self.run(look())


def read_reply(connection: ssl.SSLSocket, method: str = "GET") -> Reply:
    response = HTTPResponse(connection, method=method)
    response.begin()
    return Reply(response.status, response.getheaders(), response.read())


def app_config(name: str, port: int, **fields: Any) -> AppConfig:
    fields.setdefault("host", f"{name}.{DOMAIN}")
    return AppConfig(name=name, upstream=(f"http://127.0.0.1:{port}",), **fields)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(make: Callable[[Rig], Catalogue], **settings: Any) -> Iterator[Rig]:
    """Yield a rig with Envoy ready. The folder is short, for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="lm") as name:
        rig = Rig(Path(name), **settings)
        try:
            rig.start(make)
            yield rig
        finally:
            rig.stop()

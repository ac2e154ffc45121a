"""The rig of live streams: an app that streams, a gRPC app, a TCP service, and clients that talk to them."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from envoy_peers import GrpcApp, StreamApp, TcpEcho, frame, read_exactly, read_head
from envoy_rig import DOMAIN, Rig, app_config, running

from limen.core.catalogue import Catalogue, CorsConfig, RouteConfig, ServiceConfig, StreamLimits

LIVE = f"live.{DOMAIN}"
DB = f"db.{DOMAIN}"
GRPC = f"grpc.{DOMAIN}"
KEY = ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
SIZE = 200 * 1000 * 1000
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: {to}\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nCookie: a=b\r\n\r\n"
)
SMUGGLED = b"POST /evil HTTP/1.1\r\nHost: live\r\nX-Limen-Assertion: forged\r\nContent-Length: 0\r\n\r\n"


class Streams:
    """A rig with an app that streams, a gRPC app, and a TCP service."""

    def __init__(self, rig: Rig, app: StreamApp) -> None:
        self.rig = rig
        self.app = app

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self.rig, name)

    def fresh(self) -> "Streams":
        """Forget what other tests did."""
        self.rig.reset()
        self.rig.call(self.app.released.clear)
        self.app.heads.clear()
        self.app.early = b""
        self.rig.outcomes.clear()
        return self

    def websocket(self, host: str = LIVE) -> ssl.SSLSocket:
        connection = self.rig.connect(host)
        connection.sendall(HANDSHAKE.format(path="/socket", host=host, to="websocket").encode())
        assert read_head(connection).startswith(b"HTTP/1.1 101")
        return connection


def says(connection: ssl.SSLSocket, text: bytes) -> bool:
    """Whether the other side still echoes."""
    with suppress(ConnectionError, ssl.SSLError):
        connection.sendall(frame(text))
        return read_exactly(connection, 2 + len(text))[2:] == text
    return False


def is_over(connection: ssl.SSLSocket) -> bool:
    with suppress(ConnectionError, ssl.SSLError):
        return connection.recv(1) == b""
    return True


@contextmanager
def running_streams() -> Iterator[Streams]:
    """Yield a rig whose clocks are short: 2 s for what no one leashed, 0.2 s between lines of live bytes."""
    app, echo, rpc = StreamApp(), TcpEcho(), GrpcApp()

    def make(rig: Rig) -> Catalogue:
        rig.beside(app)
        rig.beside(echo)
        routes = (
            RouteConfig("poll", "/poll", streaming=True),
            RouteConfig("big", "/big", streaming=True),
            RouteConfig("any", "/any/*/events/**", streaming=True, methods=("GET",)),
        )
        live = app_config("live", app.port, routes=routes, max_body_bytes=SIZE, upgrades=("websocket", "tcp"))
        apps = [
            live,
            app_config("grpc", rpc.port, http2=True),
            app_config("quiet", app.port, streams=StreamLimits(idle_s=0.5)),
            app_config("wiki", rig.app_port, routes=(routes[2],), cors=CorsConfig(("https://x.example",))),
        ]
        service = ServiceConfig("db", DB, "127.0.0.1", echo.port)
        return Catalogue(domain=DOMAIN, apps={a.name: a for a in apps}, services={"db": service})

    with running(make, live_bytes_s=0.2, stream_max_s=2.0) as rig:
        yield Streams(rig, app)
    rpc.close()

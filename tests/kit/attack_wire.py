"""Bytes on TLS sockets, HTTP/1 and HTTP/2, to the gateway of a running demo; and its processes."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
from demo_rig import Demo
from envoy_rig import Reply, read_reply

DOMAIN = "limen.localhost"
SESSION = "__Host-limen"
FLOW = "__Host-limen-flow"
KNOWN = "__Host-limen-known"
WAIT_S = 30.0
SETTLE_S = 0.02  # between two looks at another process
NAVIGATION = (("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"))
SCRIPT = (("Accept", "application/json"), ("Sec-Fetch-Mode", "cors"))


def host(app: str) -> str:
    return f"{app}.{DOMAIN}"


def eventually(true: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """Ask until the answer is true; return it, or the last one."""
    deadline = time.monotonic() + timeout_s
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(SETTLE_S)
    return found


class Wire:
    """Speaks bytes to the gateway of a demo."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self._context = ssl.create_default_context(cafile=str(demo.ca_file))

    def connect(
        self, app: str = "wiki", *, alpn: str = "http/1.1", timeout_s: float = WAIT_S
    ) -> ssl.SSLSocket:
        self._context.set_alpn_protocols([alpn])
        plain = socket.create_connection(("127.0.0.1", self.demo.port), timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(plain, server_hostname=host(app))

    def raw(self, request: bytes, app: str = "wiki", method: str = "GET") -> Reply:
        with self.connect(app) as connection:
            with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
                connection.sendall(request)
            return read_reply(connection, method)

    def ask(
        self,
        app: str,
        path: str = "/",
        *headers: tuple[str, str],
        method: str = "GET",
        cookie: str = "",
        body: bytes | None = None,
    ) -> Reply:
        """Send one request, headers exactly as given (as latin-1), with the cookie of a session if any."""
        return self.raw(
            render(app, self.demo.port, path, *headers, method=method, cookie=cookie, body=body), app, method
        )

    def again(
        self,
        connection: ssl.SSLSocket,
        app: str,
        path: str = "/",
        *headers: tuple[str, str],
        cookie: str = "",
    ) -> Reply:
        """Send one more request on a connection that is kept."""
        connection.sendall(render(app, self.demo.port, path, *headers, cookie=cookie))
        return read_reply(connection)


def child(demo: Demo, name: str) -> int:
    """Return the pid of a process of a demo: control, gateway (the host), brain, envoy or explain."""
    found = family(int(demo.ready["pid"]))
    return next(pid for pid, command in found.items() if MARKS[name] in command)


MARKS = {
    "control": "control --state",
    "gateway": "limen.services.gateway_host",
    "brain": "gateway --brain",
    "envoy": "/_bin/envoy ",
    "explain": "explain_worker",
}


def family(root: int) -> dict[int, str]:
    """Return the command line of every process below `root`."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                parents[int(folder.name)] = (int(parent), command)
    found: dict[int, str] = {}
    waiting = [root]
    while waiting:
        above = waiting.pop()
        below = {pid: command for pid, (parent, command) in parents.items() if parent == above}
        found |= below
        waiting += below
    return found


def render(
    app: str,
    port: int,
    path: str,
    *headers: tuple[str, str],
    method: str = "GET",
    cookie: str = "",
    body: bytes | None = None,
) -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host(app)}:{port}", *(f"{k}: {v}" for k, v in headers)]
    if cookie:
        lines.append(f"Cookie: {cookie}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


class Http2:
    """One HTTP/2 connection, made for one host and used for whatever an attacker likes."""

    def __init__(self, wire: Wire, app: str) -> None:
        self._socket = wire.connect(app, alpn="h2")
        config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        self._connection = h2.connection.H2Connection(config)
        self._connection.initiate_connection()

    def __enter__(self) -> "Http2":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, authority: str, path: str = "/", *headers: tuple[str, str]) -> tuple[int, bytes]:
        """Send one request; return status and body, status 0 if it was cut off."""
        stream = self._connection.get_next_available_stream_id()
        fields = [(":method", "GET"), (":authority", authority), (":scheme", "https"), (":path", path)]
        self._connection.send_headers(stream, [*fields, *headers], end_stream=True)
        self._socket.sendall(self._connection.data_to_send())
        status, body = 0, b""
        while data := self._socket.recv(65_536):
            for event in self._connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(
                    event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated
                ):
                    return status, body
            self._socket.sendall(self._connection.data_to_send())
        return 0, b""

"""A demo with an app that streams, clients that hold its streams, and a look at the gateway's processes."""

import ctypes
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attack_rig import Target
from attack_wire import Wire, eventually, render
from demo_rig import Demo, running_demo

from limen.services.gateway_status import GatewayStatus, read_status
from limen.services.state import StateDir

TICK_S = 0.02
PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000  # linux/ptrace.h, linux/wait.h
APP = "ticker"


class Ticker:
    """An app that ticks at `/events`, answers `/slow` once it is told to, and anything else at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()
        self.seen: list[Any] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        ticker = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/events":
                    self._tick()
                    return
                if self.path == "/slow":
                    ticker.asked.set()
                    ticker.go.wait(30)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def _tick(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                with suppress(OSError):
                    while not ticker.go.wait(TICK_S):
                        self.wfile.write(b"b\r\ndata: tick\n\r\n")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        return Handler


class Live:
    """A client that holds one stream, and notes when each byte came."""

    def __init__(self, wire: Wire, cookie: str) -> None:
        self.first = threading.Event()
        self.ended = threading.Event()
        self.status = 0
        self.bytes = 0
        self.last_at = 0.0
        self._connection = wire.connect(APP)
        request = render(APP, wire.demo.port, "/events", ("Accept", "text/event-stream"), cookie=cookie)
        self._connection.sendall(request)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self.first.wait(20), "the stream has not begun"

    def _read(self) -> None:
        with suppress(OSError):
            while data := self._connection.recv(65_536):
                if not self.status:
                    self.status = int(data.split(b" ", 2)[1])
                self.bytes += len(data)
                self.last_at = time.monotonic()
                self.first.set()
        self.ended.set()

    def ticks_on(self) -> bool:
        """Say whether more bytes come."""
        before = self.bytes
        return bool(eventually(lambda: self.bytes > before or self.ended.is_set(), 5)) and self.bytes > before

    def close(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._connection.close()


def status(demo: Demo) -> GatewayStatus:
    """Return what the gateway's host says of itself."""
    return read_status(StateDir(demo.state_dir).run / "gateway.json")


def brain(demo: Demo) -> int:
    """Return the process of the brain that serves, or 0."""
    found = status(demo)
    slot = found.slots[found.active]
    return (slot.pid or 0) if slot.phase == "serving" else 0


def envoy(demo: Demo) -> int:
    """Return Envoy's process, or 0."""
    return status(demo).envoy or 0


def is_gone(pid: int) -> bool:
    """Say whether a process has ended."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def wait_gone(pid: int, timeout_s: float) -> bool:
    """Wait for a process that is nobody's child here."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout_s)[0])
    finally:
        os.close(handle)


def measured(true: Callable[[], Any], timeout_s: float = 60.0) -> float:
    """Return how many seconds it took until something was true."""
    began = time.monotonic()
    assert eventually(true, timeout_s)
    return time.monotonic() - began


@contextmanager
def blocked_loop(pid: int) -> Iterator[Callable[[], int]]:
    """Hold the main thread of a process still, and no other; yield what waits for its exit status.

    By ptrace(2): a stop signal would stop all threads. Who traces is told first that a process ended,
    so its parent learns of it when this does.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    if libc.ptrace(PTRACE_SEIZE, pid, None, None):
        pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")
    assert not libc.ptrace(PTRACE_INTERRUPT, pid, None, None)
    os.waitpid(pid, WALL)  # it stands still
    yield lambda: os.waitpid(pid, WALL)[1]


def memory_kib(pid: int) -> int:
    """Return the resident memory of a process."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def add_ticker(demo: Demo, ticker: Ticker) -> None:
    """Put the app behind the system, open to staff."""
    target = Target(demo, Wire(demo), None)  # type: ignore[arg-type]  # no echo here
    target.apply(lambda content: content["apps"].update({APP: app_of(ticker)}))
    assert eventually(lambda: target.wire.ask(APP).status == 401)


def app_of(ticker: Ticker) -> dict[str, Any]:
    return {"upstream": ticker.url, "allow": ["group:staff"]}


@contextmanager
def ticking_demo() -> Iterator[tuple[Demo, Ticker]]:
    """Yield a running demo with the app that streams."""
    ticker = Ticker()
    try:
        with running_demo() as demo:
            add_ticker(demo, ticker)
            yield demo, ticker
    finally:
        ticker.stop()


def events(demo: Demo, kind: str) -> list[dict[str, Any]]:
    """Return the journal's events of one kind, from every brain."""
    from limen.journal.reader import JournalReader

    found = JournalReader(StateDir(demo.state_dir).journal).events(kind=kind)
    return [
        json.loads(json.dumps(event.data)) | {"target": event.target, "node": event.node} for event in found
    ]

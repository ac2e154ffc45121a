"""The end of a browser's sign-in: one redirect to a port of this machine (RFC 8252 §7.3).

Any local program can send requests here. What counts is one with the state that only the browser was
told (RFC 6749 §10.12) from the issuer that was asked (RFC 9207); all others are answered and forgotten.
"""

import hmac
import queue
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from limen.connect.plain import plain
from limen.core.errors import Refused
from limen.core.secret import Secret

CALLBACK_PATH = "/callback"
WAIT_S = 300.0  # for the person in the browser
REQUEST_S = 5.0  # for one request to arrive
QUERY_MAX = 4_096  # characters

PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Limen</title>'
    '<body style="font:1.1rem system-ui;margin:4rem auto;max-width:32rem"><h1>{title}</h1><p>{text}</p>'
)
DONE = PAGE.format(title="You can close this page", text="Go back to the terminal.")
NOT_THIS = PAGE.format(title="This leads nowhere", text="Go back to the terminal, and log in from there.")
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}


class Loopback:
    """Listens on a random port of 127.0.0.1 until one good redirect has come."""

    def __init__(self, state: str, issuer: str) -> None:
        self._state = state
        self._issuer = issuer
        self._answers: queue.Queue[dict[str, str]] = queue.Queue(maxsize=1)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def port(self) -> int:
        """The port."""
        return int(self._server.server_address[1])

    @property
    def redirect_uri(self) -> str:
        """Where the browser is to be sent."""
        return f"http://127.0.0.1:{self.port}{CALLBACK_PATH}"

    def __enter__(self) -> "Loopback":
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, timeout_s: float = WAIT_S) -> Secret[str]:
        """Return the code that the browser brought.

        Raises:
            Refused: the person or the organisation said no, another issuer answered, or nobody came.
        """
        try:
            fields = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise Refused("Nobody signed in.", remedy="Log in again, or use --device.") from None
        if fields.get("iss") != self._issuer:
            raise Refused(
                "The answer comes from another sign-in than the one that was asked.",
                remedy="Do not go on; tell whoever runs it.",
                code="ISSUER_MISMATCH",
            )
        if "error" in fields or not fields.get("code"):
            said = plain(fields.get("error_description")) or "The sign-in was declined."
            raise Refused(said, remedy="Log in again.")
        return Secret(fields["code"])

    def accept(self, target: str, host: str | None) -> bool:
        """Look at one request; whether it is the one that was waited for."""
        parts = urlsplit(target)
        if parts.path != CALLBACK_PATH or host != f"127.0.0.1:{self.port}" or len(parts.query) > QUERY_MAX:
            return False
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        fields = dict(pairs)
        if len(fields) != len(pairs):  # a name twice: whose value counts is anyone's guess
            return False
        if not hmac.compare_digest(fields.get("state", "").encode(), self._state.encode()):
            return False
        try:
            self._answers.put_nowait(fields)
        except queue.Full:
            return False
        return True


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = False
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a local program that breaks its connection is no news."""


def _handler(loopback: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S
        server_version, sys_version = "limen", ""

        def do_GET(self) -> None:
            good = loopback.accept(self.path, self.headers.get("Host"))
            body = (DONE if good else NOT_THIS).encode()
            self.send_response(200 if good else 400)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing: the request line holds the code (law N2)."""

    return Handler

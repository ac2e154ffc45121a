"""The little web server that the sample apps stand on.

They play other people's apps, so nothing of Limen's own pages is in them.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from socketserver import ThreadingTCPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from limen.services.demo.websocket import WebSocket, accept_key

BODY_BYTES_MAX = 256 * 1024
DISCARDED_BYTES_MAX = 4 * BODY_BYTES_MAX  # of a body that is too large, read and dropped
IDLE_S = 120.0  # a kept connection that says nothing is closed; longer than the gateway keeps one idle

PLAIN = ":root{color-scheme:light dark} body{font:1.1rem/1.5 system-ui;margin:4rem auto;max-width:34rem}"

PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Request(msgspec.Struct, frozen=True):
    """One request. Header names are lower case; of a repeated header or field, the first counts."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    form: Mapping[str, str] = {}

    @property
    def hub_url(self) -> str:
        """Where the organisation's sign-in is: the app's own host with `auth` for its first label."""
        return f"https://auth.{self.headers.get('host', '').partition('.')[2]}/"


class Response(msgspec.Struct, frozen=True):
    """One answer."""

    body: str = ""
    status: int = 200
    headers: Mapping[str, str] = msgspec.field(default_factory=PAGE_HEADERS.copy)


class Streamed(msgspec.Struct, frozen=True):
    """An answer that goes on: `parts` until they end, or nobody reads them any more."""

    parts: Iterator[bytes]
    headers: Mapping[str, str]


class Talk(msgspec.Struct, frozen=True):
    """A WebSocket: `converse` has it to itself."""

    converse: Callable[[WebSocket], None]


Reply = Response | Streamed | Talk
Answer = Callable[[Request], Reply]


def see_other(path: str) -> Response:
    """Send the browser on after a form was taken."""
    return Response(status=303, headers={"Location": path})


def text_page(title: str, sentence: str, status: int) -> Response:
    """Say one thing."""
    return html_page(title, PLAIN, "", f"<h1>{escape(title)}</h1><p>{escape(sentence)}</p>", status=status)


def read_style(name: str) -> str:
    """Return a stylesheet of the sample apps."""
    return (files("limen.services.demo") / "styles" / name).read_text("utf-8")


def html_page(
    title: str, style: str, header: str, main: str, *, status: int = 200, footer: str = ""
) -> Response:
    """Return a whole page. `title` is text; the other parts are markup."""
    return Response(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>'
        f"<body><header>{header}</header><main>{main}</main>{footer}</body></html>",
        status,
    )


class LoopbackServer:
    """A server on a loopback port of its own, answered by threads that end with the program."""

    def __init__(self, server: ThreadingHTTPServer | ThreadingTCPServer) -> None:
        self._server = server
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def address(self) -> str:
        """Where it listens, as a bundle says it."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class AppServer(LoopbackServer):
    """One app."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), _listener(answer)))

    @property
    def url(self) -> str:
        """Where the app is."""
        return f"http://{self.address}"


def _listener(answer: Answer) -> type[BaseHTTPRequestHandler]:
    return type("Listener", (_Listener,), {"answer": staticmethod(answer)})


class _Listener(BaseHTTPRequestHandler):
    answer: Answer
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    wbufsize = -1  # head and body leave together: apart, Nagle and delayed ACK make 40 ms of it

    def handle(self) -> None:
        """Answer until one side leaves."""
        with suppress(ConnectionError):  # whoever reads a stream may leave at any time
            super().handle()

    def finish(self) -> None:
        """Close; what was not sent to somebody who has left is dropped."""
        with suppress(ConnectionError):
            super().finish()

    def _take(self) -> None:
        size = self.headers.get("Content-Length", "0")
        if not size.isdigit() or int(size) > BODY_BYTES_MAX:
            # Closing on unread bytes would reset the connection, and the answer with it.
            self.rfile.read(min(int(size), DISCARDED_BYTES_MAX) if size.isdigit() else 0)
            refusal = text_page("Too large", "This is more than the app takes.", 413)
            headers = {**refusal.headers, "Connection": "close"}  # this listener obeys it too
            self._send(msgspec.structs.replace(refusal, headers=headers))
            return
        body = self.rfile.read(int(size)).decode("utf-8", "replace")
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in reversed(self.headers.items())}
        form = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
        reply = type(self).answer(Request(self.command, path, headers, form))
        match reply:
            case Response():
                self._send(reply)
            case Streamed():
                self._stream(reply)
            case Talk():
                self._talk(reply, headers.get("sec-websocket-key", ""))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _take  # noqa: N815

    def _send(self, response: Response) -> None:
        body = response.body.encode()
        self.send_response(response.status, HTTPStatus(response.status).phrase)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, reply: Streamed) -> None:
        self.send_response(200)
        for name, value in (*reply.headers.items(), ("Transfer-Encoding", "chunked")):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        for part in reply.parts if self.command != "HEAD" else ():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()

    def _talk(self, reply: Talk, key: str) -> None:
        if self.headers.get("Upgrade", "").lower() != "websocket" or not key:
            self._send(text_page("Only WebSockets", "Here one talks, with a WebSocket.", 426))
            return
        self.send_response(101)
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Accept": accept_key(key),
        }
        for name, value in upgrade.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        self.connection.settimeout(None)  # the gateway knows how long it may say nothing
        reply.converse(WebSocket(self.rfile, self.wfile))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the gateway has the log."""

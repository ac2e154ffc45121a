"""Collectors on loopback: syslog over TLS, HTTPS batches, OTLP logs. Each message is one line of a file.

As a program it is a process that tests kill: `python sink_collector.py KIND PORT FOLDER OUT`, where FOLDER
has `cert.pem` and `key.pem`. A line is in the file before its sender hears of it.
"""

import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Take = Callable[[list[str]], None]
ANSWERS_MAX = 1 << 20


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def parse_octets(data: bytes) -> list[bytes]:
    """Split an RFC 5425 stream into its messages; what follows the last whole one must be nothing."""
    found = []
    while data:
        length, _, rest = data.partition(b" ")
        size = int(length)
        assert len(rest) >= size, "a message was cut"
        found.append(rest[:size])
        data = rest[size:]
    return found


class SyslogCollector:
    """Reads to the end of TLS, keeps the messages, then answers the end."""

    def __init__(self, folder: Path, take: Take, port: int = 0, *, silent: bool = False) -> None:
        self._context, self._take, self._silent = server_context(folder), take, silent
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.raw: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(plain,), daemon=True).start()

    def _one(self, plain: socket.socket) -> None:
        try:
            tls = self._context.wrap_socket(plain, server_side=True)
            data = b""
            while piece := tls.recv(65_536):
                data += piece
            messages = parse_octets(data)
            self.raw += messages
            self._take([message.split(b" ", 7)[7].decode("ascii") for message in messages])
            if self._silent:
                tls.close()
            else:
                tls.unwrap().close()
        except OSError:
            plain.close()


class HttpCollector:
    """Takes JSON lines, JSON arrays and OTLP. `answers` are statuses of the next requests, then 200."""

    def __init__(self, folder: Path, take: Take, port: int = 0) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.refuse: Callable[[str], bool] = lambda body: False
        self.requests: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append({"path": self.path, **dict(self.headers)})
                bodies = read_bodies(self.headers["Content-Type"], body)
                status, headers = outer.answers.pop(0) if outer.answers else (200, {})
                if status == 200 and any(outer.refuse(one) for one in bodies):
                    status = 422
                if status == 200:
                    take(bodies)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._server.socket = server_context(folder).wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def read_bodies(content_type: str, body: bytes) -> list[str]:
    if content_type == "application/x-ndjson":
        return body.decode("ascii").splitlines()
    found = json.loads(body)
    if isinstance(found, list):
        return [json.dumps(one) for one in found]
    return [
        record["body"]["stringValue"]
        for whole in found["resourceLogs"]
        for scope in whole["scopeLogs"]
        for record in scope["logRecords"]
    ]


def main() -> None:
    kind, port, folder, out = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    lock = threading.Lock()

    def take(lines: list[str]) -> None:
        with lock, out.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    made = SyslogCollector(folder, take, port) if kind == "syslog" else HttpCollector(folder, take, port)
    print(made.port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()

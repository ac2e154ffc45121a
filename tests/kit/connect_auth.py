"""A sign-in host of one's own for the client's tests: OAuth by the contract, with faults on demand."""

import json
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from connect_gateway import DOMAIN, make_certificate

TOKEN = "tok-0123456789"


class FakeAuth:
    """What was asked of it, and what it answers."""

    def __init__(self, folder: Path) -> None:
        self.pem = make_certificate(folder, f"auth.{DOMAIN}")
        self.ca_file = self.pem.with_suffix(".crt")
        self.metadata: dict[str, Any] = {}
        self.device_errors: deque[str] = deque()
        self.posts: list[tuple[str, dict[str, str]]] = []
        self.gets: list[tuple[str, str | None]] = []
        self.account: dict[str, Any] = {
            "person": "ada",
            "expires_at": 2e9,
            "services": [
                {"name": "db", "host": f"db.{DOMAIN}", "port": 1, "protocol": "postgres", "may": True}
            ],
        }
        self.account_status = 200
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = int(self.server.server_address[1])
        self.url = f"https://auth.{DOMAIN}:{self.port}"

    def answer(self, path: str, fields: dict[str, str]) -> tuple[int, Any]:
        if path == "/.well-known/oauth-authorization-server":
            endpoints = {
                "authorization_endpoint": "authorize",
                "token_endpoint": "token",
                "device_authorization_endpoint": "device_authorization",
                "revocation_endpoint": "revoke",
                "limen_services_endpoint": "services",
            }
            found = {name: f"{self.url}/connect/{end}" for name, end in endpoints.items()}
            more = {"issuer": self.url, "code_challenge_methods_supported": ["S256"]}
            return 200, {**found, **more, **self.metadata}
        if path == "/connect/device_authorization":
            uri = {"verification_uri": f"{self.url}/device", "expires_in": 600, "interval": 5}
            return 200, {"device_code": "dev-secret", "user_code": "BCDF-GHJK", **uri}
        if path == "/connect/token":
            if "device_code" in fields and self.device_errors:
                return 400, {"error": self.device_errors.popleft()}
            if fields.get("code") == "bad":
                return 400, {"error": "invalid_grant", "error_description": "The code is not good."}
            return 200, {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
        if path == "/connect/services":
            return self.account_status, self.account
        return 200, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        auth = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                auth.gets.append((self.path, self.headers.get("Authorization")))
                self.reply({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                fields = {name: values[0] for name, values in parse_qs(body).items()}
                auth.posts.append((self.path, fields))
                self.reply(fields)

            def reply(self, fields: dict[str, str]) -> None:
                status, value = auth.answer(urlsplit(self.path).path, fields)
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        return Handler


@contextmanager
def fake_auth(folder: Path) -> Iterator[FakeAuth]:
    """Yield a sign-in host that listens."""
    auth = FakeAuth(folder)
    thread = threading.Thread(target=auth.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield auth
    finally:
        auth.server.shutdown()
        auth.server.server_close()
        thread.join(10)

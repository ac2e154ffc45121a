"""An attacker's people, browsers and echoing apps, around a whole running system."""

import itertools
import json
import re
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpcore
import httpx
import yaml
from attack_wire import SESSION, Wire, eventually, host
from demo_rig import Demo, running_demo
from envoy_rig import Reply

from limen.core.secret import Secret
from limen.information.identity import totp
from limen.services.form_client import Form, FormClient, _LoopbackBackend

ADDRESSES = (
    f"127.77.{high}.{low}" for high in itertools.count(secrets.randbelow(200)) for low in range(1, 250)
)


class Person:
    """Somebody with a browser of their own, who comes from an address of their own."""

    def __init__(self, demo: Demo, username: str, password: str, seed: str) -> None:
        self.demo, self.username, self.password, self.seed = demo, username, password, seed
        self.browser = browser(demo)

    @classmethod
    def enrolled(cls, demo: Demo, *groups: str) -> "Person":
        """Make somebody who does not exist yet; they are signed in at the sign-in host."""
        username = f"p{secrets.token_hex(5)}"
        link = demo.new_person(username, *groups)
        person = cls(demo, username, f"orchid-lantern-{secrets.token_hex(4)}", "")
        page = person.browser.get(link)
        person.browser.submit(page, {"password": person.password, "password_again": person.password})
        page = person.submit("/enrol/second", {"method": "totp"})
        found = re.search(r'class="copyable mono">(.+?)</p>', page.text)
        assert found, page.text
        person.seed = re.sub(r"<[^>]*>", "", found[1])
        page = person.browser.submit(page, {"code": person.code()})
        assert "/enrol/codes" in str(page.url), page.text
        return person

    @property
    def http(self) -> httpx.Client:
        return self.browser.http

    def code(self, ahead: int = 0) -> str:
        return totp.code_at(Secret(self.seed), time.time() + ahead * totp.STEP_S)

    def get(self, url: str) -> httpx.Response:
        return self.browser.get(url)

    def submit(self, path: str, values: dict[str, str]) -> httpx.Response:
        """Open a page of the sign-in host, and send its first form."""
        return self.browser.submit(self.browser.get(f"{self.demo.auth_url}{path}"), values)

    def cookie(self, app: str, name: str = SESSION) -> str:
        """Return a cookie's value on a host, or an empty text."""
        found = [c.value for c in self.http.cookies.jar if c.name == name and c.domain == host(app)]
        return found[0] or "" if found else ""

    def open(self, app: str, path: str = "/") -> str:
        """Go to an app as a person does; return the pair of the app's session cookie."""
        answer = self.get(f"https://{host(app)}:{self.demo.port}{path}")
        assert answer.status_code != 503, answer.text
        assert self.cookie(app), f"{answer.url} {answer.status_code}"
        return f"{SESSION}={self.cookie(app)}"

    def sign_in(self, *, ahead: int = 1) -> httpx.Response:
        """Sign in anew, in a fresh browser. The enrolment used the code of this half minute."""
        self.browser = browser(self.demo)
        page = self.submit("/login", {"username": self.username, "password": self.password})
        return self.browser.submit(page, {"code": self.code(ahead)})

    def form(self, path: str) -> Form:
        page = self.browser.get(f"{self.demo.auth_url}{path}")
        return Form(str(page.url), page.text)


def browser(demo: Demo, address: str = "") -> FormClient:
    """Return a browser that comes from an address of its own: throttles count it apart."""
    client = FormClient(demo.ca_file)
    context = ssl.create_default_context(cafile=str(demo.ca_file))
    client.http._transport._pool = httpcore.ConnectionPool(  # type: ignore[attr-defined]
        ssl_context=context, network_backend=_LoopbackBackend(), local_address=address or next(ADDRESSES)
    )
    return client


class Echoed(NamedTuple):
    """A request as the echoing app received it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: str

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Echo:
    """An app that says what it received, and remembers it."""

    def __init__(self) -> None:
        self.seen: list[Echoed] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _echo(self.seen))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _echo(seen: list[Echoed]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def _take(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size).decode("latin-1")
            echoed = Echoed(self.command, self.path, list(self.headers.items()), body)
            seen.append(echoed)
            content = json.dumps(echoed._asdict()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = _take

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    return Handler


def echoed(reply: Reply) -> Echoed:
    """Return what the app saw of an allowed request."""
    assert reply.status == 200, (reply.status, reply.text[:300])
    content = json.loads(reply.body)
    return Echoed(
        content["method"], content["target"], [tuple(pair) for pair in content["headers"]], content["body"]
    )


class Target(NamedTuple):
    """A demo with echoing apps added to its bundle (`APPS`)."""

    demo: Demo
    wire: Wire
    echo: Echo

    def apply(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change `limen.yaml` of the active bundle, and bring it into force."""
        files = dict(self.demo.admin.get("/v1/policy")["files"])
        content = yaml.safe_load(files["limen.yaml"])
        change(content)
        files["limen.yaml"] = json.dumps(content, indent=1)  # which is YAML
        self.demo.admin.post("/v1/policy/apply", {"files": files, "reason": "attack"})


PARTS = [
    {"name": "health", "path": "/healthz", "public": True},
    {"name": "open", "path": "/public/**", "public": True},
    {"name": "admin", "path": "/admin/**", "action": "admin"},
]

APPS: Mapping[str, Mapping[str, Any]] = {
    "proxied": {"identity": {"headers": {"preset": "oauth2-proxy"}}},
    "authelia": {"identity": {"headers": {"preset": "authelia"}}},
    "authentik": {"identity": {"headers": {"preset": "authentik"}}},
    "pomerium": {"identity": {"headers": {"preset": "pomerium"}}},
    "named": {"identity": {"headers": {"user": "Grafana-User", "email": "X-Mail"}}},
    "vault": {"routes": PARTS},
    "files": {"routes": PARTS, "paths": {"allow": ["encoded_slash"]}},
    "brief": {"staleness_max_s": 5, "routes": PARTS},
    "board": {"cors": {"origins": ["https://friend.example"]}},
}
"""Every preset, an app with names of its own, and apps whose parts have rules of their own."""


@contextmanager
def attacked_demo() -> Iterator[Target]:
    """Yield a demo of one's own with more apps, all served by one echo and open to staff."""
    echo = Echo()
    try:
        with running_demo() as demo:
            target = Target(demo, Wire(demo), echo)

            def add(content: dict[str, Any]) -> None:
                for name, fields in APPS.items():
                    content["apps"][name] = {"upstream": echo.url, "allow": ["group:staff"], **fields}

            target.apply(add)
            assert eventually(lambda: all(target.wire.ask(name).status != 404 for name in APPS))
            yield target
    finally:
        echo.stop()

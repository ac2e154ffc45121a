"""Limen's OpenID provider on a real port with TLS, for clients that are not ours; and a plain browser."""

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin

import httpx
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from identity_world import DOMAIN, PASSWORD, forms
from oauth_world import OauthWorld

from limen.core.clock import FakeClock
from limen.enforcement.development_ca import issue_ca, issue_leaf, pem_of_cert, pem_of_key

HOST = f"auth.{DOMAIN}"


class _Running(FakeClock):
    """The real clock, moved by what tests add to it."""

    def __init__(self, ahead_s: float) -> None:
        super().__init__(ahead_s)

    def now(self) -> float:
        return time.time() + super().now()


class OauthRig:
    """A world that is served, by a clock that runs."""

    def __init__(self, folder: Path, limen_yaml: str) -> None:
        self.folder = folder
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.issuer = f"https://{HOST}:{self.port}"
        self.ca, cert, key = self._certificates()
        self.world = OauthWorld(
            folder,
            limen_yaml=limen_yaml,
            clock=_Running(-30),  # the code of the sign-in moves it forward
            port=self.port,
            network=True,
        )
        config = uvicorn.Config(
            self.world.console, ssl_certfile=cert, ssl_keyfile=key, log_level="error", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> "OauthRig":
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self._server.started
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        self.world.store.close()

    def browser(self) -> "NetBrowser":
        """Return a browser of nobody."""
        return NetBrowser(self)

    def _certificates(self) -> tuple[Path, Path, Path]:
        now = time.time() - 3_600
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca = issue_ca(ca_key, DOMAIN, (DOMAIN,), now)
        leaf = issue_leaf(ca, ca_key, key.public_key(), (HOST,), now)
        files = {"ca.pem": pem_of_cert(ca), "leaf.pem": pem_of_cert(leaf), "key.pem": pem_of_key(key)}
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        return self.folder / "ca.pem", self.folder / "leaf.pem", self.folder / "key.pem"


class _Loopback(httpx.HTTPTransport):
    """Reaches `*.localhost` on this machine, which Python's resolver does not know."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if not host.endswith(".localhost"):
            return super().handle_request(request)
        sent = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )
        return super().handle_request(sent)


class NetBrowser:
    """A browser without scripts, on the network. It follows redirects while they stay at Limen."""

    def __init__(self, rig: OauthRig) -> None:
        self.rig = rig
        context = ssl.create_default_context(cafile=str(rig.ca))
        self.http = httpx.Client(
            transport=_Loopback(verify=context), headers={"accept": "text/html"}, timeout=30
        )

    def get(self, url: str) -> httpx.Response:
        """Read a page, and what it leads to here."""
        return self.follow(self.http.get(url))

    def follow(self, response: httpx.Response) -> httpx.Response:
        """Follow redirects within Limen."""
        while response.is_redirect:
            target = urljoin(str(response.url), response.headers["location"])
            if not target.startswith(self.rig.issuer):
                break
            response = self.http.get(target)
        return response

    def submit(self, response: httpx.Response, values: Mapping[str, str]) -> httpx.Response:
        """Fill in the first form of a page, and send it."""
        action, hidden = forms(response.text)[0]
        headers = {"origin": self.rig.issuer, "sec-fetch-site": "same-origin"}
        target = urljoin(str(response.url), action)
        return self.follow(self.http.post(target, data={**hidden, **values}, headers=headers))

    def sign_in(self, person: str, url: str) -> httpx.Response:
        """Go somewhere that asks to sign in, sign in, and return where that leads."""
        page = self.submit(self.get(url), {"username": person, "password": PASSWORD})
        return self.submit(page, {"code": self.rig.world.code(person)})

"""A whole control for sign-in tests: a store on disk, a fake clock, a journal list, and browsers."""

import hashlib
import secrets
import tempfile
import warnings
from collections.abc import Mapping
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import argon2
import httpx

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

from soft_passkey import SoftPasskey

from limen.administrator import links
from limen.administrator.desk import seal_context
from limen.console.app import create_console
from limen.console.deps import ConsoleDeps, Parts
from limen.core.catalogue import AppConfig, Catalogue
from limen.core.clock import FakeClock
from limen.core.identity_config import OidcConfig
from limen.core.record import EventRecord
from limen.core.secret import Secret
from limen.information.identity import totp
from limen.information.identity.passwords import PasswordHasher
from limen.store import credentials, directory
from limen.store.database import Store
from limen.store.sealing import Sealer

DOMAIN = "limen.localhost"
AUTH = f"https://auth.{DOMAIN}:8443"
WIKI = f"https://wiki.{DOMAIN}:8443"
PAY = f"https://pay.{DOMAIN}:8443"
PASSWORD = "orchid-lantern-quarry-7"
CHEAP = argon2.Parameters(
    type=argon2.Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=8, parallelism=1
)


@cache
def _empty_database() -> bytes:
    """Migrating costs a third of a second; a copy of an empty database costs nothing."""
    with tempfile.TemporaryDirectory() as folder:
        Store.open(Path(folder) / "empty.db", FakeClock()).close()
        return (Path(folder) / "empty.db").read_bytes()


class World:
    """Control with two apps. `people` have passwords and, unless told otherwise, TOTP."""

    def __init__(
        self, folder: Path, *, oidc: tuple[OidcConfig, ...] = (), clock: FakeClock | None = None, **deps: Any
    ) -> None:
        self.clock = clock or FakeClock()
        port = deps.pop("port", 8443)
        (folder / "limen.db").write_bytes(_empty_database())
        self.store = Store.open(folder / "limen.db", self.clock)
        self.events: list[EventRecord] = []
        self.catalogue = Catalogue(
            domain=DOMAIN,
            apps={
                "wiki": AppConfig("wiki", f"wiki.{DOMAIN}", ("http://127.0.0.1:1",)),
                "pay": AppConfig("pay", f"pay.{DOMAIN}", ("http://127.0.0.1:2",), labels=("phi",)),
            },
            oidc=oidc,
        )
        self.sealer = Sealer(Secret(secrets.token_bytes(32)))
        self.key = secrets.token_bytes(32)
        self.hasher = PasswordHasher(CHEAP)
        self.console = create_console(
            ConsoleDeps(
                store=self.store,
                clock=self.clock,
                catalogue=lambda: self.catalogue,
                sealer=self.sealer,
                token_key=self.key,
                port=port,
                note=self.events.append,
                jwks=lambda: {"keys": []},
                hasher=self.hasher,
                **deps,
            )
        )
        parts = self.console.state.parts
        assert isinstance(parts, Parts)
        self.parts = parts
        self.seeds: dict[str, Secret[str]] = {}

    def add(self, username: str, *, password: str | None = PASSWORD, with_totp: bool = True) -> None:
        """Add a person."""
        with self.store.transaction("test", "add a person") as tx:
            directory.create_person(tx, username, name=username.title(), email=f"{username}@{DOMAIN}")
            if password is not None:
                hashed = self.hasher.hash(Secret(password))
                credentials.set_password(tx.connection, username, hashed, tx.now)
            if with_totp:
                self.seeds[username] = totp.new_seed()
                sealed = self.sealer.seal(self.seeds[username], seal_context(username))
                credentials.set_totp(tx.connection, username, sealed, 0, tx.now)

    def code(self, username: str) -> str:
        """Return what the person's authenticator app shows; the clock moves so that it is a new one."""
        self.clock.advance(30)
        return totp.code_at(self.seeds[username], self.clock.now())

    def browser(self, ip: str = "192.0.2.1") -> "Browser":
        """Return a fresh browser."""
        return Browser(self, ip)

    def passkey(self, browser: "Browser", username: str) -> SoftPasskey:
        """Give a person who is signed in there a passkey."""
        key = SoftPasskey(DOMAIN, AUTH)
        csrf = browser.form(browser.get("/account"))["csrf"]
        options = browser.script("/account/passkey/options", csrf, {})
        assert options.status_code == 200, options.text
        answer = browser.script(
            "/account/passkey", csrf, {"credential": key.create(options.json()), "name": f"{username}'s key"}
        )
        assert answer.status_code == 200, answer.text
        return key

    def link(self, person: str | None, *, reset: bool = False) -> str:
        """Return a one-time enrolment link."""
        if person is None:
            return links.make_first_admin_link(self.parts.desk).reveal()
        return links.make_link(self.parts.desk, person, actor="test", reset=reset).reveal()

    def kinds(self) -> list[str]:
        """Return the kinds of all events so far."""
        return [event.kind for event in self.events]


class Browser:
    """A browser without scripts. It keeps cookies by host, and follows no redirect by itself."""

    def __init__(self, world: World, ip: str) -> None:
        self.world = world
        self.ip = ip
        self.http = TestClient(world.console, base_url=AUTH, follow_redirects=False)
        self.headers = {"accept": "text/html", "x-limen-peer": ip, "user-agent": "Test/1"}

    def get(self, url: str, **headers: str) -> httpx.Response:
        """Read a page."""
        return self.http.get(url, headers={**self.headers, **headers})

    def follow(self, response: httpx.Response, hosts: tuple[str, ...] = (AUTH,)) -> httpx.Response:
        """Follow redirects within `hosts`."""
        while response.is_redirect:
            target = urljoin(str(response.url), response.headers["location"])
            if not target.startswith(hosts):
                break
            response = self.get(target)
        return response

    def post(self, url: str, data: Mapping[str, str], **headers: str) -> httpx.Response:
        """Send a form as our own pages do."""
        own = {"origin": AUTH, "sec-fetch-site": "same-origin"}
        return self.http.post(url, data=dict(data), headers={**self.headers, **own, **headers})

    def script(self, url: str, csrf: str, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        """Send JSON as our own script does."""
        own = {
            "origin": AUTH,
            "sec-fetch-site": "same-origin",
            "x-csrf-token": csrf,
            "accept": "application/json",
        }
        return self.http.post(url, json={"csrf": csrf, **body}, headers={**self.headers, **own, **headers})

    def form(self, response: httpx.Response, number: int = 0) -> dict[str, str]:
        """Return the hidden fields of a page's form."""
        return forms(response.text)[number][1]

    def submit(self, response: httpx.Response, values: Mapping[str, str], number: int = 0) -> httpx.Response:
        """Fill in a form of a page, and send it."""
        action, hidden = forms(response.text)[number]
        return self.post(urljoin(str(response.url), action), {**hidden, **values})

    def cookie(self, name: str, host: str = f"auth.{DOMAIN}") -> str | None:
        """Return a cookie of a host."""
        found = [c.value for c in self.http.cookies.jar if c.name == name and c.domain.lstrip(".") == host]
        return found[-1] if found else None

    def password(self, username: str, password: str = PASSWORD, url: str = "/login") -> httpx.Response:
        """Take the first step of signing in."""
        page = self.follow(self.get(url))
        return self.submit(page, {"username": username, "password": password})

    def sign_in(self, username: str, url: str = "/login") -> httpx.Response:
        """Sign in with password and TOTP; return the answer to the code."""
        page = self.follow(self.password(username, url=url))
        return self.submit(page, {"code": self.world.code(username)})

    def authorize_url(self, app: str = "wiki", path: str = "/", nonce: str = "n" * 32, **more: str) -> str:
        """Return where a gateway would send this browser."""
        bound = hashlib.sha256(nonce.encode()).hexdigest()
        query = {"app": app, "return": path, "nonce": bound, **more}
        return str(httpx.URL(f"{AUTH}/authorize", params=query))

    def bring_flow(self, app: str = "wiki", nonce: str = "n" * 32) -> None:
        """Have the flow cookie that a gateway sets on an app's host."""
        self.http.cookies.set("__Host-limen-flow", nonce, domain=f"{app}.{DOMAIN}", path="/")


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((values.get("action", ""), {}))
        elif tag == "input" and values.get("type") == "hidden" and self.found:
            self.found[-1][1][values["name"]] = values.get("value", "")


def forms(html: str) -> list[tuple[str, dict[str, str]]]:
    """Return action and hidden fields of every form of a page."""
    reader = _Forms()
    reader.feed(html)
    return reader.found

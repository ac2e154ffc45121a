"""People sign in through npm's `oidc-provider`, a certified OpenID provider that is not ours; two of it.

`corp` knows Limen by a secret, `campus` by keys that Limen publishes (private_key_jwt). `campus` does step-up
by `acr_values`, and tells Limen by back-channel logout who signed out there.
"""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from identity_world import AUTH, WIKI, Browser, World, forms

from limen.administrator.signing_keys import SigningKeys
from limen.core.clock import FakeClock
from limen.core.identity_config import AssuranceRule, OidcConfig, SourceRules
from limen.core.secret import Secret
from limen.store import directory

PACKAGE = "oidc-provider@9.13.3"
GROUPS = 400
SCOPES = ("openid", "profile", "email", "groups")

SERVER = """
import http from 'node:http';
import Provider from 'oidc-provider';
const { clients, groups: count } = JSON.parse(process.argv[2]);
const groups = Array.from({ length: count }, (_, n) => `team-${n}`);
const issuers = {};
for (const [name, client] of Object.entries(clients)) {
  const server = http.createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  issuers[name] = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuers[name], {
    clients: [client],
    acrValues: ['gold'],
    clockTolerance: 120,  // the tests' clock runs ahead
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),  // loopback, which it would refuse
    claims: { openid: ['sub', 'acr', 'amr', 'sid', 'auth_time'], profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'email', 'groups'],
    features: { backchannelLogout: { enabled: true } },
    cookies: { keys: ['only for this test'] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: 'Grace Hopper',
      preferred_username: id, email: `${id}@corp.example`, email_verified: true, groups }) }),
  });
  const finished = provider.interactionFinished.bind(provider);
  provider.interactionFinished = async (req, res, result, options) => {
    const { params } = await provider.interactionDetails(req, res);
    if (result.login && `${params.acr_values}`.includes('gold')) {
      Object.assign(result.login, { acr: 'gold', amr: ['pwd', 'otp'] });
    }
    return finished(req, res, result, options);
  };
  server.on('request', provider.callback());
}
console.log(JSON.stringify(issuers));
"""


class Relay:
    """Limen's two addresses that a provider calls: its keys, and its back-channel logout."""

    def __init__(self) -> None:
        self.jwks: Callable[[], dict[str, Any]] = lambda: {"keys": []}
        self.logout: Callable[[bytes], int] = lambda _: 404
        self.told = threading.Semaphore(0)
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, json.dumps(relay.jwks()).encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self._answer(relay.logout(body), b"")
                relay.told.release()

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    made = Relay()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory, relay: Relay) -> Iterator[dict[str, str]]:
    """Both providers, running on loopback."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are needed to run a provider that is not ours")
    folder = tmp_path_factory.mktemp("provider")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefer-offline", PACKAGE]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr[-200:]}")
    (folder / "server.mjs").write_text(SERVER)
    with subprocess.Popen(
        [node, "server.mjs", json.dumps({"clients": _clients(relay), "groups": GROUPS})],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.kill()


def _clients(relay: Relay) -> dict[str, Any]:
    return {
        "corp": {
            "client_id": "limen",
            "client_secret": "corp-secret",
            "redirect_uris": [f"{AUTH}/oidc/corp/callback"],
        },
        "campus": {
            "client_id": "limen-at-campus",
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks_uri": f"{relay.url}/jwks",
            "redirect_uris": [f"{AUTH}/oidc/campus/callback"],
            "backchannel_logout_uri": f"{relay.url}/backchannel",
            "backchannel_logout_session_required": True,
        },
    }


@pytest.fixture
def world(tmp_path: Path, issuers: dict[str, str]) -> Iterator[World]:
    """A control that knows `corp`."""
    corp = OidcConfig(
        "corp",
        issuers["corp"],
        "limen",
        client_secret="corp-secret",
        scopes=SCOPES,
        people=SourceRules(group_prefix="corp/"),
    )
    yield from _world(tmp_path, corp)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, issuers: dict[str, str], relay: Relay) -> Iterator[World]:
    """A control that knows both, for all tests of `campus`, which reads our keys once a minute."""
    corp = OidcConfig("corp", issuers["corp"], "limen", client_secret="corp-secret", scopes=SCOPES)
    campus = OidcConfig(
        "campus",
        issuers["campus"],
        "limen-at-campus",
        auth="private_key_jwt",
        scopes=SCOPES,
        acr={"gold": AssuranceRule(2)},
        amr={},
        step_up={"second-factor": ("gold",)},
        people=SourceRules(group_prefix="campus/", domains=("corp.example",)),
    )
    for world in _world(tmp_path_factory.mktemp("both"), corp, campus):
        relay.jwks = SigningKeys(world.parts.desk.ledger, world.clock, world.sealer).jwks
        relay.logout = lambda body, world=world: _told(world, body)
        yield world


def _world(folder: Path, *oidc: OidcConfig) -> Iterator[World]:
    clock = FakeClock(time.time())  # the providers live in real time
    world = World(folder, oidc=oidc, clock=clock, secret=lambda name: Secret(name))
    world.add("ada")
    yield world
    world.store.close()


def _told(world: World, body: bytes) -> int:
    headers = {"content-type": "application/x-www-form-urlencoded", "x-limen-peer": "127.0.0.1"}
    server = world.browser("127.0.0.1")
    return server.http.post("/oidc/campus/backchannel", content=body, headers=headers).status_code


@contextmanager
def _someone_there() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as browser:
        yield browser


def _at_provider(url: str, login: str, browser: httpx.Client) -> str:
    """Sign in and consent at the provider's own pages; return where it sends the browser back to."""
    answer = browser.get(url)
    for _ in range(12):
        if answer.is_redirect:
            target = urljoin(str(answer.url), answer.headers["location"])
            if target.startswith(AUTH):
                return target
            answer = browser.get(target)
            continue
        action, hidden = forms(answer.text)[0]
        data = {**hidden, "login": login, "password": "x"}
        answer = browser.post(urljoin(str(answer.url), action), data=data)
    raise AssertionError(f"the provider did not come back: {answer.status_code}")


def _sign_in(browser: Browser, provider: str, login: str, there: httpx.Client) -> httpx.Response:
    sent = browser.get(f"/oidc/{provider}/start").headers["location"]
    return browser.get(_at_provider(sent, login, there))


def _sign_out(issuer: str, there: httpx.Client) -> None:
    page = there.get(f"{issuer}/session/end")
    action, hidden = forms(page.text)[0]
    there.post(urljoin(str(page.url), action), data={**hidden, "logout": "yes"})


def test_a_person_signs_in_through_a_provider_that_is_not_ours(world: World) -> None:
    browser = world.browser()
    page = browser.follow(browser.get(browser.authorize_url("wiki", "/welcome")))
    assert "/oidc/corp/start" in page.text
    sent = browser.get(f"/oidc/corp/start?flow={browser.form(page)['flow']}").headers["location"]
    with _someone_there() as there:
        answer = browser.get(_at_provider(sent, "grace", there))
    assert answer.headers["location"].startswith(f"{WIKI}/.limen/callback?code=")
    browser.bring_flow()
    assert browser.get(answer.headers["location"]).headers["location"] == "/welcome"
    with world.store.read() as connection:
        grace = directory.get_person(connection, "grace")
    assert (grace.source, grace.name, grace.email) == ("oidc:corp", "Grace Hopper", "grace@corp.example")
    assert len(grace.groups) == GROUPS and "corp/team-7" in grace.groups
    assert world.parts.sessions.list_live("grace")[0][0].aal == 1


def test_a_fresh_sign_in_is_asked_of_the_provider(world: World) -> None:
    browser = world.browser()
    with _someone_there() as there:
        _sign_in(browser, "corp", "grace", there)
    world.clock.advance(1000)
    url = browser.authorize_url(need="fresh-sign-in", max_age="900")
    sent = browser.get(browser.get(browser.get(url).headers["location"]).headers["location"]).headers[
        "location"
    ]
    assert "max_age=900" in sent
    with _someone_there() as there:
        answer = browser.get(_at_provider(sent, "grace", there))
    assert answer.status_code == 403, "the provider's clock stayed behind, so its sign-in is not fresh"


def test_the_provider_refuses_a_code_that_was_used(world: World) -> None:
    browser = world.browser()
    with _someone_there() as there:
        callback = _at_provider(browser.get("/oidc/corp/start").headers["location"], "grace", there)
    assert browser.get(callback).status_code == 303
    assert world.browser("192.0.2.2").get(callback).status_code == 403


def test_two_providers_side_by_side_and_one_name(both: World) -> None:
    """The same login at both is two people: only `(source, subject)` says who somebody is."""
    with _someone_there() as there:
        assert _sign_in(both.browser(), "corp", "grace", there).status_code == 303
    browser = both.browser()
    page = browser.get("/login")
    assert "/oidc/corp/start" in page.text and "/oidc/campus/start" not in page.text
    assert "/oidc/campus/start" in browser.submit(page, {"username": "grace@corp.example"}).text
    with _someone_there() as there:
        assert _sign_in(both.browser(), "campus", "grace", there).status_code == 403
    assert "never linked by name" in both.events[-1].data["why"]
    assert both.parts.sessions.list_live("grace")[0][0].methods == ("oidc:corp",)


def test_private_key_jwt_and_step_up_by_acr_values(both: World) -> None:
    browser = both.browser()
    with _someone_there() as there:
        assert _sign_in(browser, "campus", "hedy", there).status_code == 303
    assert both.parts.sessions.list_live("hedy")[0][0].aal == 1
    both.clock.advance(61)
    page = browser.get(browser.get(browser.authorize_url(need="second-factor")).headers["location"])
    sent = browser.get(page.headers["location"]).headers["location"]
    assert "acr_values=gold" in sent
    with _someone_there() as there:
        done = browser.get(_at_provider(sent, "hedy", there))
    assert done.headers["location"].startswith(f"{WIKI}/.limen/callback"), done.text
    session = both.parts.sessions.list_live("hedy")[0][0]
    assert (session.aal, session.methods) == (2, ("oidc:campus",))


def test_who_signs_out_there_is_signed_out_here(both: World, issuers: dict[str, str], relay: Relay) -> None:
    with _someone_there() as there, _someone_there() as elsewhere:
        assert _sign_in(both.browser(), "campus", "ivan", there).status_code == 303
        assert _sign_in(both.browser("192.0.2.2"), "campus", "ivan", elsewhere).status_code == 303
        assert len(both.parts.sessions.list_live("ivan")) == 2
        _sign_out(issuers["campus"], there)
        assert relay.told.acquire(timeout=20), "the provider has called"
    assert len(both.parts.sessions.list_live("ivan")) == 1, "that session, and not the other"
    assert [e.data["channel"] for e in both.events if e.kind == "identity.signed_out"] == ["back"]

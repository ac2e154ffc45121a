"""A person signs in through npm's `oidc-provider`, a certified OpenID provider that is not ours."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from identity_world import AUTH, WIKI, World, forms

from limen.core.clock import FakeClock
from limen.core.identity_config import OidcConfig, SourceRules
from limen.core.secret import Secret
from limen.store import directory

PACKAGE = "oidc-provider@9.13.3"
GROUPS = 400

SERVER = """
import http from 'node:http';
import Provider from 'oidc-provider';
const groups = Array.from({ length: %d }, (_, n) => `team-${n}`);
const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'limen', client_secret: 'corp-secret', redirect_uris: ['%s'] }],
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email'],
      groups: ['groups'] },
    scopes: ['openid', 'profile', 'email', 'groups'],
    cookies: { keys: ['only for this test'] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: 'Grace Hopper',
      preferred_username: id, email: `${id}@corp.example`, groups }) }),
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
"""


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The provider, running on loopback."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are needed to run a provider that is not ours")
    folder = tmp_path_factory.mktemp("provider")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", PACKAGE]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr[-200:]}")
    (folder / "server.mjs").write_text(SERVER % (GROUPS, f"{AUTH}/oidc/corp/callback"))
    with subprocess.Popen(
        [node, "server.mjs"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture
def world(tmp_path: Path, issuer: str) -> Iterator[World]:
    scopes = ("openid", "profile", "email", "groups")
    config = OidcConfig(
        "corp",
        issuer,
        "limen",
        client_secret="corp-secret",
        scopes=scopes,
        people=SourceRules(group_prefix="corp/"),
    )
    clock = FakeClock(time.time())  # the provider lives in real time
    world = World(tmp_path, oidc=(config,), clock=clock, secret=lambda name: Secret(name))
    world.add("ada")
    yield world
    world.store.close()


def _at_provider(url: str, login: str) -> str:
    """Sign in and consent at the provider's own pages; return where it sends the browser back to."""
    with httpx.Client(trust_env=False) as browser:
        answer = browser.get(url)
        for _ in range(12):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["location"])
                if target.startswith(AUTH):
                    return target
                answer = browser.get(target)
                continue
            action, hidden = forms(answer.text)[0]
            answer = browser.post(
                urljoin(str(answer.url), action), data={**hidden, "login": login, "password": "x"}
            )
    raise AssertionError(f"the provider did not come back: {answer.status_code}")


def test_a_person_signs_in_through_a_provider_that_is_not_ours(world: World) -> None:
    browser = world.browser()
    page = browser.follow(browser.get(browser.authorize_url("wiki", "/welcome")))
    assert "/oidc/corp/start" in page.text
    sent = browser.get(f"/oidc/corp/start?flow={browser.form(page)['flow']}").headers["location"]
    answer = browser.get(_at_provider(sent, "grace"))
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
    browser.get(_at_provider(browser.get("/oidc/corp/start").headers["location"], "grace"))
    world.clock.advance(1000)
    url = browser.authorize_url(need="fresh-sign-in", max_age="900")
    sent = browser.get(browser.get(browser.get(url).headers["location"]).headers["location"]).headers[
        "location"
    ]
    assert "max_age=900" in sent
    answer = browser.get(_at_provider(sent, "grace"))
    assert answer.status_code == 403, "the provider's clock stayed behind, so its sign-in is not fresh"


def test_the_provider_refuses_a_code_that_was_used(world: World) -> None:
    browser = world.browser()
    callback = _at_provider(browser.get("/oidc/corp/start").headers["location"], "grace")
    assert browser.get(callback).status_code == 303
    assert world.browser("192.0.2.2").get(callback).status_code == 403

"""Into an app by a provider that is not ours (npm's `oidc-provider`), through the real gateway."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from urllib.parse import unquote, urljoin

import httpx
import pytest
from demo_rig import Demo
from journey_rig import apply_bundle, wait_until

from limen.services.form_client import FormClient

pytestmark = pytest.mark.envoy

PACKAGE = "oidc-provider@9.13.3"
GROUPS = 200  # more than any cookie or header could carry
SECRET = "provider-secret"

SERVER = """
import http from 'node:http';
import Provider from 'oidc-provider';
const groups = ['visitors', ...Array.from({ length: %d }, (_, n) => `team-${n}`)];
const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'limen', client_secret: '%s', redirect_uris: ['%s'] }],
    claims: { openid: ['sub', 'amr'], profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'], groups: ['groups', 'hasgroups'] },
    scopes: ['openid', 'profile', 'email', 'groups'],
    cookies: { keys: ['only for this test'] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: 'Hedy Lamarr',
      preferred_username: id, email: `${id}@corp.example`, email_verified: true,
      ...(id === 'judy' ? { hasgroups: true } : { groups }) }) }),  // judy has too many to list
  });
  const finished = provider.interactionFinished.bind(provider);  // two show two factors there
  provider.interactionFinished = (req, res, result, options) => {
    if (['hedy', 'judy'].includes(result.login?.accountId)) result.login.amr = ['pwd', 'mfa'];
    return finished(req, res, result, options);
  };
  server.on('request', provider.callback());
  console.log(issuer);
});
"""


@pytest.fixture(scope="module")
def issuer(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The provider, which knows the demo as its client."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are needed to run a provider that is not ours")
    folder = tmp_path_factory.mktemp("provider")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefer-offline", PACKAGE]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr[-200:]}")
    (folder / "server.mjs").write_text(SERVER % (GROUPS, SECRET, f"{demo.auth_url}/oidc/corp/callback"))
    with subprocess.Popen(
        [node, "server.mjs"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture(scope="module")
def wiki(demo: Demo, issuer: str) -> Iterator[str]:
    """Do what the guide says: name the provider, store its secret, let its groups in."""
    stored = demo.limen("secret", "set", "corp-oidc", input=SECRET)
    assert stored.returncode == 0, stored.stderr
    assert SECRET not in demo.limen("secret", "list", "--json").stdout
    provider = {
        "issuer": issuer,
        "client_id": "limen",
        "client_secret": "corp-oidc",
        "scopes": ["openid", "profile", "email", "groups"],
        "group_prefix": "corp:",
    }
    apply_bundle(demo, lambda content: content.update(oidc={"corp": provider}))
    assert demo.limen("group", "add", "corp:visitors").returncode == 0
    assert demo.limen("group", "nest", "corp:visitors", "staff").returncode == 0
    yield demo.url("wiki", "/page/home")
    apply_bundle(demo, lambda content: content.pop("oidc", None))


def sign_in_at_provider(client: FormClient, issuer: str, url: str, login: str) -> httpx.Response:
    """Go to an app, choose the provider on the sign-in page, sign in and consent there."""
    page = client.get(url)
    start = re.search(r'href="(/oidc/corp/start[^"]*)"', page.text)
    assert start is not None, "the sign-in page offers the provider"
    page = client.get(urljoin(str(page.url), start[1].replace("&amp;", "&")))
    for _ in range(2):  # sign in, then consent
        assert str(page.url).startswith(issuer), page.text
        page = client.submit(page, {"login": login, "password": "x"})
    return page


def test_a_person_comes_through_the_provider_to_the_page_that_they_asked_for(
    demo: Demo, issuer: str, wiki: str
) -> None:
    with demo.client() as client:
        page = sign_in_at_provider(client, issuer, f"{wiki}?from=mail", "hedy")
        assert (page.status_code, unquote(str(page.url))) == (200, f"{wiki}?from=mail")
        hedy = demo.admin.get("/v1/people/hedy")
        assert (hedy["source"], hedy["name"], hedy["email"]) == (
            "oidc:corp",
            "Hedy Lamarr",
            "hedy@corp.example",
        )
        assert len(hedy["groups"]) == GROUPS + 1
        assert all(group.startswith("corp:") for group in hedy["groups"])
        (session,) = demo.admin.get("/v1/sessions", person="hedy")
        assert (session["aal"], session["apps"]) == (2, ["wiki"])
        cookies = sum(len(one.name) + len(one.value or "") for one in client.http.cookies.jar)
        assert cookies < 2_000, "groups are rows, not cookies"

        demo.admin.delete("/v1/sessions", person="hedy", reason="test")
        wait_until(
            "the wiki is shut",
            lambda: client.http.get(wiki, headers={"Accept": "text/plain"}).status_code == 401,
            20,
        )


def test_a_provider_that_vouches_for_one_factor_only_does_not_open_an_app_that_wants_two(
    demo: Demo, issuer: str, wiki: str
) -> None:
    with demo.client() as client:
        page = sign_in_at_provider(client, issuer, wiki, "ivan")
        assert not str(page.url).startswith(wiki)
        (session,) = demo.admin.get("/v1/sessions", person="ivan")
        assert session["aal"] == 1
        assert client.http.get(wiki, headers={"Accept": "application/json"}).status_code == 401


def test_the_username_of_somebody_here_is_not_taken_over(demo: Demo, issuer: str, wiki: str) -> None:
    with demo.client() as client:
        page = sign_in_at_provider(client, issuer, wiki, "ada")
        assert page.status_code >= 400
        assert demo.admin.get("/v1/people/ada")["identities"] == []
        assert client.http.get(wiki, headers={"Accept": "application/json"}).status_code == 401


def test_groups_that_are_only_pointed_to_are_unknown_and_the_page_says_so(
    demo: Demo, issuer: str, wiki: str
) -> None:
    with demo.client() as client:
        page = sign_in_at_provider(client, issuer, wiki, "judy")
        assert page.status_code == 403
        assert "did not say which groups you are in" in page.text
        assert client.http.get(wiki, headers={"Accept": "application/json"}).status_code == 403


def test_what_a_provider_calls_is_reached_through_the_gateway(demo: Demo, issuer: str, wiki: str) -> None:
    with demo.client() as client:
        told = client.http.post(f"{demo.auth_url}/oidc/corp/backchannel", data={"logout_token": "a.b.c"})
        assert (told.status_code, told.json()) == (400, {"error": "invalid_request"})
        framed = client.http.get(f"{demo.auth_url}/oidc/corp/logout", params={"iss": issuer, "sid": "none"})
        assert (framed.status_code, framed.text) == (200, "")
        assert "x-frame-options" not in framed.headers


def test_a_provider_that_is_taken_out_of_the_bundle_takes_its_sessions_with_it(
    demo: Demo, issuer: str, wiki: str
) -> None:
    with demo.client() as client:
        page = sign_in_at_provider(client, issuer, wiki, "hedy")
        assert page.status_code == 200
        apply_bundle(demo, lambda content: content.pop("oidc"))
        wait_until("its sessions are over", lambda: not demo.admin.get("/v1/sessions", person="hedy"), 20)
        wait_until(
            "the wiki is shut",
            lambda: client.http.get(wiki, headers={"Accept": "text/plain"}).status_code == 401,
            20,
        )
        assert demo.admin.get("/v1/people/hedy")["groups"] == []

"""A person signs in through npm's `samlp`, a SAML identity provider that is not ours."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import saml_forger as forger
from identity_world import forms
from saml_world import CONSUMER, SamlWorld

from limen.core.clock import FakeClock
from limen.core.identity_config import SamlConfig, SourceRules
from limen.store import directory

PACKAGE = "samlp@8.0.0"

SERVER = """
import http from 'node:http';
import fs from 'node:fs';
import samlp from 'samlp';
const [cert, key, limen] = ['idp.pem', 'idp.key', 'limen.pem'].map((name) => fs.readFileSync(name, 'utf8'));
const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const origin = `http://127.0.0.1:${server.address().port}`;
  const metadata = samlp.metadata({ issuer: origin, cert,
    redirectEndpointPath: '/sso', postEndpointPath: '/sso', logoutEndpointPaths: { redirect: '/slo' } });
  const sso = samlp.auth({ issuer: origin, cert, key, signResponse: true, signingCert: limen,
    destination: process.argv[2], recipient: process.argv[2],
    authnContextClassRef: 'https://refeds.org/profile/mfa', sessionIndex: '_session-7',
    getPostURL: (audience, request, req, done) =>
      done(null, request.documentElement.getAttribute('AssertionConsumerServiceURL')),
    getUserFromRequest: () => ({ id: 'hedy-0042', emails: [{ value: 'hedy@corp.example' }],
      displayName: 'Hedy Lamarr', name: { givenName: 'Hedy', familyName: 'Lamarr' },
      team: ['visitors', 'radio'] }) });
  server.on('request', (req, res) => {
    const url = new URL(req.url, origin);
    req.query = Object.fromEntries(url.searchParams);
    Object.assign(req, { originalUrl: req.url, protocol: 'http' });
    res.set = (name, value) => res.setHeader(name, value);
    res.send = (body) => res.end(String(body));
    const next = (error) => { res.statusCode = 500; res.end(String(error)); };
    if (url.pathname === '/metadata') metadata(req, res, next);
    else sso(req, res, next);
  });
  console.log(origin);
});
"""
CLAIMS = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The provider, which knows Limen's certificate and holds requests to it."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None or shutil.which("xmlsec1") is None:
        pytest.skip("npm, node and xmlsec1 are needed to run a provider that is not ours")
    folder = tmp_path_factory.mktemp("provider")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefer-offline", PACKAGE]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr[-200:]}")
    idp = forger.party("npm")
    texts = {
        "server.mjs": SERVER,
        "idp.pem": idp.certificate,
        "idp.key": idp.private_pem,
        "limen.pem": forger.party("limen").certificate,
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    with subprocess.Popen(
        [node, "server.mjs", CONSUMER],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture
def world(tmp_path: Path, origin: str) -> SamlWorld:
    config = SamlConfig(
        name="corp",
        metadata=httpx.get(f"{origin}/metadata").text,
        email=f"{CLAIMS}/emailaddress",
        display_name=f"{CLAIMS}/name",
        groups="http://schemas.passportjs.com/team",
        people=SourceRules(domains=("corp.example",), group_prefix="corp:"),
    )
    world = SamlWorld(tmp_path, config, clock=FakeClock(time.time()))
    world.add("root")
    return world


def test_a_person_signs_in_through_a_provider_that_is_not_ours(world: SamlWorld) -> None:
    browser = world.browser()
    sent = browser.get("/saml/corp/start").headers["location"]
    page = httpx.get(sent)
    assert page.status_code == 200, page.text
    (_, fields) = forms(page.text)[0]
    posted = world.browser().http.post("/saml/corp/acs", data=fields)
    assert posted.status_code == 303, posted.text
    answer = browser.get(posted.headers["location"])
    assert answer.is_redirect, world.why()
    assert answer.headers["location"] == "/"
    with world.store.read() as connection:
        person = directory.get_person(connection, "hedy-0042")
    assert (person.name, person.email, person.source) == ("Hedy Lamarr", "hedy@corp.example", "saml:corp")
    assert person.groups == ("corp:radio", "corp:visitors")
    event = next(event for event in world.events if event.kind == "sign_in.succeeded")
    assert (event.data["methods"], event.data["aal"]) == (["saml:corp"], 2)  # REFEDS MFA


def test_the_provider_takes_nothing_that_limen_has_not_signed(world: SamlWorld) -> None:
    sent = world.browser().get("/saml/corp/start").headers["location"]
    assert httpx.get(sent.replace("&RelayState=", "&RelayState=x")).status_code == 500

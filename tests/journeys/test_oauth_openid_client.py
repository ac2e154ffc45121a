"""npm's `openid-client`, a certified relying party that is not ours, signs people in through Limen."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from oauth_rig import OauthRig

from limen.store import directory

PACKAGE = "openid-client@6.8.9"
CALLBACK = "http://127.0.0.1:9/callback"
LIMEN_YAML = f"""
domain: limen.localhost
clients:
  app:
    allow: [group:staff]
    oidc:
      redirect_uris: [{CALLBACK}]
      post_logout_redirect_uris: [http://127.0.0.1:9/bye]
      grants: [authorization_code, refresh_token, device_code]
      audiences: [payments]
  keyed:
    allow: [group:staff]
    oidc:
      redirect_uris: [{CALLBACK}]
      auth: private_key_jwt
      jwks: keyed.json
      signing: ES256
  secret:
    allow: [group:staff]
    oidc: {{redirect_uris: [{CALLBACK}], auth: secret, secret: other-new, signing: PS256}}
  payments: {{audience: "https://api.example/payments", allow: [group:payers]}}
"""

SCRIPT = """
import dns from 'node:dns';
import readline from 'node:readline';
import * as client from 'openid-client';

const lookup = dns.lookup;
dns.lookup = (host, options, done) => {
  if (!host.endsWith('.localhost')) return lookup(host, options, done);
  if (typeof options === 'function') return options(null, '127.0.0.1', 4);
  return options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
};
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const hear = async () => JSON.parse((await lines.next()).value);
const ask = async (said) => { console.log(JSON.stringify(said)); return hear(); };
const { issuer, callback, privateJwk, secret } = await hear();
const outcome = async (work) => {
  try { return await work(); } catch (error) { return { error: error.error ?? error.code ?? error.message }; }
};

const discover = (name, auth) => client.discovery(new URL(issuer), name, undefined, auth);
const signIn = async (config, more = {}, options = {}) => {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState(), nonce = client.randomNonce();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: callback, scope: 'openid profile email groups', state, nonce, ...more,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  });
  const { at } = await ask({ visit: url.href });
  return client.authorizationCodeGrant(config, new URL(at),
    { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce }, undefined, options);
};
const told = {};

// a public client, bound to a key
const app = await discover('app', client.None());
const DPoP = client.getDPoPHandle(app, await client.randomDPoPKeyPair());
let tokens = await signIn(app, {}, { DPoP });
told.claims = tokens.claims();
told.type = tokens.token_type;
told.userinfo = await client.fetchUserInfo(app, tokens.access_token, 'ada', { DPoP });
const first = tokens.refresh_token;
tokens = await client.refreshTokenGrant(app, first, undefined, { DPoP });
told.refreshed = tokens.refresh_token !== first;
told.stolen = await outcome(() => client.refreshTokenGrant(app, tokens.refresh_token));
await client.tokenRevocation(app, tokens.refresh_token);
told.revoked = await outcome(() => client.refreshTokenGrant(app, tokens.refresh_token, undefined, { DPoP }));

// a denial, told to the client
told.denied = await outcome(() => signIn(app, { prompt: 'none', resource: 'https://api.example/other' }));
tokens = await signIn(app, { resource: 'https://api.example/payments' });
told.api = JSON.parse(Buffer.from(tokens.access_token.split('.')[1], 'base64url'));

// a client with a key of its own, whose refresh is decided
const kind = { name: 'ECDSA', namedCurve: 'P-256' };
const key = await crypto.subtle.importKey('jwk', privateJwk, kind, false, ['sign']);
const keyed = await discover('keyed', client.PrivateKeyJwt({ key, kid: 'k1' }));
tokens = await signIn(keyed);
told.keyed = tokens.claims().sub;
const inspected = await client.tokenIntrospection(keyed, tokens.access_token);
told.active = inspected.active;
await ask({ leave: 'bob' });
told.left = await outcome(() => client.refreshTokenGrant(keyed, tokens.refresh_token));
told.inactive = (await client.tokenIntrospection(keyed, tokens.access_token)).active;

// a client with a secret, refresh reuse
const other = await discover('secret', client.ClientSecretBasic(secret));
tokens = await signIn(other);
const second = await client.refreshTokenGrant(other, tokens.refresh_token);
told.reused = await outcome(() => client.refreshTokenGrant(other, tokens.refresh_token));
told.after = await outcome(() => client.refreshTokenGrant(other, second.refresh_token));

// a device
const began = await client.initiateDeviceAuthorization(app, { scope: 'openid' });
await ask({ approve: began.verification_uri_complete });
tokens = await client.pollDeviceAuthorizationGrant(app, { ...began, interval: 0.1 });
told.device = tokens.claims().sub;
told.logout = client.buildEndSessionUrl(app, {
  id_token_hint: tokens.id_token, post_logout_redirect_uri: 'http://127.0.0.1:9/bye', state: 'done',
}).href;
console.log(JSON.stringify({ told }));
process.exit(0);
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are needed to run a client that is not ours")
    folder = tmp_path_factory.mktemp("client")
    (folder / "package.json").write_text("{}")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefer-offline", PACKAGE]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    if installed.returncode:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr[-200:]}")
    (folder / "client.mjs").write_text(SCRIPT)
    return folder


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[OauthRig]:
    with OauthRig(tmp_path, LIMEN_YAML) as rig:
        yield rig


class Program:
    """The script under node: it says what it needs, and is answered."""

    def __init__(self, folder: Path, rig: OauthRig) -> None:
        self.rig = rig
        self.browser = rig.browser()
        self.process = subprocess.Popen(
            ["node", "client.mjs"],
            cwd=folder,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "NODE_EXTRA_CA_CERTS": str(rig.ca)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def say(self, value: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def run(self) -> dict[str, Any]:
        """Serve the script's wishes until it has told what it saw."""
        assert self.process.stdout is not None and self.process.stderr is not None
        for line in self.process.stdout:
            wish = json.loads(line)
            if "told" in wish:
                return dict(wish["told"])
            self.say(getattr(self, next(iter(wish)))(next(iter(wish.values()))))
        raise AssertionError(self.process.stderr.read())

    def visit(self, url: str) -> dict[str, str]:
        page = self.browser.get(url)
        if page.status_code == 200 and 'name="username"' in page.text:
            page = self.browser.sign_in("ada", url)
        assert page.is_redirect or "http-equiv" in page.text, page.text[:2000]
        if page.is_redirect:
            return {"at": page.headers["location"]}
        start = page.text.index("0;url=") + len("0;url=")
        return {"at": page.text[start : page.text.index('"', start)].replace("&amp;", "&")}

    def approve(self, url: str) -> dict[str, bool]:
        page = self.browser.submit(self.browser.get(url), {"answer": "allow"})
        assert "is signed in" in page.text, page.text
        self.rig.world.clock.advance(10)  # polls are not too often
        return {"done": True}

    def leave(self, _: str) -> dict[str, bool]:
        world = self.rig.world
        with world.store.transaction("test", "leaves") as tx:
            directory.remove_member(tx, "staff", "ada")
        world.round()
        with world.store.transaction("test", "comes back") as tx:
            directory.add_member(tx, "staff", "ada")
        return {"done": True}


def test_openid_client_signs_people_in(folder: Path, rig: OauthRig) -> None:
    program = Program(folder, rig)
    key = rig.world.client_key.as_dict(private=True)
    program.say(
        {
            "issuer": rig.issuer,
            "callback": CALLBACK,
            "privateJwk": {name: key[name] for name in ("kty", "crv", "x", "y", "d")},
            "secret": rig.world.secrets["other-new"],
        }
    )
    try:
        told = program.run()
    finally:
        program.process.kill()
        program.process.wait()
    assert told["claims"]["sub"] == "ada" and told["claims"]["groups"] == ["payers", "staff"]
    assert told["type"].lower() == "dpop" and told["userinfo"]["email"] == "ada@limen.localhost"
    assert told["refreshed"] is True
    assert told["stolen"] == {"error": "invalid_dpop_proof"}
    assert told["revoked"] == {"error": "invalid_grant"}
    assert told["denied"] == {"error": "invalid_target"}
    assert told["api"]["aud"] == "https://api.example/payments"
    assert told["keyed"] == "ada" and told["active"] is True
    assert told["left"] == {"error": "invalid_grant"} and told["inactive"] is False
    assert told["reused"] == {"error": "invalid_grant"} and told["after"] == {"error": "invalid_grant"}
    assert told["device"] == "ada"
    page = program.browser.get(told["logout"])
    assert "You are signed out" in page.text and "http://127.0.0.1:9/bye?state=done" in page.text
    assert parse_qs(urlsplit(told["logout"]).query)["state"] == ["done"]

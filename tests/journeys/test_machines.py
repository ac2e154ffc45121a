"""Machines through the whole system: npm's `openid-client` gets them their tokens, Envoy takes their SVIDs.

What they then have open is cut when they are stopped, as a person's is.
"""

import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from demo_rig import Demo, running_demo
from envoy_h2 import H2Client
from envoy_rig import free_port
from joserfc import jwt
from joserfc.jwk import ECKey
from journey_rig import wait_until
from live_rig import WAIT_S, WebSocket, ordered, wait_streams
from svid_ca import TrustDomain, present

pytestmark = pytest.mark.envoy

PACKAGE = "openid-client@6.8.9"
ISSUER = "https://ci.example"
CLIENT = """
import fs from 'node:fs';
import https from 'node:https';
import * as oidc from 'openid-client';
const given = JSON.parse(fs.readFileSync(0, 'utf8'));
const ca = fs.readFileSync(given.ca);
// Names of the demo are of this machine; Node's own fetch shows no client certificate.
const call = (url, options) => new Promise((done, failed) => {
  const headers = Object.fromEntries(new Headers(options.headers));
  const tls = { ca, cert: given.cert, key: given.certKey, method: options.method, headers, agent: false,
    lookup: (name, how, found) => how.all ? found(null, [{ address: '127.0.0.1', family: 4 }])
      : found(null, '127.0.0.1', 4) };
  const request = https.request(url, tls, (answer) => {
    const parts = [];
    answer.on('data', (part) => parts.push(part));
    const told = () => Object.entries(answer.headers).map(([name, value]) => [name, String(value)]);
    answer.on('end', () => done(new Response(Buffer.concat(parts),
      { status: answer.statusCode, headers: told() })));
  });
  request.on('error', failed);
  request.end(options.body ? String(options.body) : undefined);
});
const found = {};
const tell = async (name, work) => {
  try { found[name] = await work(); } catch (error) { found[name] = { error: error.error ?? String(error) }; }
};
const by = (method, more) => oidc.discovery(new URL(given.issuer), 'robot', { ...more }, method,
  { [oidc.customFetch]: call });
const key = await crypto.subtle.importKey('jwk', given.jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false,
  ['sign']);
const config = await by(oidc.PrivateKeyJwt({ key, kid: given.jwk.kid }));
await tell('key', () => oidc.clientCredentialsGrant(config));
await tell('bound', async () => {
  const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair('ES256'));
  const tokens = await oidc.clientCredentialsGrant(config, { audience: 'wiki' }, { DPoP });
  const url = new URL(given.wiki);
  const token = tokens.access_token;
  const used = await oidc.fetchProtectedResource(config, token, url, 'GET', null, null, { DPoP });
  const bare = await call(url, { method: 'GET', headers: { authorization: `Bearer ${token}` } });
  return { type: tokens.token_type, used: used.status, bare: bare.status };
});
const exchange = (token) => ({ subject_token: token,
  subject_token_type: 'urn:ietf:params:oauth:token-type:jwt' });
const nobody = await by(oidc.None());
const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
await tell('exchanged', () => oidc.genericGrantRequest(nobody, GRANT, exchange(given.subject)));
await tell('stranger', () => oidc.genericGrantRequest(nobody, GRANT, exchange(given.stranger)));
const mutual = await by(oidc.TlsClientAuth(), { use_mtls_endpoint_aliases: true });
await tell('mutual', () => oidc.clientCredentialsGrant(mutual));
console.log(JSON.stringify(found));
"""


class System(NamedTuple):
    """A demo that knows a workload by each way in."""

    demo: Demo
    port: int
    trust: TrustDomain
    svid: tuple[str, str, str]
    ci: ECKey
    jwk: dict[str, Any]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    port, trust = free_port(), TrustDomain("prod.example")
    ci = ECKey.generate_key("P-256", {"kid": "ci", "use": "sig"})
    file = tmp_path_factory.mktemp("machines") / "robot.jwk"
    with running_demo() as demo:
        ordered(demo, "workload", "create", "robot", "--owner", "ada", "--purpose", "pays suppliers")
        ordered(demo, "workload", "key", "new", "robot", "--out", str(file))
        apply(demo, port, trust, ci)
        svid = trust.issue("spiffe://prod.example/robot")
        made = System(demo, port, trust, svid, ci, json.loads(file.read_text()))
        wait_until("the port for machines", lambda: reachable(made), WAIT_S)
        yield made


def apply(demo: Demo, port: int, trust: TrustDomain, ci: ECKey) -> None:
    """Let the workload in: a few lines of `limen.yaml`, and two files."""
    files = dict(demo.admin.get("/v1/policy")["files"])
    lines = files["limen.yaml"]
    lines = lines.replace("allow: [group:staff]", "allow: [group:staff, workload:robot]")
    lines = lines.replace("allow: [group:engineers]", "allow: [group:engineers, workload:robot]")
    files["limen.yaml"] = f"""{lines}
machines:
  port: {port}
  issuers:
    ci:
      issuer: {ISSUER}
      audience: {demo.auth_url}
      jwks: ci.json
      workloads: {{robot: {{sub: "repo:acme/*:ref:refs/heads/main"}}}}
  spiffe:
    prod.example:
      bundle: prod-ca.pem
      workloads: {{robot: spiffe://prod.example/robot}}
"""
    files |= {"prod-ca.pem": trust.pem, "ci.json": json.dumps({"keys": [ci.as_dict(private=False)]})}
    demo.admin.post("/v1/policy/apply", {"files": files, "reason": "machines"})


def context(system: System, *, svid: bool, alpn: str = "http/1.1") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(system.demo.ca_file))
    made.set_alpn_protocols([alpn])
    if svid:
        present(made, system.svid)
    return made


def h2(system: System, host: str, *, svid: bool) -> H2Client:
    port = system.port if svid else system.demo.port
    plain = socket.create_connection(("127.0.0.1", port), WAIT_S)
    return H2Client(context(system, svid=svid, alpn="h2").wrap_socket(plain, server_hostname=host))


def get(system: System, host: str, *headers: tuple[str, str], svid: bool = False) -> int:
    with h2(system, host, svid=svid) as client:
        return client.status(client.get(host, "/", *headers))


def reachable(system: System) -> bool:
    try:
        return get(system, "wiki.limen.localhost", svid=True) == 200
    except OSError:
        return False


def bearer(system: System) -> str:
    """Return a token of the workload's, by its own key."""
    claims = {"iss": "robot", "sub": "robot", "aud": system.demo.auth_url, "exp": time.time() + 60}
    key = ECKey.import_key(system.jwk)
    assertion = jwt.encode(
        {"alg": "ES256", "kid": system.jwk["kid"]}, {**claims, "jti": str(time.time())}, key
    )
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    url = f"https://127.0.0.1:{system.demo.port}/oauth2/token"
    host = system.demo.auth_url.removeprefix("https://")
    with httpx.Client(verify=context(system, svid=False)) as http:
        answer = http.post(
            url, data=form, headers={"host": host}, extensions={"sni_hostname": "auth.limen.localhost"}
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def test_a_client_that_is_not_ours_gets_tokens_in_every_way(system: System, tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are needed to run a client that is not ours")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefer-offline", PACKAGE]
    installed = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr[-200:]}")
    (tmp_path / "client.mjs").write_text(CLIENT)
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": system.demo.auth_url, "iat": now, "exp": now + 300}
    subject = {**claims, "sub": "repo:acme/shop:ref:refs/heads/main"}
    stranger = {**claims, "sub": "repo:evil/shop:ref:refs/heads/main"}
    signed = [jwt.encode({"alg": "ES256", "kid": "ci"}, one, system.ci) for one in (subject, stranger)]
    given = {
        "ca": str(system.demo.ca_file),
        "issuer": system.demo.auth_url,
        "jwk": system.jwk,
        "wiki": system.demo.url("wiki"),
        "subject": signed[0],
        "stranger": signed[1],
        "cert": system.svid[0],
        "certKey": system.svid[1],
    }
    done = subprocess.run(
        [node, "client.mjs"],
        cwd=tmp_path,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["key"]["token_type"] == "bearer" and found["key"]["expires_in"] == 3600
    assert found["bound"] == {"type": "dpop", "used": 200, "bare": 401}
    assert found["exchanged"]["issued_token_type"].endswith(":access_token")
    assert found["stranger"]["error"] == "invalid_grant"
    wiki = "wiki.limen.localhost"
    assert get(system, wiki, ("authorization", f"Bearer {found['exchanged']['access_token']}")) == 200
    mutual = ("authorization", f"Bearer {found['mutual']['access_token']}")
    assert get(system, wiki, mutual) == 401, "it is bound to the certificate"
    assert get(system, wiki, mutual, svid=True) == 200


def test_what_a_stopped_workload_has_open_is_cut(system: System) -> None:
    """A WebSocket's worth by token, a tunnel by token, a tunnel by SVID: all end, and none comes back."""
    demo, token = system.demo, bearer(system)
    wiki, ledger = "wiki.limen.localhost", "ledger.limen.localhost"
    auth = ("authorization", f"Bearer {token}")
    with h2(system, ledger, svid=False) as by_token, h2(system, ledger, svid=True) as by_svid:
        tunnels = [by_token.connect(f"{ledger}:443", auth), by_svid.connect(f"{ledger}:443")]
        assert [by_token.status(tunnels[0]), by_svid.status(tunnels[1])] == [200, 200]
        with WebSocket(demo, demo.url("wiki", "/live/words"), {"Authorization": f"Bearer {token}"}) as talk:
            rows = wait_streams(demo, 3, user="robot")
            assert all(row["session"].startswith("workload:robot:") for row in rows)
            ordered(demo, "workload", "suspend", "robot", "--reason", "leaked")
            talk.read_to_end()
            assert by_token.read_all(tunnels[0]) is not None and by_svid.read_all(tunnels[1]) is not None
            assert by_token.is_over(tunnels[0]) and by_svid.is_over(tunnels[1])
        wait_streams(demo, 0, user="robot")
    assert get(system, wiki, auth) == 401
    assert get(system, wiki, svid=True) == 403
    ordered(demo, "workload", "release", "robot", "--reason", "a new key")
    assert get(system, wiki, auth) == 401, "not by the old token"
    wait_until("the SVID is let in again", lambda: get(system, wiki, svid=True) == 200, WAIT_S)
    rows = [row for row in demo.decisions(resource="wiki") if row["subject"] == 'Workload::"robot"']
    verdicts = {row["verdict"]: row["id"] for row in rows}
    assert set(verdicts) == {"allow", "deny"}
    assert all(demo.admin.get(f"/v1/decisions/{one}")["agrees"] for one in verdicts.values())
    (shown,) = [one for one in demo.admin.get("/v1/workloads") if one["id"] == "robot"]
    assert shown["used_at"] is not None

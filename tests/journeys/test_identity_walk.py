"""A walk through identity on the whole demo: every kind of who, and one trail of them all.

An app and a pipeline sign in, a client's people are deactivated, emergency access is used and reviewed,
while a provider, a mail server and a directory do not answer. The journal tells of it; replay agrees.
"""

import base64
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from demo_rig import Demo, running_demo
from joserfc import jwt
from joserfc.jwk import ECKey
from journey_rig import wait_until

from limen.services.demo.traveller import Traveller
from limen.services.form_client import Form, FormClient

pytestmark = pytest.mark.envoy

CALLBACK = "http://127.0.0.1:18/cb"
API = "https://api.example.com"
VERIFIER = "v" * 50
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
BUNDLE = f"""
clients:
  grafana:
    title: Grafana
    url: "{CALLBACK}"
    allow: [group:staff]
    oidc: {{redirect_uris: "{CALLBACK}"}}
  reports: {{audience: "{API}", owner: ada, allow: [workload:ci]}}
oidc:
  corp: {{issuer: "https://127.0.0.1:1", client_id: limen, auth: none, title: Corporate login}}
ldap:
  hq: {{url: "ldaps://127.0.0.1:1", base: dc=x, bind_dn: cn=x, bind_secret: hq, people_filter: (cn=*)}}
notices:
  smtp: {{host: 127.0.0.1, port: 1, from: limen@limen.localhost, tls: none}}
"""
POLICY = '@id("ci-tool") @reason("It reads.")\npermit (principal == Workload::"ci", action == Action::"read", resource in App::"tool");\n'  # noqa: E501


def ok(demo: Demo, *said: str, **options: Any) -> str:
    done = demo.limen(*said, **options)
    assert done.returncode == 0, (said, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo of our own, whose bundle has clients, and three parties that are down."""
    folder = tmp_path_factory.mktemp("walk") / "b"
    with running_demo() as demo:
        shutil.copytree(demo.state_dir / "bundle", folder)
        with (folder / "limen.yaml").open("a") as file:
            file.write(BUNDLE)
        (folder / "policies" / "entitlements" / "ci.cedar").write_text(POLICY)
        demo.admin.put("/v1/secrets/hq", {"value": "nobody-listens", "reason": "walk"})
        demo.admin.post("/v1/workloads", {"id": "ci", "owner": "ada", "reason": "walk"})
        planned = ok(demo, "policy", "apply", str(folder), "--yes", "--no-plan", "--reason", "walk")
        assert "Applied" in planned
        yield demo


def sign_in_at_grafana(demo: Demo, who: Traveller) -> dict[str, Any]:
    """Sign in at the app, and let it redeem the code."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": "grafana",
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": "openid offline_access",
        "state": "s",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    answer = who.ask(f"{demo.auth_url}/oauth2/authorize?{urlencode(asked)}")
    assert answer.location.startswith(CALLBACK), (answer.status, answer.page.title, answer.location)
    code = parse_qs(urlsplit(answer.location).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    return token(demo, **form, client_id="grafana", code_verifier=VERIFIER)[1]


def token(demo: Demo, **form: str) -> tuple[int, dict[str, Any]]:
    with demo.client() as client:
        answer = client.http.post(f"{demo.auth_url}/oauth2/token", data=form)
        return answer.status_code, answer.json()


def test_people_sign_in_while_provider_mail_and_directory_are_down(walk: Demo) -> None:
    with walk.client() as stranger:
        away = stranger.http.get(f"{walk.auth_url}/oidc/corp/start", headers={"Accept": "text/html"})
    assert away.status_code == 503 and "Sign in another way" in away.text
    assert "Traceback" not in away.text and "127.0.0.1" not in away.text
    assert "Queued for smtp" in ok(walk, "notice", "test", "grace")
    with walk.traveller("grace") as grace:
        assert grace.sign_in(walk.url("wiki")).status_code == 200
        tokens = sign_in_at_grafana(walk, grace)
        assert "Grafana" in grace._browser.get(f"{walk.auth_url}/").text, "the portal shows it"
    walk.admin.patch("/v1/people/grace", {"quarantined": True, "reason": "walk"})
    refresh = {
        "grant_type": "refresh_token",
        "refresh_token": tokens["refresh_token"],
        "client_id": "grafana",
    }
    status, said = token(walk, **refresh)
    assert (status, said["error"]) == (400, "invalid_grant")
    wait_until("the mail is tried", lambda: "Check notices.smtp.host" in ok(walk, "notice", "list"))
    # The directory is read as soon as the bundle names it.
    wait_until(
        "it is read",
        lambda: any("does not answer" in str(one) for one in walk.admin.get("/v1/sources")),
    )


def test_a_pipeline_proves_itself_by_its_key(walk: Demo, tmp_path: Path) -> None:
    ok(walk, "workload", "key", "new", "ci", "--out", str(tmp_path / "ci.jwk"))
    held = json.loads((tmp_path / "ci.jwk").read_text())

    def ask(**more: str) -> dict[str, Any]:
        now = int(time.time())
        said = {"iss": "ci", "sub": "ci", "aud": walk.auth_url, "iat": now, "exp": now + 60}
        header = {"alg": "ES256", "kid": held["kid"]}
        signed = jwt.encode(header, {**said, "jti": uuid.uuid4().hex}, ECKey.import_key(held))
        form = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER}
        status, body = token(walk, **form, client_assertion=signed, **more)
        assert status == 200, body
        return body

    bearer = {"Authorization": f"Bearer {ask(audience='tool')['access_token']}", "Accept": "application/json"}
    with walk.client() as machine:
        answers = [machine.http.get(walk.url("tool", path), headers=bearer) for path in ("/", "/admin")]
        assert [one.status_code for one in answers] == [200, 403]
        assert ask(audience=API)["access_token"].count(".") == 2, "a JWT of RFC 9068"
        walk.admin.patch("/v1/workloads/ci", {"quarantined": True, "reason": "walk"})
        wait_until(
            "the gateway has heard",
            lambda: machine.http.get(walk.url("tool"), headers=bearer).status_code != 200,
        )
        assert machine.http.get(walk.url("tool"), headers=bearer).json()["code"] == "QUARANTINED"


def test_deactivation_by_scim_cuts_a_stream(walk: Demo) -> None:
    scim = walk.ready["scim"]
    walk.admin.post("/v1/scim/demo/people", {"people": ["linus"], "reason": "walk"})
    headers = {"Authorization": f"Bearer {scim['token']}", "Content-Type": "application/scim+json"}
    with walk.client() as client, walk.traveller("linus") as linus:
        assert linus.sign_in(walk.url("wiki")).status_code == 200
        found = client.http.get(f'{scim["url"]}/Users?filter=userName eq "linus"', headers=headers).json()
        with linus.hold(walk.url("wiki", "/live/ticks")) as stream:
            assert stream.wait_tick(10)
            off = {"op": "Replace", "path": "active", "value": "False"}
            body = {"schemas": [PATCH], "Operations": [off]}
            url = f"{scim['url']}/Users/{found['Resources'][0]['id']}"
            assert client.http.patch(url, headers=headers, json=body).status_code == 200
            assert stream.ended.wait(10)


def test_emergency_access_is_for_limen_alone_and_reviewed(walk: Demo) -> None:
    sealed = ok(walk, "break-glass", "seal", "--reason", "walk")
    credential = next(line.strip() for line in sealed.splitlines() if line.count("-") == 7)
    assert walk.limen("user", "link", "break-glass").returncode == 1, "nobody signs in as it"
    with walk.client() as client:
        assert "Emergency access to Limen is in use" in break_glass(walk, client, credential)
        assert client.get(walk.url("wiki")).status_code == 403
    assert walk.limen("break-glass", "review", "--text", "a walk").returncode == 1, "which one"
    used = walk.admin.get("/v1/break-glass")[0]["id"]
    assert "reviewed" in ok(walk, "break-glass", "review", used, "--text", "a walk")


def break_glass(demo: Demo, client: FormClient, credential: str) -> str:
    url = f"{demo.auth_url}/break-glass"
    form = Form(url, client.get(url).text)
    return client.post(form.action, {**form.hidden, "credential": credential}).text


def test_z_the_journal_has_it_all_and_every_decision_is_derived_again(walk: Demo) -> None:
    held = json.loads(ok(walk, "audit", "search", "--since", "1h", "--limit", "5000", "--json"))
    kinds = {one["kind"] for one in held if one["type"] == "event"}
    assert kinds >= {"client.signed_in", "workload.token_issued", "scim.token_made", "break_glass.used",
                     "break_glass.reviewed", "source.failed", "signing_key.made"}  # fmt: skip
    subjects = {one["subject"] for one in held if one["type"] == "decision" and one["point"] == "issue"}
    assert subjects >= {'User::"grace"', 'Workload::"ci"'}
    assert any(one.get("actor") == "scim:demo" and one["kind"] == "person.suspended" for one in held)
    assert " 0 differ, 0 not derived" in ok(walk, "replay")
    exported = walk.admin.get("/v1/subject", person="linus")
    assert [one["client"] for one in exported["provisioned"]] == ["demo"]
    walk.admin.patch("/v1/people/linus", {"status": "ended", "reason": "walk"})
    walk.admin.post("/v1/subject/erase", {"person": "linus", "reason": "walk"})
    after = walk.admin.get("/v1/subject", person="linus")
    assert not (after["provisioned"] or after["sessions"] or after["sign_ins"] or after["person"]["name"])

"""What workloads prove themselves by, over the admin API and the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import ECKey
from typer.testing import CliRunner

from limen.cli import workload_keys, workloads
from limen.cli.main import app as cli
from limen.engine.starter import starter_files
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

AUTH = "https://auth.corp.example:8443"
PEER = {"x-limen-peer": "203.0.113.9"}


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    root = tmp_path_factory.mktemp("workload-keys")
    files = starter_files("corp.example")
    files = {**files, "limen.yaml": files["limen.yaml"] + "\nmachines: {secrets: [legacy]}\n"}
    for name, text in files.items():
        (root / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "bundle" / name).write_text(text)
    options = ControlOptions(state=root / "s", bundle=root / "bundle", public_port=8443, metrics=None)
    made = Control(StateDir.create(root / "s"), options)
    client = TestClient(made.admin, client=("uid:0", 1))
    assert client.post("/v1/people", json={"id": "ada"}).status_code == 201
    yield made
    made.close()


@pytest.fixture
def api(control: Control) -> TestClient:
    return TestClient(control.admin, client=("uid:0", 1))


class Direct:
    """The admin client, without its socket."""

    def __init__(self, api: TestClient) -> None:
        self._api = api

    def _take(self, answer: Any) -> Any:
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def get(self, path: str, **query: Any) -> Any:
        return self._take(self._api.get(path, params=query))

    def post(self, path: str, body: Any) -> Any:
        return self._take(self._api.post(path, json=body))

    def patch(self, path: str, body: Any) -> Any:
        return self._take(self._api.patch(path, json=body))

    def delete(self, path: str, **query: Any) -> Any:
        return self._take(self._api.delete(path, params=query))


def test_a_key_made_by_the_command_line_gets_a_token_that_calls_the_admin_api(
    control: Control, api: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (workloads, workload_keys):
        monkeypatch.setattr(module, "connect", lambda _state: Direct(api))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["workload", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    run("create", "robot", "--owner", "ada", "--purpose", "builds", "--expires", "30d")
    file = tmp_path / "robot.jwk"
    public = json.loads(run("key", "new", "robot", "--out", str(file), "--name", "ci", "--json"))
    private = json.loads(file.read_text())
    assert file.stat().st_mode & 0o077 == 0 and "d" in private and "d" not in public["public"]
    key = ECKey.import_key(private)
    now = control._clock.now()
    claims = {"iss": "robot", "sub": "robot", "aud": AUTH, "exp": now + 60, "jti": "1"}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode({"alg": "ES256", "kid": private["kid"]}, claims, key),
        "audience": "limen",
    }
    door = TestClient(control.console, base_url=AUTH, headers=PEER, follow_redirects=False)
    token = door.post("/oauth2/token", data=form).json()["access_token"]
    called = door.get("/api/v1/policy", headers={"authorization": f"Bearer {token}"})
    assert called.status_code == 403 and "NO_PERMIT" in called.text, "proven, and policy decides the rest"
    (session,) = json.loads(run("sessions", "robot", "--json"))
    assert session["methods"] == ["key"] and session["about"] == "key ci" and "token_hash" not in session
    run("end-session", session["id"], "--reason", "enough")
    assert door.get("/api/v1/policy", headers={"authorization": f"Bearer {token}"}).status_code == 401
    run("review", "robot", "--reason", "still builds")
    run("extend", "robot", "--expires", "60d", "--reason", "still builds")
    (shown,) = [one for one in json.loads(run("list", "--json")) if one["id"] == "robot"]
    assert shown["flags"] == [] and shown["used_at"] is not None and shown["description"] == "builds"
    (listed,) = json.loads(run("key", "list", "robot", "--json"))
    assert listed["used_at"] is not None
    run("key", "remove", listed["id"], "--reason", "rotated")
    assert "no key" in run("key", "list", "robot")


def test_long_lived_secrets_need_a_policy(api: TestClient) -> None:
    for name in ("modern", "legacy"):
        made = api.post("/v1/workloads", json={"id": name, "owner": "ada"})
        assert made.status_code == 201, made.text
    for path, body in (("secrets", {}), ("tokens", {"name": "x", "expires_s": 86_401})):
        refused = api.post(f"/v1/workloads/modern/{path}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "SECRET_NOT_ALLOWED")
        assert api.post(f"/v1/workloads/legacy/{path}", json=body).status_code == 201
    assert api.post("/v1/workloads/modern/tokens", json={"name": "x", "expires_s": 86_400}).status_code == 201
    shown = api.get("/v1/workloads/legacy").json()
    assert "shared secret" in shown["flags"] and "limen_ws_" not in json.dumps(shown)
    (secret,) = api.get("/v1/workloads/legacy/keys").json()
    assert secret["kind"] == "secret" and "proof" not in secret


def test_what_is_wrong_is_said_and_cured(api: TestClient) -> None:
    api.post("/v1/workloads", json={"id": "picky", "owner": "ada"})
    private = ECKey.generate_key("P-256").as_dict(private=True)
    refused = api.post("/v1/workloads/picky/keys", json={"jwk": private})
    assert refused.status_code == 422 and "private" in refused.json()["detail"]
    assert api.delete("/v1/workload-keys/nope").status_code == 404
    gone = api.post("/v1/workload-sessions/end", json={"session": "workload:picky:0", "reason": "x"})
    assert gone.status_code == 404
    assert api.get("/v1/workloads/nobody/keys").status_code == 404

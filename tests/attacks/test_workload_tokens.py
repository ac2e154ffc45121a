"""A workload's token stolen, guessed, misused and taken elsewhere; and every other way into the admin API."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from attack_rig import Person, Target, browser
from attack_wire import host
from cli_rig import run as limen
from starlette.testclient import TestClient

from limen.core.clock import FakeClock
from limen.core.errors import Invalid
from limen.core.tokens import mint_token, mint_workload_token, verify_token, verify_workload_token
from limen.engine.starter import starter_files
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

CI = '@id("ci") permit(principal in Group::"pipelines", action, resource in App::"limen");'
OTHER = '@id("other") permit(principal == Workload::"other", action, resource == Route::"limen/streams");'
AUTH = "https://auth.corp.example"
PEER = {"x-limen-peer": "203.0.113.9"}
CALL = "/api/v1/people"
FLOOD = 60  # above the burst of one address


class Rig(NamedTuple):
    """A control, an operator's way in, and a program's."""

    control: Control
    api: TestClient
    http: TestClient
    clock: FakeClock

    def token(self, name: str, *groups: str, expires_s: float = 3600.0) -> str:
        assert self.api.post("/v1/workloads", json={"id": name, "owner": "ada"}).status_code == 201
        for group in groups:
            self.api.put(f"/v1/workloads/{name}/groups/{group}", json={})
        made = self.api.post(f"/v1/workloads/{name}/tokens", json={"name": "ci", "expires_s": expires_s})
        return str(made.json()["token"])

    def call(self, token: str, **more: Any) -> Any:
        return self.http.get(CALL, headers={"authorization": f"Bearer {token}"}, **more)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("tokens")
    for name, text in {**starter_files("corp.example"), "policies/ci.cedar": CI + OTHER}.items():
        (root / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "bundle" / name).write_text(text)
    options = ControlOptions(state=root / "s", bundle=root / "bundle", public_port=443, metrics=None)
    control = Control(StateDir.create(root / "s"), options)
    api = TestClient(control.admin, client=("uid:0", 1))
    api.post("/v1/people", json={"id": "ada"})
    clock = FakeClock(control._clock.now())
    control.console.state.gate.mounted("/api")._workloads._clock = clock
    http = TestClient(control.console, base_url=AUTH, headers=PEER, follow_redirects=False)
    yield Rig(control, api, http, clock)
    control.close()


def test_a_good_token_opens_what_policy_permits(rig: Rig) -> None:
    answer = rig.call(rig.token("good", "pipelines"))
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


def test_guessed_and_forged_tokens_are_strangers(rig: Rig) -> None:
    good = rig.token("model", "pipelines")
    body, _, tag = good.rpartition(".")
    flipped = body[:-1] + ("A" if body[-1] != "A" else "B")
    foreign, _ = mint_workload_token(bytes(32))
    unknown, _ = mint_workload_token(rig.control._parts.desk.key)  # of ours, and never issued
    tries = ["", "x", good[:-1], good + "x", f"{flipped}.{tag}", good.upper(), "l1.0.x.y", foreign.reveal()]
    for wrong in tries:
        answer = rig.call(wrong)
        assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_INVALID"), wrong
        assert answer.headers["www-authenticate"] == 'Bearer realm="limen"'
        assert answer.json()["remedy"]
    assert rig.call(unknown.reveal()).status_code == 401


def test_rubbish_never_reaches_the_database(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_read() -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(rig.control._store, "read", no_read)
    monkeypatch.setattr(rig.control._store, "transaction", lambda *_: no_read())
    assert rig.call("limen_wl_" + "x" * 43 + "." + "y" * 22).status_code == 401


@pytest.mark.parametrize("scheme", ["Basic", "bearer2", "Token", ""])
def test_the_token_by_another_scheme_is_no_credential(rig: Rig, scheme: str) -> None:
    token = rig.token(f"scheme-{scheme.lower() or 'none'}", "pipelines")
    assert rig.http.get(CALL, headers={"authorization": f"{scheme} {token}"}).status_code == 401


def test_the_token_in_query_cookie_body_or_another_header_is_no_credential(rig: Rig) -> None:
    token = rig.token("elsewhere", "pipelines")
    for extra in (
        {"params": {"token": token, "access_token": token, "authorization": f"Bearer {token}"}},
        {"cookies": {"__Host-limen": token, "limen_session": token, "Authorization": f"Bearer {token}"}},
        {"headers": {"x-limen-token": token, "proxy-authorization": f"Bearer {token}", "x-api-key": token}},
    ):
        assert rig.http.get(CALL, **extra).status_code == 401
    assert rig.http.post(CALL, json={"id": "eve", "token": token}).status_code == 401


def test_two_credentials_at_once_are_none(rig: Rig) -> None:
    token = rig.token("twice", "pipelines")
    headers = [("authorization", f"Bearer {token}"), ("authorization", "Bearer x"), *PEER.items()]
    plain = TestClient(rig.control.console, base_url=AUTH)
    assert plain.get(CALL, headers=headers).status_code == 401


def test_a_token_of_one_workload_is_no_other_workload(rig: Rig) -> None:
    rig.token("admin-like", "pipelines")
    answer = rig.http.get(
        CALL,
        headers={
            "authorization": f"Bearer {rig.token('other')}",
            "x-limen-subject": "admin-like",
            "x-limen-assertion": "x",
        },
        params={"workload": "admin-like"},
    )
    assert answer.status_code == 403
    assert 'Workload::"other"' in answer.json()["detail"]


def test_an_expired_token_says_so_and_opens_nothing(rig: Rig) -> None:
    token = rig.token("brief", "pipelines", expires_s=60)
    assert rig.call(token).status_code == 200
    rig.clock.advance(600)
    answer = rig.call(token)
    assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_EXPIRED")
    assert "limen workload token brief" in answer.json()["remedy"]


def test_a_revoked_token_opens_nothing_at_its_next_call_and_its_sister_still_does(rig: Rig) -> None:
    token = rig.token("leaked", "pipelines")
    sister = rig.api.post("/v1/workloads/leaked/tokens", json={"name": "b", "expires_s": 3600}).json()
    rows = rig.api.get("/v1/workloads/leaked/tokens").json()
    (leaked,) = [row["id"] for row in rows if row["id"] != sister["id"]]
    assert rig.api.delete(f"/v1/workload-tokens/{leaked}").status_code == 204
    answer = rig.call(token)
    assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_REVOKED")
    assert rig.call(sister["token"]).status_code == 200


def test_a_flood_of_strangers_is_throttled_and_shuts_out_nobody_who_has_a_token(rig: Rig) -> None:
    token = rig.token("neighbour", "pipelines")
    peer = {"x-limen-peer": "198.51.100.7"}
    http = TestClient(rig.control.console, base_url=AUTH, headers=peer)
    statuses = [http.get(CALL, headers={"authorization": "Bearer x"}) for _ in range(FLOOD)]
    assert statuses[-1].status_code == 429
    assert int(statuses[-1].headers["retry-after"]) > 0
    assert http.get(CALL, headers={"authorization": f"Bearer {token}"}).status_code == 200
    assert rig.http.get(CALL, headers={"authorization": "Bearer x"}).status_code == 401, "another network"


@pytest.mark.parametrize(
    "at", ["wiki.corp.example", "localhost", "control", "auth.corp.example.evil.example", "corp.example"]
)
def test_the_api_is_at_the_sign_in_host_alone(rig: Rig, at: str) -> None:
    token = rig.token(f"host-{at.partition('.')[0]}-{len(at)}", "pipelines")
    headers = {"authorization": f"Bearer {token}", "host": at}
    assert rig.http.get(CALL, headers=headers).status_code in (404, 421)


@pytest.mark.parametrize(
    "path",
    [
        *("/api/../v1/people", "//api/v1/people", "/API/v1/people", "/api;/v1/people", "/api/v1/people/"),
        *("/v1/people", "/api/%2e%2e/metrics", "/api//v1/people", "/api/v1/%2e%2e/v1/people", "/api/metrics"),
    ],
)
def test_no_other_path_leads_there(rig: Rig, path: str) -> None:
    name = f"path-{abs(hash(path)) % 10**9}"
    headers = {"authorization": f"Bearer {rig.token(name, 'pipelines')}", **PEER}
    answer = TestClient(rig.control.console, base_url=AUTH, follow_redirects=False).get(path, headers=headers)
    assert answer.status_code in (301, 303, 401, 404), answer.text[:200]
    rows = rig.api.get("/v1/decisions", params={"resource": "limen/people"}).json()
    assert name not in str([row["subject"] for row in rows])


def test_a_call_that_no_gateway_passed_on_is_refused(rig: Rig) -> None:
    headers = {"authorization": f"Bearer {rig.token('direct', 'pipelines')}"}
    plain = TestClient(rig.control.console, base_url=AUTH)
    assert plain.get(CALL, headers=headers).status_code == 400
    assert plain.get(CALL, headers={**headers, "x-limen-peer": "not-an-address"}).status_code == 400


def test_a_body_without_a_token_is_not_read(rig: Rig) -> None:
    answer = TestClient(rig.control.console, base_url=AUTH).post(
        CALL, content=b"x" * 100, headers={**PEER, "content-length": str(10**12)}
    )
    assert answer.status_code == 401


def test_a_body_over_the_bound_is_refused(rig: Rig) -> None:
    headers = {"authorization": f"Bearer {rig.token('large', 'pipelines')}"}
    answer = rig.http.post(CALL, content=b"x", headers={**headers, "content-length": str(17 << 20)})
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


def test_the_two_kinds_of_token_are_never_taken_for_each_other() -> None:
    key = bytes(range(32))
    with pytest.raises(Invalid):
        verify_workload_token(key, mint_token(key, 7)[0].reveal())
    with pytest.raises(Invalid):
        verify_token(key, mint_workload_token(key)[0].reveal())


def test_no_token_stands_in_database_journal_or_answer(rig: Rig) -> None:
    token = rig.token("secretive", "pipelines")
    rig.call(token)
    state = rig.control._state
    written = [*state.journal.rglob("*"), *state.root.glob("limen.db*")]
    assert not [path for path in written if path.is_file() and token.encode() in path.read_bytes()]
    assert token not in str(rig.api.get("/v1/workloads/secretive").json())


# --- through the real gateway ----------------------------------------------------------------------


@pytest.mark.envoy
@pytest.mark.xdist_group("target")
def test_a_persons_token_and_session_do_not_administer_and_a_workloads_does(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = target.demo
    files = dict(demo.admin.get("/v1/policy")["files"])
    files["policies/entitlements/pipelines.cedar"] = CI.replace("pipelines", "wl-attack")
    demo.admin.post("/v1/groups", {"id": "wl-attack"})
    demo.admin.post("/v1/policy/apply", {"files": files, "reason": "attack"})
    person = Person.enrolled(demo, "staff", "limen-admins")
    person.sign_in()
    form = person.form("/account").hidden
    app_token = person.browser.post(
        f"{demo.auth_url}/tokens", {**form, "app": "vault", "name": "x"}, accept="application/json"
    ).json()["token"]
    url = f"{demo.auth_url}{CALL}"
    assert person.http.get(url).status_code == 401, "a session's cookie, even an administrator's"
    stranger = browser(demo).http
    assert stranger.get(url, headers={"authorization": f"Bearer {app_token}"}).status_code == 401

    demo.admin.post("/v1/workloads", {"id": "wl-attack", "owner": person.username})
    demo.admin.put("/v1/workloads/wl-attack/groups/wl-attack", {})
    made = demo.admin.post("/v1/workloads/wl-attack/tokens", {"name": "ci", "expires_s": 600})
    bearer = {"authorization": f"Bearer {made['token']}"}
    answer = stranger.get(url, headers={**bearer, "x-limen-peer": "6.6.6.6"})
    assert answer.status_code == 200, answer.text
    row = demo.decisions(resource="limen/people")[0]
    assert row["ip"].startswith("127."), "the gateway says where a call came from, not the caller"
    vault = f"https://{host('vault')}:{demo.port}{CALL}"
    assert stranger.get(vault, headers={**bearer, "accept": "application/json"}).status_code == 401
    confused = stranger.get(url, headers={**bearer, "host": f"{host('vault')}:{demo.port}"})
    assert confused.status_code == 421

    for name in [name for name in os.environ if name.startswith("LIMEN_")]:
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text(made["token"] + "\n")
    monkeypatch.setenv("LIMEN_TOKEN_FILE", str(tmp_path / "token"))
    untrusted = limen("--server", demo.auth_url, "user", "list")
    assert untrusted.code == 1 and "--ca-file" in untrusted.err
    assert limen("--server", demo.auth_url.replace("https:", "http:"), "user", "list").code == 1
    monkeypatch.setenv("LIMEN_CA_FILE", str(demo.ca_file))
    monkeypatch.setenv("LIMEN_SERVER", demo.auth_url)
    done = limen("user", "list", "--json")
    assert done.code == 0, done.err
    assert person.username in done.out
    assert made["token"] not in done.err + untrusted.err
    for name, text in files.items():
        (tmp_path / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / name).write_text(text)
    planned = limen("policy", "plan", str(tmp_path / "bundle"), "--since", "1h")
    assert planned.code == 0, planned.err + planned.out

    demo.admin.patch("/v1/workloads/wl-attack", {"status": "suspended", "reason": "attack"})
    stopped = limen("user", "list")
    assert stopped.code == 1 and "limen workload release wl-attack" in stopped.err


@pytest.mark.envoy
@pytest.mark.xdist_group("target")
def test_a_person_and_the_sealed_credential_call_through_the_gateway_as_themselves(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = target.demo
    for name in [name for name in os.environ if name.startswith("LIMEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIMEN_CONFIG_DIR", str(tmp_path / "config"))
    nobody = limen("--server", demo.auth_url, "user", "list")
    assert nobody.code == 1 and f"limen login {demo.auth_url}" in nobody.err

    sealed = demo.admin.post("/v1/break-glass/seal", {"reason": "attack"})
    assert sealed["warning"] == ""
    monkeypatch.setenv("LIMEN_BREAK_GLASS", sealed["credential"])
    used = limen("break-glass", "use", demo.auth_url, "--ca-file", str(demo.ca_file))
    assert used.code == 0, used.err
    again = limen("break-glass", "use", demo.auth_url, "--ca-file", str(demo.ca_file))
    assert again.code == 1 and "not accepted" in again.err
    listed = limen("--server", demo.auth_url, "user", "show", "break-glass", "--json")
    assert listed.code == 0, listed.err
    stopped = limen("--server", demo.auth_url, "break-glass", "seal", "--reason", "another")
    assert stopped.code == 1 and "limen/break-glass" in stopped.err
    assert sealed["credential"] not in used.err + used.out + again.err
    row = demo.decisions(subject="break-glass")[0]
    assert row["ip"].startswith("127.")

    use = demo.admin.get("/v1/break-glass")[0]
    assert use["state"] == "to review"
    demo.admin.post(f"/v1/break-glass/{use['id']}/review", {"text": "an attack of ours"})
    ended = limen("--server", demo.auth_url, "user", "list")
    assert ended.code == 1, "its session ended with the review"

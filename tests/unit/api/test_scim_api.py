"""`limen scim` over the admin API: clients, tokens, people handed over; and the keys of the bundle."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from limen.core.identity_config import ScimConfig, SourceRules
from limen.engine.limen_yaml import parse_limen_yaml
from limen.engine.protect import add_scim
from limen.engine.starter import starter_files
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

BASE = "https://auth.corp.example/scim/v2"
YEAR_S = 365 * 86_400.0


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    root = tmp_path_factory.mktemp("scim-api")
    files = starter_files("corp.example")
    files["limen.yaml"] = add_scim(files["limen.yaml"], name="okta")
    for name, text in files.items():
        (root / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "bundle" / name).write_text(text)
    options = ControlOptions(state=root / "s", bundle=root / "bundle", public_port=443, metrics=None)
    made = Control(StateDir.create(root / "s"), options)
    yield made
    made.close()


@pytest.fixture(scope="module")
def admin(control: Control) -> TestClient:
    api = TestClient(control.admin, client=("uid:0", 1))
    api.post("/v1/people", json={"id": "ada", "email": "ada@corp.example"})
    return api


def scim(control: Control, token: str, method: str = "GET", path: str = "/Users", **more: object) -> int:
    given = {"authorization": f"Bearer {token}", "x-limen-peer": "203.0.113.9"}
    with TestClient(control.console, base_url=BASE, headers=given, follow_redirects=False) as http:
        return int(http.request(method, path, **more).status_code)  # type: ignore[arg-type]


def test_a_token_is_told_once_and_opens_the_door(control: Control, admin: TestClient) -> None:
    made = admin.post("/v1/scim/okta/tokens", json={"name": "sync", "expires_s": YEAR_S, "reason": "start"})
    assert made.status_code == 201, made.text
    assert made.json()["url"] == BASE
    token = made.json()["token"]
    assert scim(control, token) == 200
    listed = admin.get("/v1/scim")
    assert token not in listed.text
    assert listed.json()[0]["tokens"][0]["name"] == "sync"
    new = admin.post("/v1/scim/okta/tokens", json={"expires_s": YEAR_S, "overlap_s": 0}).json()
    assert scim(control, token) == 401
    assert scim(control, new["token"]) == 200
    assert admin.delete(f"/v1/scim-tokens/{new['id']}").status_code == 204
    assert scim(control, new["token"]) == 401
    assert admin.delete(f"/v1/scim-tokens/{new['id']}").status_code == 404


def test_people_are_handed_over_with_a_reason(control: Control, admin: TestClient) -> None:
    assert admin.post("/v1/scim/okta/people", json={"people": ["ada"]}).status_code == 422
    done = admin.post("/v1/scim/okta/people", json={"people": ["ada"], "reason": "HR keeps them now"})
    assert done.json() == {"adopted": ["ada"]}
    assert admin.get("/v1/people/ada").json()["source"] == "scim:okta"
    assert admin.post("/v1/scim/okta/people", json={"people": ["eve"], "reason": "x"}).status_code == 404
    assert admin.post("/v1/scim/nobody/tokens", json={"expires_s": 60}).status_code == 404
    token = admin.post("/v1/scim/okta/tokens", json={"expires_s": 60}).json()["token"]
    assert scim(control, token, params={"filter": 'userName eq "ada"'}) == 200


def test_a_client_s_keys_are_read(tmp_path: Path) -> None:
    text = """
domain: corp.example
attributes: {team: String}
scim:
  okta:
  entra:
    group_prefix: "entra/"
    kind: partner
    sponsor: ada
    expires: 90d
    fills: [staff]
    rules: [{claim: enterprise.department, attribute: team}]
"""
    reading = parse_limen_yaml(text, {})
    assert not reading.findings, reading.findings
    okta, entra = reading.catalogue.sources.scim
    assert okta == ScimConfig("okta", SourceRules())
    assert (entra.people.group_prefix, entra.people.sponsor, entra.fills) == ("entra/", "ada", ("staff",))
    assert entra.people.expires_s == 90 * 86_400


@pytest.mark.parametrize(
    "lines",
    [
        "fills: [limen-admins]",
        "rules: [{claim: title, group: staff}]",
        "rules: [{claim: title, attribute: nowhere}]",
        "kind: partner",
        "token: secret",
        "link: {source: 'ldap:x', claim: y}",
    ],
)
def test_what_a_client_may_not_have_is_a_finding(lines: str) -> None:
    reading = parse_limen_yaml(f"domain: corp.example\nscim:\n  okta:\n    {lines}\n", {})
    assert reading.findings

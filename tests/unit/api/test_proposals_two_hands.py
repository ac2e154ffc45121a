"""A second approver for guardrails: every way around it is tried here, and leads to a proposal."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from limen.engine.bundle import bundle_id
from limen.engine.starter import starter_files
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

APPS = """
policy: {guardrails: approved}
apps:
  pay:
    upstream: http://127.0.0.1:9001
    labels: [phi]
    allow: [group:staff]
    routes: [{name: api, path: /api/**}]
  wiki: {upstream: "http://127.0.0.1:9002", allow: [group:staff]}
"""
PHI = """
@id("phi") @reason("Health data needs a passkey.")
forbid(principal is User, action, resource in Label::"phi")
unless { context has session && context.session.phishing_resistant };
"""
CI = """
@id("ci") permit(principal in Group::"pipelines", action in [Action::"read", Action::"admin"],
  resource in App::"limen");
"""
READ_ONLY = """
@id("x") forbid(principal is User, action == Action::"write", resource == App::"wiki");
"""
FIRST = "policies/guardrails/phi.cedar"
PEER = {"x-limen-peer": "203.0.113.9"}
WHY = {"reason": "looked at it"}

Files = dict[str, str]


def files() -> Files:
    starter = starter_files("corp.example")
    return {
        **starter,
        "limen.yaml": starter["limen.yaml"] + APPS,
        FIRST: PHI,
        "policies/entitlements/ci.cedar": CI,
    }


@contextmanager
def serve(root: Path) -> Iterator[Control]:
    for name, text in files().items():
        (root / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "bundle" / name).write_text(text)
    options = ControlOptions(state=root / "s", bundle=root / "bundle", public_port=8443, metrics=None)
    made = Control(StateDir.create(root / "s"), options)
    yield made
    made.close()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with serve(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A control on which nothing that is tried comes into force."""
    with serve(tmp_path_factory.mktemp("steady")) as made:
        yield TestClient(made.admin, client=("uid:0", 1))


@pytest.fixture
def api(control: Control) -> TestClient:
    return TestClient(control.admin, client=("uid:0", 1))


@pytest.fixture
def other(control: Control, api: TestClient) -> TestClient:
    """A second administrator: a workload that somebody else owns."""
    return workload(control, api, "release", "bob")


def workload(control: Control, api: TestClient, name: str, owner: str) -> TestClient:
    api.post("/v1/people", json={"id": owner})
    api.post("/v1/workloads", json={"id": name, "owner": owner})
    api.put(f"/v1/workloads/{name}/groups/pipelines", json={})
    token = api.post(f"/v1/workloads/{name}/tokens", json={"name": "ci", "expires_s": 60}).json()["token"]
    headers = {**PEER, "authorization": f"Bearer {token}"}
    return TestClient(control.console, base_url="https://auth.corp.example/api", headers=headers)


def edit(path: str, old: str, new: str) -> Files:
    found = files()
    assert old in found[path], (path, old)
    return {**found, path: found[path].replace(old, new)}


def without(path: str) -> Files:
    return {name: text for name, text in files().items() if name != path}


def submit(client: TestClient, changed: Mapping[str, str], **more: Any) -> Any:
    return client.post("/v1/policy/apply", json={"files": dict(changed), "reason": "why not", **more})


def active(api: TestClient) -> str:
    return str(api.get("/v1/policy").json()["bundle"])


YAML = "limen.yaml"
WAYS: Mapping[str, Files] = {
    "weaker condition": edit(FIRST, "context.session.phishing_resistant", "context.session.aal >= 2"),
    "another name": edit(FIRST, '@id("phi")', '@id("phi2")'),
    "removed": without(FIRST),
    "added": {
        **files(),
        "policies/more.cedar": READ_ONLY,
    },
    "into another folder, changed": {
        **without(FIRST),
        "policies/all.cedar": PHI.replace("is User", 'is User in Group::"staff"'),
    },
    "the setting": edit(YAML, "guardrails: approved", "guardrails: free"),
    "the label": {
        **files(),
        YAML: files()[YAML].replace("    labels: [phi]\n", "").replace('9002"', '9002", labels: [phi]'),
    },
    "observed": edit(YAML, "    labels: [phi]\n", "    labels: [phi]\n    mode: observe\n"),
    "a public route": edit(YAML, "path: /api/**}", "path: /api/**, public: true}"),
    "both at once": {**without(FIRST), YAML: files()[YAML].replace("approved}", "free}")},
}


@pytest.mark.parametrize("way", WAYS)
def test_what_guardrails_bind_changes_by_nobody_alone(steady: TestClient, way: str) -> None:
    before = active(steady)
    answer = submit(steady, WAYS[way])
    assert answer.status_code == 202, answer.text
    assert (answer.json()["proposed"], answer.json()["changed"]) == (True, False)
    own = steady.post(f"/v1/policy/proposals/{answer.json()['bundle']}/approve", json=WHY)
    assert (own.status_code, own.json()["code"]) == (403, "OWN_PROPOSAL")
    assert active(steady) == before


def test_a_template_or_a_forbid_among_the_entitlements_is_no_bundle_at_all(steady: TestClient) -> None:
    slot = '@id("t") permit(principal == ?principal, action, resource);'
    for path, text in (("policies/t.cedar", slot), ("policies/entitlements/phi.cedar", PHI)):
        assert submit(steady, {**without(FIRST), path: text}).status_code == 422


@pytest.mark.parametrize(
    "changed",
    [
        edit(YAML, "  wiki: {", '  wiki2: {upstream: "http://127.0.0.1:9"}\n  wiki: {'),
        edit("policies/entitlements/ci.cedar", 'Action::"read", ', ""),
        {**without(FIRST), "policies/guardrails/moved.cedar": "// moved\n" + PHI},
    ],
    ids=["a new app", "an entitlement", "a guardrail's file alone"],
)
def test_what_no_guardrail_binds_is_applied_at_once(api: TestClient, changed: Files) -> None:
    answer = submit(api, changed)
    assert (answer.status_code, answer.json()["changed"]) == (200, True), answer.text


def test_another_administrator_approves_exactly_what_was_proposed(
    api: TestClient, other: TestClient, control: Control
) -> None:
    proposed = submit(api, WAYS["removed"]).json()
    (row,) = api.get("/v1/policy/proposals").json()
    assert (row["bundle"], row["actor"], row["stale"]) == (proposed["bundle"], "host-operator:uid=0", False)
    assert "files" not in row
    wrong = other.post(f"/v1/policy/proposals/{proposed['bundle'][:12]}/approve", json=WHY)
    assert wrong.status_code == 404, "of exactly this id"
    answer = other.post(f"/v1/policy/proposals/{proposed['bundle']}/approve", json=WHY)
    assert (answer.status_code, answer.json()["changed"]) == (200, True), answer.text
    assert active(api) == proposed["bundle"]
    assert api.get("/v1/policy/history").json()[0]["actor"] == "workload:release"
    again = other.post(f"/v1/policy/proposals/{proposed['bundle']}/approve", json=WHY)
    assert again.status_code == 404


def test_a_proposal_that_was_edited_is_another_and_the_first_stays_what_it_was(
    api: TestClient, other: TestClient
) -> None:
    first = submit(api, WAYS["weaker condition"]).json()["bundle"]
    second = submit(api, WAYS["removed"]).json()["bundle"]
    assert first != second
    assert other.post(f"/v1/policy/proposals/{first}/approve", json=WHY).status_code == 200
    stale = other.post(f"/v1/policy/proposals/{second}/approve", json=WHY)
    assert (stale.status_code, stale.json()["code"]) == (409, "BUNDLE_CHANGED")


def test_rolling_back_to_before_a_guardrail_is_a_proposal_too(api: TestClient, other: TestClient) -> None:
    stricter = {
        **files(),
        "policies/guardrails/x.cedar": READ_ONLY,
    }
    bundle = submit(api, stricter).json()["bundle"]
    assert other.post(f"/v1/policy/proposals/{bundle}/approve", json=WHY).status_code == 200
    answer = api.post("/v1/policy/rollback", json={"serial": 1})
    assert (answer.status_code, answer.json()["proposed"]) == (202, True)
    assert active(api) == bundle


def test_two_workloads_of_one_owner_are_one_hand(control: Control, api: TestClient) -> None:
    one, two = (workload(control, api, name, "bob") for name in ("left", "right"))
    bundle = submit(one, WAYS["removed"]).json()["bundle"]
    refused = two.post(f"/v1/policy/proposals/{bundle}/approve", json=WHY)
    assert (refused.status_code, refused.json()["code"]) == (403, "OWN_PROPOSAL")
    assert api.post(f"/v1/policy/proposals/{bundle}/approve", json=WHY).status_code == 200


def test_two_users_of_the_host_are_two_hands(control: Control, api: TestClient) -> None:
    bundle = submit(api, WAYS["removed"]).json()["bundle"]
    applied = control._policies.approve(bundle, actor="host-operator:uid=1000", reason="yes")
    assert applied.changed


def test_what_the_first_start_says_counts_for_no_later_one(control: Control, api: TestClient) -> None:
    found = control._policies.apply(WAYS["removed"], actor="limen up", reason="again", first=True)
    assert found.proposed and not found.changed


def test_a_proposal_is_rejected_and_gone(api: TestClient, other: TestClient) -> None:
    bundle = submit(api, WAYS["removed"]).json()["bundle"]
    assert other.post(f"/v1/policy/proposals/{bundle}/reject", json=WHY).status_code == 200
    assert api.get("/v1/policy/proposals").json() == []
    assert other.post(f"/v1/policy/proposals/{bundle}/approve", json=WHY).status_code == 404


def test_what_was_planned_on_top_of_another_bundle_is_not_applied(api: TestClient) -> None:
    base = active(api)
    assert submit(api, WAYS["removed"], base="0" * 64).json()["code"] == "BUNDLE_CHANGED"
    more = edit(YAML, "  wiki: {", '  w2: {upstream: "http://127.0.0.1:9"}\n  wiki: {')
    assert submit(api, more, base=base).json()["changed"] is True
    assert submit(api, edit(YAML, "group:staff", "group:pipelines"), base=base).status_code == 409


def test_a_proposal_is_named_by_its_content(api: TestClient) -> None:
    bundle = submit(api, WAYS["removed"]).json()["bundle"]
    shown = api.get(f"/v1/policy/proposals/{bundle}").json()
    assert bundle_id(shown["files"]) == bundle


def test_a_promoted_shadow_goes_on_until_another_has_approved_its_bundle(
    api: TestClient, other: TestClient
) -> None:
    bundle = api.post("/v1/shadow", json={"files": WAYS["removed"], "reason": "to see"}).json()["bundle"]
    answer = api.post("/v1/shadow/promote", json={"reason": "it is good"})
    assert (answer.status_code, answer.json()["proposed"]) == (202, True), answer.text
    assert active(api) != bundle
    assert api.get("/v1/shadow").json()["bundle"] == bundle
    assert other.post(f"/v1/policy/proposals/{bundle}/approve", json=WHY).status_code == 200
    assert active(api) == bundle
    assert api.get("/v1/shadow").status_code == 404, "it casts none any more"
    kinds = [event["kind"] for event in api.get("/v1/events", params={"kind": "shadow."}).json()]
    assert kinds == ["shadow.started", "shadow.promoted"]

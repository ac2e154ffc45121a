"""Somebody with a role of Limen wants another one; somebody without wants any; nobody is to be left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from people_rig import PeopleRig

from limen.core.entities import Status
from limen.core.errors import LimenError
from limen.store import directory

WHY = "attack"
ROLE_PART = 'Route::"limen/roles"'
CSV = "username,groups\neve,{}\n"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeopleRig]:
    made = PeopleRig(tmp_path_factory.mktemp("roles"))
    yield made
    made.control.close()


def groups_of(rig: PeopleRig, name: str) -> list[str]:
    return list(rig.host.get(f"/v1/people/{name}").json()["groups"])


def refused(answer: Any, *, by: str = "") -> None:
    assert answer.status_code == 403, answer.text
    assert by in answer.json()["detail"]


# --- what each role may ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "status"),
    [
        ("root", "GET", "/v1/people", None, 200),
        ("root", "PATCH", "/v1/people/eve", {"name": "Eve"}, 200),
        ("root", "POST", "/v1/people/heidi/enrolment-link", {"reset": True}, 200),
        ("oscar", "GET", "/v1/people", None, 200),
        ("oscar", "DELETE", "/v1/sessions?person=eve", None, 200),
        ("heidi", "GET", "/v1/people/eve", None, 200),
        ("heidi", "POST", "/v1/people/eve/enrolment-link", {"reset": True}, 200),
        ("heidi", "DELETE", "/v1/sessions?person=eve", None, 200),
        ("audrey", "GET", "/v1/policy", None, 200),
        ("audrey", "GET", "/v1/break-glass", None, 200),
        ("olga", "GET", "/v1/decisions?resource=wiki", None, 200),
        ("olga", "GET", "/v1/grants?resource=wiki", None, 200),
        ("olga", "GET", "/v1/complaints?resource=wiki", None, 200),
    ],
)
def test_each_role_may_what_it_is_for(
    rig: PeopleRig, who: str, method: str, path: str, body: Any, status: int
) -> None:
    answer = rig.caller(who).call(method, path, body)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("who", ["oscar", "heidi", "audrey", "olga", "eve"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/groups/limen-admins/members/{me}", {}),
        ("PUT", "/v1/groups/staff/parents/limen-admins", {}),
        ("POST", "/v1/people", {"id": "mallory", "groups": ["limen-admins"]}),
        ("POST", "/v1/people/import", {"csv": "username,groups\nmallory,limen-admins\n"}),
        ("PATCH", "/v1/people/root", {"status": "suspended"}),
        ("POST", "/v1/people/root/enrolment-link", {"reset": True}),
        ("POST", "/v1/people/root/invitation", {}),
        ("POST", "/v1/policy/apply", {"files": {}, "reason": WHY}),
        ("POST", "/v1/grants", {"to": "user:{me}", "on": "limen", "for_s": 60, "reason": WHY}),
        ("POST", "/v1/grants", {"to": "user:{me}", "on": "limen/people", "for_s": 60, "reason": WHY}),
        ("POST", "/v1/break-glass/seal", {"reason": WHY}),
        ("PUT", "/v1/workloads/host-operator/groups/limen-admins", {}),
        ("POST", "/v1/workloads", {"id": "w", "owner": "eve"}),
    ],
)
def test_nobody_but_an_administrator_gives_roles_or_touches_who_has_one(
    rig: PeopleRig, who: str, method: str, path: str, body: Any
) -> None:
    filled = {key: value.format(me=who) if isinstance(value, str) and "{me}" in value else value
              for key, value in body.items()}  # fmt: skip
    refused(rig.caller(who).call(method, path.format(me=who), filled))
    assert groups_of(rig, who) == groups_of(rig, who) and "limen-admins" not in groups_of(rig, who)
    assert rig.host.get("/v1/people/root").json()["status"] == "active"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("DELETE", path) for path in ("/v1/sessions?person=eve", "/v1/streams?user=eve&reason=x")),
        *(("POST", path) for path in ("/v1/people", "/v1/people/eve/enrolment-link", "/v1/grants")),
        *(("POST", path) for path in ("/v1/workloads", "/v1/gateways", "/v1/complaints/x/answer")),
        *(("PUT", path) for path in ("/v1/groups/staff/members/eve", "/v1/secrets/x")),
        ("PATCH", "/v1/people/eve"),
    ],
)
def test_an_auditor_writes_nothing(rig: PeopleRig, method: str, path: str) -> None:
    answer = rig.caller("audrey").call(method, path, {})
    assert answer.status_code in (403, 404, 405, 422)
    assert answer.status_code == 403 or "decision" not in answer.text


def test_the_help_desk_does_not_reset_who_has_a_role_and_the_cause_is_recorded(rig: PeopleRig) -> None:
    heidi = rig.caller("heidi")
    for target in ("root", "oscar", "audrey", "heidi"):
        answer = heidi.post(f"/v1/people/{target}/enrolment-link", {"reset": True})
        refused(answer, by=ROLE_PART)
        assert target in answer.json()["detail"]
    row = rig.host.get("/v1/decisions", params={"resource": "limen/roles"}).json()[-1]
    assert (row["subject"], row["verdict"]) == ('User::"heidi"', "deny")


def test_what_a_role_is_the_bundle_says_and_not_the_names_of_groups(tmp_path: Path) -> None:
    more = '@id("own") permit(principal in Group::"it", action, resource in App::"limen");'
    people = '@id("p") permit(principal in Group::"hr", action, resource == Route::"limen/people");'
    groups = '@id("g") permit(principal in Group::"hr", action, resource == Route::"limen/groups");'
    rig = PeopleRig(tmp_path, more + people + groups)
    try:
        rig.add("ivan", "it")
        rig.add("hana", "hr")
        hana = rig.caller("hana")
        assert hana.call("PATCH", "/v1/people/eve", {"name": "Eve"}).status_code == 200
        assert hana.post("/v1/groups", {"id": "chess"}).status_code == 201
        assert hana.call("PUT", "/v1/groups/chess/members/eve", {}).status_code == 204
        refused(hana.call("PUT", "/v1/groups/chess/members/hana", {}), by=ROLE_PART)
        refused(hana.call("PATCH", "/v1/people/ivan", {"email": "hana@corp.example"}), by=ROLE_PART)
        refused(hana.call("PUT", "/v1/groups/it/members/hana", {}), by=ROLE_PART)
        refused(hana.call("PUT", "/v1/groups/staff/parents/it", {}), by=ROLE_PART)
        refused(hana.post("/v1/people", {"id": "mallory", "groups": ["staff", "it"]}), by=ROLE_PART)
        refused(hana.post("/v1/people/import", {"csv": CSV.format("it")}), by=ROLE_PART)
        assert groups_of(rig, "hana") == ["hr"]
        assert groups_of(rig, "eve") == ["chess", "staff"]
        assert rig.host.get("/v1/people/mallory").status_code == 404, "nothing half-done stays"
        ok = hana.post("/v1/people/import", {"csv": "username,groups\neve,staff\nzoe,staff\n"})
        assert ok.status_code == 200 and ok.json()["applied"]
    finally:
        rig.control.close()


# --- owners ------------------------------------------------------------------------------------------


def test_an_owner_gives_grants_on_their_resource_and_on_nothing_else(rig: PeopleRig) -> None:
    olga = rig.caller("olga")
    mine = {"to": "user:eve", "on": "wiki", "for_s": 60, "reason": WHY}
    given = olga.post("/v1/grants", mine)
    assert given.status_code == 201, given.text
    row = rig.host.get("/v1/decisions", params={"resource": "limen/grants/wiki"}).json()[-1]
    assert (row["subject"], row["policies"]) == ('User::"olga"', ["limen-owners"])
    for other in ("payroll", "limen", "limen/grants", "limen/grants/wiki", "nothing", "wiki2"):
        refused(olga.post("/v1/grants", {**mine, "on": other}))
    theirs = rig.host.post("/v1/grants", json={**mine, "on": "payroll"}).json()["id"]
    refused(olga.call("DELETE", f"/v1/grants/{theirs}?reason=x"))
    listed = olga.get("/v1/grants", resource="wiki").json()
    assert [one["on"] for one in listed] == ["wiki"]
    for query in ({}, {"resource": "payroll"}, {"user": "eve"}):
        refused(olga.get("/v1/grants", **query))
    assert olga.call("DELETE", f"/v1/grants/{given.json()['id']}?reason=x").status_code == 204
    refused(rig.caller("paul").post("/v1/grants", mine))


def test_an_owner_reads_the_decisions_of_their_resource_and_no_others(rig: PeopleRig) -> None:
    olga = rig.caller("olga")
    rig.host.get("/v1/people/eve")
    for path in ("/v1/decisions", "/v1/decisions?resource=payroll", "/v1/decisions?resource=limen",
                 "/v1/decisions?resource=limen/people", "/v1/decisions/tail", "/v1/complaints",
                 "/v1/complaints?owner=olga", "/v1/events", "/v1/people", "/v1/streams"):  # fmt: skip
        refused(olga.get(path))
    found = olga.get("/v1/decisions", resource="wiki").json()
    assert all("wiki" in row["resource"] for row in found)
    other = rig.host.get("/v1/decisions", params={"resource": "limen/people"}).json()[-1]["id"]
    refused(olga.get(f"/v1/decisions/{other}"))


def test_an_owners_part_is_no_way_round_a_guardrail(rig: PeopleRig) -> None:
    weak = rig.caller("olga", aal=1)
    refused(weak.post("/v1/grants", {"to": "user:eve", "on": "wiki", "for_s": 60, "reason": WHY}))
    refused(weak.get("/v1/decisions", resource="wiki"))


# --- people at the admin API -----------------------------------------------------------------------


def test_guardrails_hold_there_and_a_denial_says_which_sign_in_would_cure_it(rig: PeopleRig) -> None:
    answer = rig.caller("root", aal=1).get("/v1/people")
    refused(answer, by="FORBIDDEN")
    problem = answer.json()
    assert (problem["code"], problem["cure"]) == ("STEP_UP", "second-factor")
    assert problem["remedy"] == "Run: limen login https://auth.corp.example --need second-factor"
    root = rig.caller("root")
    rig.clock.advance(16 * 60)
    stale = root.call("PATCH", "/v1/people/eve", {"name": "Eve"})
    refused(stale)
    assert stale.json()["cure"] == "fresh-sign-in"
    assert root.get("/v1/people").status_code == 200, "reading asks for no fresh sign-in"


def test_only_the_token_of_a_program_calls_as_a_person(rig: PeopleRig) -> None:
    opened = rig.session("root")
    app_token, _ = rig.parts.sessions.issue_token(opened.session, "wiki", "curl")
    for wrong in (opened.token.reveal(), app_token.reveal(), rig.token("root")[:-1] + "x"):
        answer = rig.http.get("/api/v1/people", headers={"authorization": f"Bearer {wrong}"})
        assert answer.status_code == 401, answer.text
        assert answer.json()["remedy"] == "Log in again: `limen login`."
    cookie = rig.http.get("/api/v1/people", headers={"cookie": f"__Host-limen={opened.token.reveal()}"})
    assert cookie.status_code == 401


@pytest.mark.parametrize("end", ["session", "status", "quarantine", "expiry"])
def test_a_persons_token_ends_with_their_session_and_with_them(rig: PeopleRig, end: str) -> None:
    name = f"temp-{end}"
    rig.add(name, "limen-auditors", expires_at=rig.clock.now() + 100)
    caller = rig.caller(name)
    assert caller.get("/v1/people").status_code == 200
    if end == "session":
        rig.host.delete("/v1/sessions", params={"person": name})
    elif end == "status":
        rig.host.patch(f"/v1/people/{name}", json={"status": "suspended"})
    elif end == "quarantine":
        rig.host.patch(f"/v1/people/{name}", json={"quarantined": True, "reason": WHY})
    else:
        rig.clock.advance(101)
    assert caller.get("/v1/people").status_code in (401, 403)


def test_what_a_person_did_is_recorded_as_theirs_with_their_session_and_address(rig: PeopleRig) -> None:
    assert rig.caller("root").call("PATCH", "/v1/people/eve", {"name": "Eve X"}).status_code == 200
    row = rig.host.get("/v1/decisions", params={"subject": "root", "resource": "limen/people"}).json()[-1]
    assert (row["ip"], row["point"], row["verdict"]) == ("203.0.113.9", "admin-api", "allow")
    event = rig.host.get("/v1/events", params={"kind": "person.changed", "target": "eve"}).json()[-1]
    assert event["actor"] == "root"


# --- the last administrator --------------------------------------------------------------------------


def last(answer: Any) -> None:
    assert (answer.status_code, answer.json()["code"]) == (403, "LAST_ADMIN"), answer.text


@pytest.mark.parametrize("actor", ["root", "host"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/v1/people/root", {"status": "suspended"}),
        ("PATCH", "/v1/people/root", {"status": "ended"}),
        ("PATCH", "/v1/people/root", {"quarantined": True, "reason": WHY}),
        ("PATCH", "/v1/people/root", {"expires_at": 2_000_000_000.0}),
        ("POST", "/v1/people/root/extension", {"expires_at": 2_000_000_000.0, "reason": WHY}),
        ("DELETE", "/v1/groups/limen-admins/members/root", None),
        ("DELETE", "/v1/groups/limen-admins", None),
        ("POST", "/v1/people/import", {"csv": "username,status\nroot,suspended\n"}),
    ],
)
def test_the_last_administrator_is_not_removed_by_any_call(
    rig: PeopleRig, actor: str, method: str, path: str, body: Any
) -> None:
    caller = rig.caller("root")
    if actor == "host":
        last(rig.host.request(method, path, json=body))
    else:
        last(caller.call(method, path, body))
    assert caller.get("/v1/people").status_code == 200
    assert groups_of(rig, "root") == ["limen-admins"]


def test_nor_by_a_provider_a_directory_or_what_else_writes(rig: PeopleRig) -> None:
    store = rig.control._store
    for change in (
        lambda tx: directory.update_person(tx, "root", status=Status.SUSPENDED, source="ldap:corp"),
        lambda tx: directory.update_person(tx, "root", expires_at=rig.clock.now() + 1),
        lambda tx: directory.remove_member(tx, "limen-admins", "root"),
        lambda tx: directory.delete_group(tx, "limen-admins"),
    ):
        with pytest.raises(LimenError) as why, store.transaction("scim:okta", "sync") as tx:
            change(tx)
        assert why.value.code == "LAST_ADMIN"


def test_nor_by_another_bundle(rig: PeopleRig) -> None:
    files = dict(rig.host.get("/v1/policy").json()["files"])
    path = "policies/entitlements/limen.cedar"
    for old, new in (('in Group::"limen-admins"', 'in Group::"nobody-here"'),
                     ('in Group::"limen-admins"', '== User::"ghost"')):  # fmt: skip
        changed = {**files, path: files[path].replace(old, new), "tests/limen.yaml": ""}
        last(rig.host.post("/v1/policy/apply", json={"files": changed, "reason": WHY}))
    assert rig.caller("root").get("/v1/people").status_code == 200


def test_the_last_but_one_may_go_also_by_way_of_a_nested_group(tmp_path: Path) -> None:
    rig = PeopleRig(tmp_path)
    try:
        rig.host.post("/v1/groups", json={"id": "it"})
        assert rig.host.put("/v1/groups/it/parents/limen-admins", json={}).status_code == 204
        rig.add("ivan", "it")
        assert rig.host.patch("/v1/people/root", json={"status": "ended"}).status_code == 200
        last(rig.host.delete("/v1/groups/it/parents/limen-admins"))
        last(rig.host.delete("/v1/groups/it"))
        last(rig.host.delete("/v1/groups/it/members/ivan"))
        temp = rig.clock.now() + 86_400
        rig.add("tess", "limen-admins", expires_at=temp)
        last(rig.host.patch("/v1/people/ivan", json={"status": "suspended"}))
        assert rig.host.patch("/v1/people/ivan", json={"email": "i@corp.example"}).status_code == 200
        assert rig.host.patch("/v1/people/tess", json={"expires_at": None}).status_code == 200
        assert rig.host.patch("/v1/people/ivan", json={"status": "suspended"}).status_code == 200
    finally:
        rig.control.close()


def test_no_source_gives_a_role(rig: PeopleRig) -> None:
    with rig.control._store.transaction("scim:okta", "sync") as tx:
        directory.sync_memberships(tx, "eve", "scim:okta", ["limen-admins", "limen-helpdesk", "chess"])
    assert groups_of(rig, "eve") == ["chess", "staff"]

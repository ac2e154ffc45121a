"""A second look at roles: the paths that name nobody, the doors beside the admin API, the hands behind hands.

Hana has every part of the administration but `roles`; she must not become, own, or shut out an administrator.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from people_rig import PeopleRig

from limen.administrator.upstream_groups import withdraw_groups
from limen.core.errors import Refused
from limen.core.tokens import mint_token
from limen.store import directory, machines
from limen.store.machines import MachineSession

WHY = "attack"
ROLE_PART = 'Route::"limen/roles"'
PARTS = ("people", "groups", "grants", "sessions", "workloads", "sources", "recovery", "streams")
LISTED = ", ".join(f'Route::"limen/{part}"' for part in PARTS)
MORE = f"""
@id("hr") permit(principal in Group::"hr", action, resource in App::"limen")
when {{ resource in [{LISTED}] }};
@id("ppl") permit(principal in Group::"ppl", action, resource == Route::"limen/people");
@id("keyed") permit(principal == Workload::"keyed", action, resource in App::"limen");
@id("no-secrets") forbid(principal is Workload, action, resource in App::"limen")
when {{ context has session && context.session.methods.contains("secret") }};
@id("it") permit(principal in Group::"it", action, resource in App::"limen");
@id("named") permit(principal == Workload::"deployer", action, resource in App::"limen");
@id("owned") permit(principal is Workload, action, resource in App::"limen")
when {{ principal.owner == User::"root" }};
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeopleRig]:
    made = PeopleRig(tmp_path_factory.mktemp("audit"), MORE)
    made.add("hana", "hr")
    made.add("ivan", "it")
    made.add("hugh", "ppl")
    made.add("nora")
    files = dict(made.host.get("/v1/policy").json()["files"])
    files["limen.yaml"] += "scim:\n  okta: {}\n"
    applied = made.host.post("/v1/policy/apply", json={"files": files, "reason": WHY})
    assert applied.status_code == 200, applied.text
    yield made
    made.control.close()


def refused(answer: Any, *, by: str = ROLE_PART) -> None:
    assert answer.status_code == 403, answer.text
    assert by in answer.json()["detail"], answer.text


# --- SCIM clients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["root", "ivan", "heidi"])
def test_nobody_with_a_role_is_handed_to_a_scim_client_by_who_gives_none(rig: PeopleRig, who: str) -> None:
    """The client could then change their address, suspend them, or end them for good."""
    refused(rig.caller("hana").post("/v1/scim/okta/people", {"people": ["eve", who], "reason": WHY}))
    assert rig.host.get(f"/v1/people/{who}").json()["source"] == "local"
    assert rig.host.get("/v1/people/eve").json()["source"] == "local", "nothing half-done stays"


def test_a_token_of_a_client_that_keeps_somebody_with_a_role_is_about_roles_too(rig: PeopleRig) -> None:
    rig.add("irene", "it")
    token = {"expires_s": 60.0, "reason": WHY}
    assert rig.caller("hana").post("/v1/scim/okta/tokens", token).status_code == 201
    adopted = rig.host.post("/v1/scim/okta/people", json={"people": ["irene"], "reason": WHY})
    assert adopted.status_code == 200, adopted.text
    refused(rig.caller("hana").post("/v1/scim/okta/tokens", token))
    assert rig.caller("root").post("/v1/scim/okta/tokens", token).status_code == 201


# --- sessions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["heidi", "oscar", "hana"])
def test_nobody_signs_administrators_out_who_may_not_touch_them(rig: PeopleRig, who: str) -> None:
    """The help desk could keep every administrator out, one session after the other."""
    opened = rig.session("root")
    refused(rig.caller(who).call("DELETE", f"/v1/sessions/{opened.session.id}"))
    refused(rig.caller(who).call("DELETE", "/v1/sessions?person=root"))
    assert rig.parts.sessions.find(opened.token.reveal()) is not None
    eve = rig.session("eve").session.id
    assert rig.caller(who).call("DELETE", f"/v1/sessions/{eve}").status_code == 204


def test_administrators_end_sessions_of_administrators(rig: PeopleRig) -> None:
    opened = rig.session("ivan")
    assert rig.caller("root").call("DELETE", f"/v1/sessions/{opened.session.id}").status_code == 204


# --- workloads ---------------------------------------------------------------------------------------


def test_no_workload_gets_a_role_by_its_name(rig: PeopleRig) -> None:
    refused(rig.caller("hana").post("/v1/workloads", {"id": "deployer", "owner": "eve", "reason": WHY}))
    assert rig.host.get("/v1/workloads/deployer").status_code == 404


def test_no_workload_gets_a_role_by_its_owner(rig: PeopleRig) -> None:
    """A token that it has from before would be an administrator's."""
    hana = rig.caller("hana")
    refused(hana.post("/v1/workloads", {"id": "w1", "owner": "root", "reason": WHY}))
    assert hana.post("/v1/workloads", {"id": "w2", "owner": "eve", "reason": WHY}).status_code == 201
    made = hana.post("/v1/workloads/w2/tokens", {"name": "t", "expires_s": 60.0, "reason": WHY})
    assert made.status_code == 201, made.text
    refused(hana.call("PATCH", "/v1/workloads/w2", {"owner": "root", "reason": WHY}))
    assert rig.host.get("/v1/workloads/w2").json()["owner"] == "eve"


def test_what_a_workload_with_a_role_has_is_not_taken_by_who_gives_none(rig: PeopleRig) -> None:
    made = rig.host.post("/v1/workloads", json={"id": "w3", "owner": "root", "reason": WHY})
    assert made.status_code == 201, made.text
    token = rig.host.post("/v1/workloads/w3/tokens", json={"name": "t", "expires_s": 60.0}).json()
    refused(rig.caller("hana").call("DELETE", f"/v1/workload-tokens/{token['id']}"))
    assert rig.caller("root").call("DELETE", f"/v1/workload-tokens/{token['id']}").status_code == 204


@pytest.mark.parametrize(("method", "status"), [("key", 200), ("secret", 403)])
def test_what_a_machine_proved_itself_by_is_read_by_policies_here_too(
    rig: PeopleRig, method: str, status: int
) -> None:
    if rig.host.get("/v1/workloads/keyed").status_code == 404:
        rig.host.post("/v1/workloads", json={"id": "keyed", "owner": "root", "reason": WHY})
    with rig.parts.desk.ledger.entry("test", "a token") as entry:
        now = entry.tx.now
        token, hashed = mint_token(rig.parts.desk.key, entry.tx.next_seq())
        row = MachineSession(
            token_hash=hashed, workload="keyed", methods=(method,), apps=("limen",), jkt="", x5t="",
            started_at=now, expires_at=now + 60, about="", ip="203.0.113.9",
        )  # fmt: skip
        machines.add_session(entry.tx, row)
    answer = rig.http.get("/api/v1/people", headers={"authorization": f"Bearer {token.reveal()}"})
    assert answer.status_code == status, answer.text
    assert "limen login" not in answer.text, "no machine is told to sign in"


# --- recovery ----------------------------------------------------------------------------------------


def test_nobody_gives_their_own_trust_back(rig: PeopleRig) -> None:
    with rig.parts.desk.ledger.entry("test", "root came back") as entry:
        rig.parts.desk.lower_trust(entry, "root", "reset")
    mine = rig.caller("root").post("/v1/recovered/root/restore", {"reason": WHY})
    assert (mine.status_code, mine.json()["code"]) == (403, "OWN_RECOVERY"), mine.text
    assert rig.caller("ivan").post("/v1/recovered/root/restore", {"reason": WHY}).status_code == 200


def test_nobody_who_has_just_come_back_gives_trust_back(rig: PeopleRig) -> None:
    with rig.parts.desk.ledger.entry("test", "both came back") as entry:
        rig.parts.desk.lower_trust(entry, "ivan", "reset")
        rig.parts.desk.lower_trust(entry, "root", "reset")
    try:
        answer = rig.caller("ivan").post("/v1/recovered/root/restore", {"reason": WHY})
        assert (answer.status_code, answer.json()["code"]) == (403, "APPROVER_RECOVERED"), answer.text
    finally:
        for name in ("ivan", "root"):
            rig.host.post(f"/v1/recovered/{name}/restore", json={"reason": WHY})


# --- invitations -------------------------------------------------------------------------------------


def test_nobody_invites_themselves(rig: PeopleRig) -> None:
    """A stolen token of `limen login` would make a way in that stays."""
    answer = rig.caller("root").post("/v1/people/root/invitation", {"reason": WHY})
    assert (answer.status_code, answer.json()["code"]) == (403, "OWN_RECOVERY"), answer.text


def test_another_way_in_for_whoever_has_one_is_recovery_too(rig: PeopleRig) -> None:
    """Who may look after people is told an invitation's link; that must be no way into their accounts."""
    hugh = rig.caller("hugh")
    again = hugh.post("/v1/people/nora/invitation", {"reason": WHY})
    assert again.status_code == 200, "who was never here is invited as often as it takes"
    with rig.control._store.transaction("test", "signed in at a provider") as tx:
        directory.note_signed_in(tx.connection, "nora", tx.now)
    refused(hugh.post("/v1/people/nora/invitation", {"reason": WHY}), by='Route::"limen/recovery"')
    assert rig.caller("hana").post("/v1/people/nora/invitation", {"reason": WHY}).status_code == 200


# --- emergency access --------------------------------------------------------------------------------


def test_emergency_access_makes_no_way_in_that_outlasts_its_hour(rig: PeopleRig) -> None:
    """An account elsewhere that is linked now would sign in as that person for good."""
    rig.host.post("/v1/break-glass/seal", json={"reason": WHY})
    session = rig.session("break-glass", aal=1, methods=("break-glass",)).session
    with pytest.raises(Refused) as why:
        rig.parts.upstream_links.require(session, "corp")
    assert why.value.code == "BREAK_GLASS"
    with pytest.raises(Refused):
        rig.parts.authenticators.lacks(session)
    assert rig.parts.upstream_links.linkable(session) == ()


# --- providers that are gone -------------------------------------------------------------------------


def test_a_provider_that_is_gone_keeps_nobodys_groups_for_the_last_administrator(rig: PeopleRig) -> None:
    store = rig.control._store
    for name in ("aida", "zack"):
        rig.add(name)
    rig.add("last")
    with store.transaction("test", "a provider gave these") as tx:
        directory.create_group(tx, "eng")
        directory.sync_memberships(tx, "last", "oidc:gone", ("it", "eng"))
        for name in ("aida", "zack"):
            directory.sync_memberships(tx, name, "oidc:gone", ("eng",))
    others = ("ivan", "irene", "root")
    for name in others:
        rig.host.patch(f"/v1/people/{name}", json={"status": "suspended"})
    try:
        withdraw_groups(rig.parts.desk.ledger, rig.parts.desk.catalogue())
        for name in ("aida", "zack"):
            assert rig.host.get(f"/v1/people/{name}").json()["groups"] == [], name
        assert rig.host.get("/v1/people/last").json()["groups"] == ["eng", "it"], "nobody else administers"
    finally:
        for name in others:
            rig.host.patch(f"/v1/people/{name}", json={"status": "active"})
    withdraw_groups(rig.parts.desk.ledger, rig.parts.desk.catalogue())
    assert rig.host.get("/v1/people/last").json()["groups"] == []


# --- imports -----------------------------------------------------------------------------------------


def test_an_import_leaves_nobody_from_outside_without_terms(rig: PeopleRig) -> None:
    for csv in (
        "username,kind\npia,partner\n",
        "username,kind,expires\npia,contractor,2999-01-01\n",
        "username,kind\neve,partner\n",
    ):
        report = rig.host.post("/v1/people/import", json={"csv": csv}).json()
        assert (report["applied"], len(report["errors"])) == (False, 1), report
    assert rig.host.get("/v1/people/pia").status_code == 404
    assert rig.host.get("/v1/people/eve").json()["kind"] == "employee"
    ends = datetime.fromtimestamp(rig.clock.now() + 86_400, UTC).isoformat()
    fine = f"username,kind,sponsor,expires\npia,partner,eve,{ends}\n"
    assert rig.host.post("/v1/people/import", json={"csv": fine}).json()["applied"]
    assert rig.host.get("/v1/people/pia").json()["sponsor"] == "eve"


# --- journals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/audit/holds/x/end", {"reason": WHY}),
        ("/v1/audit/nodes/x/trust", {"key": "x", "reason": WHY}),
        ("/v1/audit/holds", {"reason": WHY}),
    ],
)
def test_the_help_desk_answers_complaints_and_keeps_its_hands_off_the_journal(
    rig: PeopleRig, path: str, body: Any
) -> None:
    assert rig.caller("heidi").post(path, body).status_code == 403
    assert rig.caller("oscar").post(path, body).status_code != 403

"""People and groups that SCIM clients keep: what becomes of them in Limen's own directory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scim_kit import BULK, ENTERPRISE, GROUP, USER, ScimHttp, ScimWorld

from limen.core.entities import Kind, Status
from limen.core.errors import NotFound, Refused
from limen.core.identity_config import ClaimRule, ScimConfig, SourceRules
from limen.store import directory, identities, sessions
from limen.store.erasure import forget_person

OFF = {"op": "replace", "path": "active", "value": False}
ON = {"op": "replace", "path": "active", "value": True}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScimWorld]:
    made = ScimWorld(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def okta(world: ScimWorld) -> ScimHttp:
    return world.http()


def person(world: ScimWorld, username: str) -> directory.Person:
    with world.store.read() as connection:
        return directory.get_person(connection, username)


def change(world: ScimWorld, username: str, **fields: Any) -> None:
    with world.store.transaction("admin", "test") as tx:
        directory.update_person(tx, username, **fields)


def test_a_person_is_made_in_the_directory(world: ScimWorld, okta: ScimHttp) -> None:
    head = world.store.head()
    emails = [{"value": "home@x.org"}, {"value": "Ada@Corp.example", "type": "work"}]
    made = okta.make("Ada@Corp.example", displayName="Ada Byron", emails=emails, externalId="00u1")
    found = person(world, "ada@corp.example")
    assert (found.name, found.email, found.source, found.status) == (
        "Ada Byron", "Ada@corp.example", "scim:okta", Status.ACTIVE,
    )  # fmt: skip
    assert [one.kind for one in world.store.changes_since(head)] == ["person"]
    assert made["userName"] == "Ada@Corp.example"
    with world.store.read() as connection:
        assert identities.find_owner(connection, "scim:okta", "00u1") == "ada@corp.example"


@pytest.mark.parametrize(
    "operation",
    [
        OFF,
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "Replace", "value": {"active": "False"}},
        {"op": "replace", "value": {"active": False}},
        {"op": "Add", "path": "active", "value": "false"},
    ],
)
def test_e1_deactivated_is_out_in_the_same_transaction(tmp_path: Path, operation: dict[str, Any]) -> None:
    world = ScimWorld(tmp_path)
    world.add("ada")
    world.clients.adopt("okta", ["ada"], actor="admin", reason="test")
    browser = world.browser()
    browser.sign_in("ada")
    assert browser.get("/account").status_code == 200
    okta = world.http()
    id_ = okta.find("/Users", filter='userName eq "ada"')[0]["id"]
    head = world.store.head()
    answer = okta.patch(f"/Users/{id_}", operation)
    assert (answer.status_code, answer.json()["active"]) == (200, False)
    changes = world.store.changes_since(head)
    assert {one.kind for one in changes} >= {"person", "session"}
    assert len({one.tx for one in changes}) == 1
    assert person(world, "ada").status is Status.SUSPENDED
    with world.store.read() as connection:
        assert not sessions.list_sessions(connection, "ada")
    assert browser.get("/account").status_code != 200
    assert "person.suspended" in world.kinds()
    assert "session.ended" in world.kinds()


def test_a_put_without_active_lets_in_again_and_one_with_false_does_not(
    world: ScimWorld, okta: ScimHttp
) -> None:
    made = okta.make("ada", active=False)
    assert person(world, "ada").status is Status.SUSPENDED
    path = f"/Users/{made['id']}"
    assert okta.call("PUT", path, {"schemas": [USER], "userName": "ada", "active": True}).status_code == 200
    assert person(world, "ada").status is Status.ACTIVE
    assert okta.call("PUT", path, {"schemas": [USER], "userName": "ada", "active": False}).status_code == 200
    assert person(world, "ada").status is Status.SUSPENDED


def test_e2_whoever_locked_unlocks(world: ScimWorld, okta: ScimHttp) -> None:
    path = f"/Users/{okta.make('ada')['id']}"
    change(world, "ada", status=Status.SUSPENDED)
    okta.patch(path, ON, {"op": "replace", "path": "title", "value": "x"})
    assert person(world, "ada").status is Status.SUSPENDED
    change(world, "ada", status=Status.ACTIVE)
    okta.patch(path, OFF)
    okta.patch(path, ON)
    assert person(world, "ada").status is Status.ACTIVE
    change(world, "ada", status=Status.SUSPENDED)
    okta.patch(path, OFF)
    assert okta.patch(path, ON).json()["active"] is True
    assert person(world, "ada").status is Status.SUSPENDED
    assert "scim.not_released" in world.kinds()
    change(world, "ada", status=Status.ENDED)
    assert okta.patch(path, {"op": "replace", "path": "title", "value": "y"}).status_code == 200
    assert person(world, "ada").status is Status.ENDED


def test_a_deleted_person_has_ended_and_the_name_is_never_issued_again(
    world: ScimWorld, okta: ScimHttp
) -> None:
    made = okta.make("ada", externalId="00u1")
    okta.group("staff", made["id"])
    assert okta.call("DELETE", f"/Users/{made['id']}").status_code == 204
    assert okta.call("GET", f"/Users/{made['id']}").status_code == 404
    assert okta.call("DELETE", f"/Users/{made['id']}").status_code == 404
    gone = person(world, "ada")
    assert (gone.status, gone.groups) == (Status.ENDED, ())
    again = okta.make("ada", externalId="00u1")
    with world.store.read() as connection:
        fresh = identities.find_owner(connection, "scim:okta", "00u1")
        people = [one for one in directory.list_people(connection) if one.status is Status.ACTIVE]
    assert fresh != "ada"
    assert fresh is not None and fresh.startswith("ada-")
    assert again["userName"] == "ada"
    assert fresh in [one.id for one in people]


def test_a_renamed_user_name_leaves_the_username(world: ScimWorld, okta: ScimHttp) -> None:
    made = okta.make("ada")
    renamed = {"op": "replace", "path": "userName", "value": "countess"}
    assert okta.patch(f"/Users/{made['id']}", renamed).json()["userName"] == "countess"
    assert person(world, "ada").source == "scim:okta"
    assert okta.find("/Users", filter='userName eq "ada"') == []
    assert okta.find("/Users", filter='userName eq "COUNTESS"')[0]["id"] == made["id"]
    other = okta.make("ada")
    assert other["id"] != made["id"]
    assert okta.patch(f"/Users/{other['id']}", renamed).json()["scimType"] == "uniqueness"


def test_e3_nobody_is_taken_over(world: ScimWorld, okta: ScimHttp) -> None:
    before = person(world, "root")
    answer = okta.call("POST", "/Users", {"schemas": [USER], "userName": "ROOT", "displayName": "Eve"})
    assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")
    assert "kept by local" in answer.json()["detail"]
    assert person(world, "root") == before
    theirs = world.http("entra").make("grace")
    assert okta.call("POST", "/Users", {"schemas": [USER], "userName": "grace"}).status_code == 409
    for method, body in (
        ("GET", None),
        ("DELETE", None),
        ("PUT", {"schemas": [USER], "userName": "grace", "active": False}),
    ):
        assert okta.call(method, f"/Users/{theirs['id']}", body).status_code == 404
    assert okta.patch(f"/Users/{theirs['id']}", OFF).status_code == 404
    assert okta.find("/Users") == []
    assert person(world, "grace").status is Status.ACTIVE


def test_documents_come_back_as_they_were_written_without_passwords(world: ScimWorld, okta: ScimHttp) -> None:
    said = {
        "name": {"givenName": "Ada", "familyName": "Byron"},
        "phoneNumbers": [{"value": "+44 1", "type": "work"}],
        ENTERPRISE: {"department": "Engines", "manager": {"value": "m1"}},
    }
    made = okta.make("ada", schemas=[USER, ENTERPRISE], password="secret-words-9", **said)
    shown = okta.call("GET", f"/Users/{made['id']}").json()
    assert shown["name"] == said["name"]
    assert shown["phoneNumbers"] == said["phoneNumbers"]
    assert shown[ENTERPRISE]["department"] == "Engines"
    assert person(world, "ada").name == "Ada Byron"
    with world.store.read() as connection:
        rows = connection.exec_driver_sql("select document from scim_resource").all()
    assert "secret-words-9" not in str(rows)
    assert "password" not in str(rows)


@pytest.mark.parametrize("value", ["m9", {"value": "m9"}])
def test_a_manager_may_be_bare_text(okta: ScimHttp, value: Any) -> None:
    made = okta.make("ada")
    answer = okta.patch(
        f"/Users/{made['id']}", {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": value}
    )
    assert answer.json()[ENTERPRISE]["manager"]["value"] == "m9"


def test_rules_give_attributes_kind_sponsor_and_end(tmp_path: Path) -> None:
    rules = (ClaimRule("enterprise.department", attribute="department"),)
    people = SourceRules(kind=Kind.PARTNER, sponsor="root", expires_s=3600.0, rules=rules)
    world = ScimWorld(tmp_path, ScimConfig("okta", people))
    world.catalogue = msgspec.structs.replace(world.catalogue, attributes={"department": "String"})
    okta = world.http()
    made = okta.make("ada", schemas=[USER, ENTERPRISE], **{ENTERPRISE: {"department": "Engines"}})
    found = person(world, "ada")
    assert (found.kind, found.sponsor, found.expires_at) == (Kind.PARTNER, "root", world.clock.now() + 3600)
    assert found.attributes == {"department": "Engines"}
    change(world, "ada", attributes={**found.attributes, "clearance": 3})
    moved = {"op": "replace", "path": f"{ENTERPRISE}:department", "value": "Looms"}
    okta.patch(f"/Users/{made['id']}", moved)
    assert person(world, "ada").attributes == {"clearance": 3, "department": "Looms"}
    okta.patch(f"/Users/{made['id']}", {"op": "remove", "path": f"{ENTERPRISE}:department"})
    assert person(world, "ada").attributes == {"clearance": 3}


# --- groups ----------------------------------------------------------------------------------------


def test_members_of_a_group_are_members_in_the_directory(world: ScimWorld, okta: ScimHttp) -> None:
    ada, bob, eve = (okta.make(name)["id"] for name in ("ada", "bob", "eve"))
    group = okta.group("Engineers", ada)
    path = f"/Groups/{group['id']}"
    assert person(world, "ada").groups == ("Engineers",)
    shown = okta.call("GET", f"/Users/{ada}").json()["groups"]
    assert [(one["value"], one["display"]) for one in shown] == [(group["id"], "Engineers")]
    okta.patch(path, {"op": "Add", "path": "members", "value": [{"value": bob}, {"value": eve}]})
    assert person(world, "bob").groups == ("Engineers",)
    okta.patch(path, {"op": "remove", "path": f'members[value eq "{ada}"]'})
    okta.patch(path, {"op": "Remove", "path": "members", "value": [{"value": eve}]})
    assert [person(world, name).groups for name in ("ada", "bob", "eve")] == [(), ("Engineers",), ()]
    body = {"schemas": [GROUP], "displayName": "Engineers", "members": [{"value": eve}]}
    answer = okta.call("PUT", path, body).json()
    assert [one["value"] for one in answer["members"]] == [eve]
    assert [person(world, name).groups for name in ("ada", "bob", "eve")] == [(), (), ("Engineers",)]
    okta.patch(path, {"op": "replace", "path": "members", "value": [{"value": ada}]})
    okta.patch(path, {"op": "replace", "value": {"displayName": "Makers", "members": [{"value": bob}]}})
    assert person(world, "bob").groups == ("Engineers",)  # what policies say stays
    assert person(world, "ada").groups == ()
    with world.store.read() as connection:
        assert directory.get_group(connection, "Engineers").name == "Makers"
    assert okta.patch(path, {"op": "remove", "path": "members"}).json().get("members") is None
    assert okta.call("DELETE", path).status_code == 204
    with world.store.read() as connection, pytest.raises(NotFound):
        directory.get_group(connection, "Engineers")


def test_g1_only_its_own_people_are_members(world: ScimWorld, okta: ScimHttp) -> None:
    theirs = world.http("entra").make("grace")["id"]
    group = okta.group("staff", theirs, "root", "no-such-id")
    assert "members" not in group
    assert person(world, "grace").groups == person(world, "root").groups == ()
    told = [event for event in world.events if event.kind == "scim.members_unknown"]
    assert told[0].data["count"] == 3


def test_g2_what_others_gave_stays(tmp_path: Path) -> None:
    world = ScimWorld(tmp_path, ScimConfig("okta", fills=("staff",)))
    with world.store.transaction("admin", "test") as tx:
        directory.create_group(tx, "staff")
        directory.add_member(tx, "staff", "root")
    okta = world.http()
    ada = okta.make("ada")["id"]
    with world.store.transaction("admin", "test") as tx:
        directory.add_member(tx, "staff", "ada")
    group = okta.group("staff", ada)
    path = f"/Groups/{group['id']}"
    okta.patch(path, {"op": "remove", "path": "members"})
    assert person(world, "ada").groups == ("staff",)
    assert okta.call("DELETE", path).status_code == 204
    assert person(world, "root").groups == ("staff",)


def test_a_group_that_is_here_is_filled_only_where_the_bundle_says_so(
    world: ScimWorld, okta: ScimHttp
) -> None:
    with world.store.transaction("admin", "test") as tx:
        directory.create_group(tx, "staff")
    answer = okta.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "staff"})
    assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")
    assert "fills" in answer.json()["detail"]
    okta.group("okta-only")
    again = okta.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "okta-only"})
    assert again.status_code == 409


def test_groups_in_groups_are_nested_and_have_no_circles(world: ScimWorld, okta: ScimHttp) -> None:
    ada = okta.make("ada")["id"]
    inner = okta.group("inner", ada)["id"]
    outer = okta.group("outer", inner)["id"]
    with world.store.read() as connection:
        assert directory.get_group(connection, "inner").parents == ("outer",)
    circle = okta.patch(f"/Groups/{inner}", {"op": "add", "path": "members", "value": [{"value": outer}]})
    assert (circle.status_code, circle.json()["scimType"]) == (400, "invalidValue")
    okta.patch(f"/Groups/{outer}", {"op": "remove", "path": f'members[value eq "{inner}"]'})
    with world.store.read() as connection:
        assert directory.get_group(connection, "inner").parents == ()


# --- the rest of the life ----------------------------------------------------------------------------


def test_people_are_handed_over_and_nobody_else_s(world: ScimWorld, okta: ScimHttp) -> None:
    world.add("ada")
    world.clients.adopt("okta", ["ada"], actor="admin", reason="HR moved")
    assert person(world, "ada").source == "scim:okta"
    found = okta.find("/Users", filter='emails.value eq "ada@limen.localhost"')[0]
    renamed = {"op": "replace", "path": "displayName", "value": "Ada"}
    assert okta.patch(f"/Users/{found['id']}", renamed).status_code == 200
    assert person(world, "ada").name == "Ada"
    with pytest.raises(Refused):
        world.clients.adopt("entra", ["ada"], actor="admin", reason="test")


def test_an_erased_person_is_forgotten_here_too(world: ScimWorld, okta: ScimHttp) -> None:
    made = okta.make("ada", phoneNumbers=[{"value": "+44 20 7946"}])
    change(world, "ada", status=Status.ENDED)
    with world.store.transaction("admin", "erasure") as tx:
        forget_person(tx, "ada")
    assert okta.call("GET", f"/Users/{made['id']}").status_code == 404
    with world.store.read() as connection:
        assert "7946" not in str(connection.exec_driver_sql("select * from scim_resource").all())


def test_bulk_makes_people_and_the_group_that_names_them(world: ScimWorld, okta: ScimHttp) -> None:
    operations = [
        {"method": "POST", "path": "/Groups", "bulkId": "g", "data": {
            "schemas": [GROUP], "displayName": "crew", "members": [{"value": "bulkId:u"}]}},
        {"method": "POST", "path": "/Users", "bulkId": "u", "data": {"schemas": [USER], "userName": "ada"}},
        {"method": "POST", "path": "/Users", "bulkId": "x", "data": {"schemas": [USER], "userName": "root"}},
    ]  # fmt: skip
    answer = okta.call("POST", "/Bulk", {"schemas": [BULK], "Operations": operations})
    assert [one["status"] for one in answer.json()["Operations"]] == ["201", "201", "409"]
    assert person(world, "ada").groups == ("crew",)

"""The SCIM protocol at its door: pages, orders, versions, parts; and who is let in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import AUTH, Browser
from scim_kit import BULK, GROUP, USER, ScimHttp, ScimWorld, in_process

from limen.core.errors import NotFound, Refused
from limen.core.identity_config import ScimConfig
from limen.store.tables import person

NAMES = ("ada", "Bob", "charles", "Dora", "eve", "frank", "grace")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScimWorld]:
    made = ScimWorld(tmp_path_factory.mktemp("scim"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def okta(world: ScimWorld) -> ScimHttp:
    http = world.http()
    for number, name in enumerate(NAMES):
        more = {"title": "Boss"} if number % 2 else {"nickName": name[:2]}
        http.make(name, displayName=f"Person {name}", **more)
    http.group("everybody", *(one["id"] for one in http.find("/Users")))
    return http


# --- pages and parts ---------------------------------------------------------------------------------


def test_pages_are_stable_and_hold_everybody_once(okta: ScimHttp) -> None:
    seen: list[str] = []
    for start in (1, 4, 7, 10):
        answer = okta.call("GET", "/Users", params={"startIndex": start, "count": 3}).json()
        assert answer["totalResults"] == len(NAMES)
        assert answer["startIndex"] == start
        seen += [one["userName"] for one in answer["Resources"]]
    assert sorted(seen) == sorted(NAMES)
    nothing = okta.call("GET", "/Users", params={"count": 0}).json()
    assert (nothing["totalResults"], nothing["Resources"]) == (len(NAMES), [])


@pytest.mark.parametrize("more", [{}, {"sortBy": "userName"}, {"sortBy": "title", "sortOrder": "descending"}])
def test_a_cursor_goes_there_and_back(okta: ScimHttp, more: dict[str, str]) -> None:
    seen: list[list[str]] = []
    cursor: str | None = ""
    answer = {}
    while cursor is not None:
        answer = okta.call("GET", "/Users", params={"cursor": cursor, "count": 3, **more}).json()
        seen.append([one["userName"] for one in answer["Resources"]])
        cursor = answer.get("nextCursor")
    assert [len(page) for page in seen] == [3, 3, 1]
    assert sorted(name for page in seen for name in page) == sorted(NAMES)
    back = okta.call("GET", "/Users", params={"cursor": answer["previousCursor"], "count": 3, **more}).json()
    assert [one["userName"] for one in back["Resources"]] == seen[1]


def test_order_ignores_case_and_lacks_come_last(okta: ScimHttp) -> None:
    by_name = okta.find("/Users", sortBy="userName")
    assert [one["userName"] for one in by_name] == sorted(NAMES, key=str.lower)
    by_title = okta.find("/Users", sortBy="title")
    assert ["title" in one for one in by_title] == [True] * 3 + [False] * 4
    assert okta.call("GET", "/Users", params={"sortBy": "name"}).json()["scimType"] == "invalidPath"


def test_a_search_may_stand_in_a_body_and_at_the_root(okta: ScimHttp) -> None:
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "filter": 'displayName co "e"',
        "count": 50,
    }
    at_users = okta.call("POST", "/Users/.search", body).json()
    at_root = okta.call("POST", "/.search", body).json()
    assert at_root["totalResults"] == at_users["totalResults"] + 1
    assert {one["meta"]["resourceType"] for one in at_root["Resources"]} == {"User", "Group"}


def test_answers_hold_the_parts_that_are_wanted(okta: ScimHttp) -> None:
    one = okta.find("/Users", filter='userName eq "ada"', attributes="userName")[0]
    assert set(one) == {"schemas", "id", "userName"} or set(one) == {"schemas", "id", "userName", "meta"}
    group = okta.find("/Groups")[0]
    assert len(group["members"]) == len(NAMES)
    for query in ({"excludedAttributes": "members"}, {"attributes": "displayName"}):
        assert "members" not in okta.call("GET", f"/Groups/{group['id']}", params=query).json()
        assert "members" not in okta.find("/Groups", **query)[0]
    shown = okta.call("GET", f"/Groups/{group['id']}", params={"excludedAttributes": "displayName"}).json()
    assert "displayName" not in shown or shown["displayName"]  # required: RFC 7643 keeps it
    assert len(shown["members"]) == len(NAMES)


def test_filters_find_by_what_the_database_knows_and_by_what_it_does_not(okta: ScimHttp) -> None:
    group = okta.find("/Groups")[0]
    ada = okta.find("/Users", filter='userName eq "ADA"')[0]
    for text, count in (
        (f'id eq "{ada["id"]}"', 1),
        ('displayName eq "person ADA"', 1),
        ('userName eq "ada" or userName eq "bob"', 2),
        ('userName eq "ada" and title pr', 0),
        ("title pr", 3),
        ("not (title pr)", 4),
        (f'groups.value eq "{group["id"]}"', 7),
        (f'groups eq "{group["id"]}" and userName eq "eve"', 1),
        ('meta.lastModified gt "2020-01-01T00:00:00Z"', 7),
        ('meta.created lt "2020-01-01T00:00:00Z"', 0),
        ('schemas eq "' + USER + '"', 7),
        (f'{USER}:userName sw "D"', 1),
    ):
        assert len(okta.find("/Users", filter=text)) == count, text
    assert len(okta.find("/Groups", filter=f'members[value eq "{ada["id"]}"]')) == 1
    assert okta.find("/Groups", filter='members.value eq "nobody"') == []


# --- versions ----------------------------------------------------------------------------------------


def test_versions_guard_reads_and_writes(okta: ScimHttp) -> None:
    ada = okta.find("/Users", filter='userName eq "ada"')[0]
    path, tag = f"/Users/{ada['id']}", ada["meta"]["version"]
    assert okta.call("GET", path, headers={"if-none-match": tag}).status_code == 304
    title = {"op": "replace", "path": "title", "value": "Countess"}
    stale = {"headers": {"if-match": 'W/"999"'}}
    assert okta.patch(path, title, **stale).status_code == 412
    assert okta.call("DELETE", path, **stale).status_code == 412
    changed = okta.patch(path, title, headers={"if-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] == changed.json()["meta"]["version"] != tag
    again = okta.patch(path, title)
    assert again.headers["etag"] == changed.headers["etag"]  # nothing changed
    okta.patch(path, {"op": "remove", "path": "title"})


def test_the_version_of_a_person_moves_with_their_groups(world: ScimWorld, okta: ScimHttp) -> None:
    eve = okta.find("/Users", filter='userName eq "eve"')[0]
    group = okta.group("temporary", eve["id"])
    path = f"/Users/{eve['id']}"
    assert okta.call("GET", path, headers={"if-none-match": eve["meta"]["version"]}).status_code == 200
    etag = okta.call("GET", f"/Groups/{group['id']}").headers["etag"]
    member = {"op": "remove", "path": f'members[value eq "{eve["id"]}"]'}
    assert okta.patch(f"/Groups/{group['id']}", member, headers={"if-match": 'W/"77"'}).status_code == 412
    assert okta.patch(f"/Groups/{group['id']}", member, headers={"if-match": etag}).status_code == 200
    assert okta.call("DELETE", f"/Groups/{group['id']}").status_code == 204


def test_a_large_group_is_patched_without_being_read(world: ScimWorld, okta: ScimHttp) -> None:
    from limen.administrator import scim_service

    group = okta.find("/Groups", filter='displayName eq "everybody"')[0]
    first = group["members"][0]["value"]
    shown, scim_service.MEMBERS_SHOWN = scim_service.MEMBERS_SHOWN, 3
    try:
        out = okta.patch(f"/Groups/{group['id']}", {"op": "remove", "path": f'members[value eq "{first}"]'})
        assert (out.status_code, out.content) == (204, b"")
        assert out.headers["etag"] != group["meta"]["version"]
        back = {"op": "add", "path": "members", "value": [{"value": first}]}
        assert okta.patch(f"/Groups/{group['id']}", back).status_code == 204
    finally:
        scim_service.MEMBERS_SHOWN = shown
    assert len(okta.call("GET", f"/Groups/{group['id']}").json()["members"]) == len(NAMES)


# --- who is let in -----------------------------------------------------------------------------------


def ask(world: ScimWorld, token: str = "", **headers: str) -> int:
    given = {"authorization": f"Bearer {token}"} if token else {}
    return int(in_process(world.console, **given, **headers).get("/Users").status_code)


def test_tokens_are_rotated_with_an_overlap(tmp_path: Path) -> None:
    world = ScimWorld(tmp_path)
    old = world.token()
    about = {"label": "x", "life_s": 86_400.0, "actor": "admin", "reason": ""}
    new, _, shortened = world.clients.rotate("okta", overlap_s=600.0, **about)  # type: ignore[arg-type]
    assert len(shortened) == 1
    assert ask(world, old) == ask(world, new.reveal()) == 200
    world.clock.advance(601)
    assert (ask(world, old), ask(world, new.reveal())) == (401, 200)
    last, made, _ = world.clients.rotate("okta", overlap_s=0.0, **about)  # type: ignore[arg-type]
    assert (ask(world, new.reveal()), ask(world, last.reveal())) == (401, 200)
    world.clients.revoke(made.id, actor="admin", reason="")
    assert ask(world, last.reveal()) == 401
    assert {"scim.token_made", "scim.tokens_shortened", "scim.token_revoked"} <= set(world.kinds())
    overview = world.clients.overview()
    assert [one["id"] for one in overview] == ["entra", "okta"]


def test_a_token_ends_and_a_client_that_the_bundle_drops_is_nobody(tmp_path: Path) -> None:
    world = ScimWorld(tmp_path)
    short, entra = world.token(life_s=60.0), world.token("entra")
    world.clock.advance(61)
    assert ask(world, short) == 401
    world.set_clients(ScimConfig("okta"))
    assert ask(world, entra) == 401
    assert world.events[-1].kind == "scim.token_refused"
    with pytest.raises(NotFound):
        world.token("entra")
    assert [one["configured"] for one in world.clients.overview()] == [False, True]
    for _ in range(4):
        world.token()
    with pytest.raises(Refused):
        world.token()


def test_o2_a_system_without_people_answers_nothing(tmp_path: Path) -> None:
    world = ScimWorld(tmp_path)
    with world.store.transaction("test", "empty it") as tx:
        for table in ("password", "totp"):
            tx.connection.exec_driver_sql(f"delete from {table}")
        tx.connection.execute(person.delete())
    assert ask(world, world.token()) == 503
    world.add("ada")
    assert ask(world, world.token()) == 200


def test_the_door_is_on_the_sign_in_host_alone(world: ScimWorld, okta: ScimHttp) -> None:
    token = world.token()
    for base in ("https://wiki.limen.localhost:8443", "https://localhost", "https://elsewhere.example"):
        http = in_process(world.console, base, authorization=f"Bearer {token}")
        assert http.get("/scim/v2/Users").status_code in (404, 421, 302, 303)
    browser = Browser(world, "192.0.2.1")
    assert browser.get(f"{AUTH}/scim/v3/Users").status_code == 404
    assert ask(world, token, **{"x-limen-peer": "rubbish"}) == 400


def test_discovery_says_what_is_there(okta: ScimHttp) -> None:
    config = okta.call("GET", "/ServiceProviderConfig").json()
    assert all(config[name]["supported"] for name in ("patch", "bulk", "filter", "sort", "etag"))
    assert config["changePassword"]["supported"] is False
    attributes = okta.call("GET", f"/Schemas/{USER}").json()["attributes"]
    assert "password" not in [one["name"] for one in attributes]
    assert okta.call("POST", "/Schemas", {}).status_code == 405
    assert okta.call("GET", "/Me").status_code == 501
    assert [one["name"] for one in okta.call("GET", "/ResourceTypes").json()["Resources"]] == [
        "User",
        "Group",
    ]
    assert okta.call("GET", f"/Schemas/{GROUP}").headers["content-type"] == "application/scim+json"


def test_bulk_is_bounded(okta: ScimHttp) -> None:
    many = [{"method": "DELETE", "path": "/Users/x"}] * 1001
    assert okta.call("POST", "/Bulk", {"schemas": [BULK], "Operations": many}).status_code == 413
    wide = [{"method": "POST", "path": "/Users", "bulkId": "1", "data": {"x": "y" * 1_100_000}}]
    assert okta.call("POST", "/Bulk", {"schemas": [BULK], "Operations": wide}).status_code == 413
    failing = [{"method": "DELETE", "path": "/Users/x"}] * 5
    body = {"schemas": [BULK], "failOnErrors": 2, "Operations": failing}
    assert len(okta.call("POST", "/Bulk", body).json()["Operations"]) == 2

"""A SCIM client gone bad, and strangers at its door: filters, PATCH, bodies, names, tokens."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from identity_world import AUTH
from scim_kit import BASE, BULK, ENTERPRISE, GROUP, PATCH, USER, ScimHttp, ScimWorld, in_process

from limen.administrator.scim_storage import ClientStorage
from limen.core.entities import Status
from limen.core.identity_config import ScimConfig, SourceRules
from limen.store import directory

QUICK_S = 5.0  # a refusal that reads documents, or backtracks, takes far longer than this


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScimWorld]:
    prefixed = ScimConfig("prefixed", SourceRules(group_prefix="limen-"))
    made = ScimWorld(tmp_path_factory.mktemp("abuse"), ScimConfig("okta"), ScimConfig("entra"), prefixed)
    made.http("entra").make("victim", displayName="Victim", emails=[{"value": "victim@x.org"}])
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def okta(world: ScimWorld) -> ScimHttp:
    http = world.http()
    http.make("mallory")
    return http


def people(world: ScimWorld) -> dict[str, directory.Person]:
    with world.store.read() as connection:
        return {one.id: one for one in directory.list_people(connection, limit=1000)}


# --- filters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'userName eq "x" or userName pr or id pr',
        "not (userName eq \"\")",
        'userName sw ""',
        'displayName co "%"',
        'displayName co "_"',
        "userName eq \"x' OR '1'='1\"",
        'userName eq "victim" or emails[value eq "victim@x.org"]',
        'userName eq "victim\\u0000"',
        'userName co "\\\\"',
        'groups pr or not (groups pr)',
        'meta.created gt "1970-01-01T00:00:00Z"',
    ],
)  # fmt: skip
def test_no_filter_reaches_another_client_s_people(okta: ScimHttp, text: str) -> None:
    for path in ("/Users", "/"):
        answer = okta.call("GET", path, params={"filter": text})
        assert answer.status_code == 200, answer.text
        assert "victim" not in answer.text
        assert answer.json()["totalResults"] <= 1


@pytest.mark.parametrize(
    "text",
    [
        "userName eq",
        'userName like "x"',
        'userName eq "x',
        'userName eq "x" and',
        "(" * 3000 + "userName pr" + ")" * 3000,
        "not (" * 200 + "userName pr" + ")" * 200,
        " or ".join(['userName eq "x"'] * 400),
        " or ".join(["id pr"] * 70),
        'userName eq "' + "a" * 5000 + '"',
        'password eq "x"',
        'password sw "a"',
        'bogus eq "x"',
        'urn:evil:User:userName eq "x"',
        "active gt true",
        'active co "t"',
        'emails[value[type eq "x"]]',
        'emails[not (value eq "x"',
        'userName[type eq "x"]',
        'meta.created gt "yesterday"',
        'x509Certificates.value gt "YQ=="',
        "userName eq 1e999",
        "\x00",
        "; drop table person",
        "__class__ pr",
        'model_fields pr and model_config co "x"',
    ],
)
def test_a_hostile_filter_is_refused_quickly(okta: ScimHttp, text: str) -> None:
    began = time.monotonic()
    for method, path, more in (
        ("GET", "/Users", {"params": {"filter": text}}),
        ("POST", "/Users/.search", {"body": {"filter": text}}),
    ):
        answer = okta.call(method, path, **more)
        assert answer.status_code == 400, (text[:60], answer.text[:300])
        assert answer.json()["scimType"] in ("invalidFilter", "invalidValue", "invalidPath")
        assert len(answer.content) < 20_000
    assert time.monotonic() - began < QUICK_S


@pytest.mark.parametrize(
    "query",
    [
        {"count": "-5"}, {"count": "99999999999999999999"}, {"startIndex": "-1"}, {"startIndex": str(2**62)},
        {"cursor": "AAAA"}, {"cursor": "a" * 5000}, {"cursor": "", "startIndex": "1"}, {"count": "x"},
        {"sortBy": "emails[type eq \"x\"]"}, {"sortBy": "__class__"}, {"attributes": "," * 5000},
        {"attributes": "password"}, {"excludedAttributes": "id,userName,schemas"},
    ],
)  # fmt: skip
def test_odd_pages_are_answered_or_refused_and_never_an_error_of_ours(
    okta: ScimHttp, query: dict[str, str]
) -> None:
    answer = okta.call("GET", "/Users", params=query)
    assert answer.status_code in (200, 400), answer.text
    assert "password" not in json.dumps(answer.json().get("Resources", []))
    if answer.status_code == 200:
        assert len(answer.json()["Resources"]) <= 200


def test_a_cursor_of_one_client_or_query_opens_no_other(world: ScimWorld, okta: ScimHttp) -> None:
    http = world.http("entra")
    http.make("second")
    page = http.call("GET", "/Users", params={"cursor": "", "count": 1}).json()
    other = {"cursor": page["nextCursor"], "count": 1, "filter": "userName pr"}
    assert http.call("GET", "/Users", params=other).json()["scimType"] == "invalidCursor"
    stolen = okta.call("GET", "/Users", params={"cursor": page["nextCursor"], "count": 1})
    assert "victim" not in stolen.text
    assert "second" not in stolen.text


# --- PATCH ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "replace", "path": "id", "value": "other"}],
        [{"op": "replace", "path": "meta.version", "value": "1"}],
        [{"op": "add", "path": "groups", "value": [{"value": "x"}]}],
        [{"op": "replace", "value": {"groups": [{"value": "x"}]}}],
        [{"op": "replace", "value": {"id": "other", "active": False}}],
        [{"op": "remove", "path": "userName"}],
        [{"op": "replace", "path": "userName", "value": ""}],
        [{"op": "replace", "path": "userName", "value": None}],
        [{"op": "replace", "path": "userName", "value": "a\x00b"}],
        [{"op": "replace", "path": "userName", "value": "x" * 300}],
        [{"op": "replace", "path": "userName", "value": ["a", "b"]}],
        [{"op": "replace", "path": "externalId", "value": "e\u202e"}],
        [{"op": "replace", "path": "active", "value": "perhaps"}],
        [{"op": "replace", "path": "active", "value": {"$ne": True}}],
        [{"op": "replace", "path": "emails", "value": [{"value": "a@evil.example@corp.example"}]}],
        [{"op": "replace", "path": "emails", "value": [{"value": "a@cоrp.example"}]}],  # a Cyrillic o
        [{"op": "replace", "path": "emails", "value": [{"value": "a@x.org\r\nBcc: b@x.org"}]}],
        [{"op": "replace", "path": "emails[type eq", "value": "x"}],
        [{"op": "replace", "path": "emails[" + "(" * 500 + 'type eq "x"' + ")" * 500 + "]", "value": "x"}],
        [{"op": "move", "path": "title", "value": "x"}],
        [{"op": "remove"}],
        [{"path": "title", "value": "x"}],
        [],
        [{"op": "add", "path": "title", "value": "x"}] * 101,
        [{"op": "add", "path": "title", "value": "x"}] * 1001,
        "title",
        {"op": "add", "path": "title", "value": "x"},
        [None],
        [[["x"]]],
    ],
)  # fmt: skip
def test_a_hostile_patch_changes_nothing(world: ScimWorld, okta: ScimHttp, operations: Any) -> None:
    mallory = okta.find("/Users", filter='userName eq "mallory"')[0]
    path = f"/Users/{mallory['id']}"
    before, held = okta.call("GET", path), people(world)
    began = time.monotonic()
    answer = okta.call("PATCH", path, {"schemas": [PATCH], "Operations": operations})
    assert answer.status_code == 400, answer.text
    assert time.monotonic() - began < QUICK_S
    assert okta.call("GET", path).content == before.content
    assert people(world) == held


def test_a_patch_is_whole_or_nothing(world: ScimWorld, okta: ScimHttp) -> None:
    path = f"/Users/{okta.make('half')['id']}"
    answer = okta.patch(
        path,
        {"op": "replace", "path": "active", "value": False},
        {"op": "replace", "path": "emails", "value": [{"value": "a@b@c"}]},
    )
    assert answer.status_code == 400
    assert people(world)["half"].status is Status.ACTIVE
    assert okta.call("GET", path).json().get("active") is not False


@pytest.mark.parametrize(
    "name", ["__class__", "__dict__", "model_config", "_sa_instance_state", "constructor"]
)
def test_names_of_the_machinery_are_no_attributes(okta: ScimHttp, name: str) -> None:
    made = okta.make(f"machine-{name.strip('_')}", **{name: {"x": 1}})
    answer = okta.patch(f"/Users/{made['id']}", {"op": "add", "path": name.strip("_"), "value": {"y": 2}})
    assert answer.status_code in (200, 400)
    assert name not in okta.call("GET", f"/Users/{made['id']}").json()


def test_a_patch_of_a_group_takes_nobody_else_in(world: ScimWorld, okta: ScimHttp) -> None:
    victim = world.http("entra").find("/Users", filter='userName eq "victim"')[0]["id"]
    group = okta.group("raiders")
    for value in (
        [{"value": victim}],
        [{"value": victim, "$ref": f"{BASE}/Users/{victim}", "type": "User"}],
        [{"$ref": f"{BASE}/Users/{victim}"}],
        [{"value": "victim"}],
        [{"value": "root"}],
        [{"value": group["id"]}],
    ):
        okta.patch(f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": value})
        okta.patch(f"/Groups/{group['id']}", {"op": "add", "value": {"members": value}})
    assert "members" not in okta.call("GET", f"/Groups/{group['id']}").json()
    assert people(world)["victim"].groups == people(world)["root"].groups == ()


# --- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["limen-admins", "Limen-Admins", "LIMEN-ADMINS", "ｌimen-admins", " limen-admins", "limen-x"]
)
def test_limen_s_own_groups_are_nobody_s_to_fill(world: ScimWorld, okta: ScimHttp, name: str) -> None:
    answer = okta.call("POST", "/Groups", {"schemas": [GROUP], "displayName": name})
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue")
    other = okta.group(f"harmless {hash(name)}")
    renamed = {"op": "replace", "path": "displayName", "value": name}
    assert okta.patch(f"/Groups/{other['id']}", renamed).status_code == 400
    assert all("limen" not in group for one in people(world).values() for group in one.groups)


def test_a_prefix_makes_no_group_of_limen_s(world: ScimWorld) -> None:
    body = {"schemas": [GROUP], "displayName": "admins"}
    assert world.http("prefixed").call("POST", "/Groups", body).status_code == 400


@pytest.mark.parametrize(
    "name",
    [
        "root!",
        "Root ",
        "rооt",
        "root\u200b",
        "ｒoot",
        "r.o.o.t",
        "root@",
        "@root",
        "ROOT#EXT#@x",
        "../root",
        "root/../x",
    ],
)
def test_names_that_look_like_somebody_are_somebody_else(world: ScimWorld, okta: ScimHttp, name: str) -> None:
    before = people(world)["root"]
    answer = okta.call("POST", "/Users", {"schemas": [USER], "userName": name})
    assert answer.status_code in (201, 400), answer.text
    after = people(world)
    assert after["root"] == before
    assert after["root"].source == "local"


@pytest.mark.parametrize("name", ["limen", "nobody", "journal", "host-operator", "demo"])
def test_names_of_limen_itself_are_given_to_nobody(world: ScimWorld, okta: ScimHttp, name: str) -> None:
    okta.make(name)
    assert name not in people(world)


def test_display_names_reach_apps_as_one_printable_line(world: ScimWorld, okta: ScimHttp) -> None:
    okta.make("splitter", displayName="Ada\r\nX-Admin: yes\u202e\x00")
    assert people(world)["splitter"].name == "Ada X-Admin: yes"


# --- bodies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
        (b'{"schemas":["%s"],"userName":NaN}' % USER.encode(), 400),
        (b'{"schemas":["%s"],"userName":"\xff\xfe"}' % USER.encode(), 400),
        (b'{"schemas":["%s"],"userName":"\\ud800"}' % USER.encode(), 400),
        (b'{"schemas":["%s"],"userName":{"a":1}}' % USER.encode(), 400),
        (b'{"schemas":["urn:evil"],"userName":"x"}', 400),
        (b"null", 400),
        (b'"x"', 400),
        (b"[]", 400),
        (b"x" * (4 * 1024 * 1024 + 1), 413),
    ],
)
def test_a_hostile_body_is_refused(world: ScimWorld, okta: ScimHttp, body: bytes, status: int) -> None:
    before = len(people(world))
    for path in ("/Users", "/Groups"):
        answer = okta.http.request(
            "POST", path, content=body, headers={"content-type": "application/scim+json"}
        )
        assert answer.status_code == status, answer.text[:300]
        assert answer.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert len(answer.content) < 20_000
    assert len(people(world)) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_is_no_scim(okta: ScimHttp, kind: str) -> None:
    body = json.dumps({"schemas": [USER], "userName": "form"}).encode()
    for method, path in (("POST", "/Users"), ("POST", "/Groups"), ("POST", "/Bulk"), ("PATCH", "/Groups/x")):
        answer = okta.http.request(method, path, content=body, headers={"content-type": kind})
        assert answer.status_code in (415, 404), (path, answer.text)


def test_a_body_without_a_length_is_bounded_too(okta: ScimHttp) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(80):
            yield b"x" * 65_536

    answer = okta.http.request("POST", "/Users", content=parts())
    assert answer.status_code == 413


def test_a_bulk_request_does_no_more_than_its_parts_could(world: ScimWorld, okta: ScimHttp) -> None:
    victim = world.http("entra").find("/Users", filter='userName eq "victim"')[0]["id"]
    operations = [
        {"method": "DELETE", "path": f"/Users/{victim}"},
        {"method": "PATCH", "path": f"/Users/{victim}", "data": {"schemas": [PATCH], "Operations": [
            {"op": "replace", "path": "active", "value": False}]}},
        {"method": "POST", "path": "/Bulk", "bulkId": "b", "data": {}},
        {"method": "GET", "path": "/Users"},
        {"method": "DELETE", "path": "/Me"},
        {"method": "DELETE", "path": "/Users/../Groups"},
        {"method": "POST", "path": "/Groups", "bulkId": "c1", "data": {
            "schemas": [GROUP], "displayName": "c1", "members": [{"value": "bulkId:c2"}]}},
        {"method": "POST", "path": "/Groups", "bulkId": "c2", "data": {
            "schemas": [GROUP], "displayName": "c2", "members": [{"value": "bulkId:c1"}]}},
    ]  # fmt: skip
    answer = okta.call("POST", "/Bulk", {"schemas": [BULK], "Operations": operations})
    assert answer.status_code == 200, answer.text
    assert all(int(one["status"]) >= 400 for one in answer.json()["Operations"][:6])
    assert people(world)["victim"].status is Status.ACTIVE


def test_an_error_of_ours_tells_the_log_and_not_the_client(
    okta: ScimHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(ClientStorage, "find", broken)
    monkeypatch.setattr(ClientStorage, "create", broken)
    made = {"schemas": [USER], "userName": "q"}
    one = {"method": "POST", "path": "/Users", "bulkId": "1", "data": made}
    bulk = {"schemas": [BULK], "Operations": [one]}
    for answer in (okta.call("GET", "/Users"), okta.call("POST", "/Bulk", bulk)):
        assert "42" not in answer.text
        assert "Traceback" not in answer.text
        assert "500" in answer.text


@pytest.mark.parametrize("path", ["/Users/%2e%2e/%2e%2e/api/v1/people", "/Users/x/y", "/Users/%00", "/api"])
def test_paths_lead_nowhere_else(okta: ScimHttp, path: str) -> None:
    for method in ("GET", "DELETE", "PUT"):
        answer = okta.http.request(method, f"{BASE}{path}", json={})
        assert answer.status_code in (400, 404, 405, 421), answer.text[:200]


def test_of_two_who_change_the_same_version_one_wins(okta: ScimHttp) -> None:
    made = okta.make("contended")
    path, tag = f"/Users/{made['id']}", {"headers": {"if-match": made["meta"]["version"]}}
    answers = [
        okta.patch(path, {"op": "replace", "path": "title", "value": value}, **tag).status_code
        for value in ("a", "b")
    ]
    assert answers == [200, 412]


# --- strangers -----------------------------------------------------------------------------------------


def knock(world: ScimWorld, **request: Any) -> Any:
    http = in_process(world.console)
    return http.request(request.pop("method", "GET"), request.pop("path", "/Users"), **request)


def test_o1_strangers_read_one_answer_whatever_the_reason(tmp_path: Any) -> None:
    world = ScimWorld(tmp_path)
    good = world.token()
    expired, dropped = world.token(life_s=1.0), world.token("entra")
    gone, made = world.clients.issue("okta", label="", life_s=60.0, actor="admin", reason="")
    world.clients.revoke(made.id, actor="admin", reason="")
    world.clock.advance(5)
    world.set_clients(ScimConfig("okta"))
    body, _, tag = good.rpartition(".")
    tries = [
        {"headers": {}},
        {"headers": {"authorization": "Bearer "}},
        {"headers": {"authorization": f"Bearer {body}.{tag[::-1]}"}},
        {"headers": {"authorization": f"Bearer {body[:-1]}x.{tag}"}},
        {"headers": {"authorization": f"Basic {good}"}},
        {"headers": [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")]},
        {"headers": {"authorization": f"Bearer {expired}"}},
        {"headers": {"authorization": f"Bearer {dropped}"}},
        {"headers": {"authorization": f"Bearer {gone.reveal()}"}},
        {"params": {"access_token": good}},
        {"cookies": {"__Host-limen": good, "authorization": f"Bearer {good}"}},
        {"headers": {"x-authorization": f"Bearer {good}"}},
    ]
    answers = {(one.status_code, one.content, one.headers["www-authenticate"]) for one in (
        knock(world, **request) for request in tries)}  # fmt: skip
    assert len(answers) == 1, answers
    assert next(iter(answers))[0] == 401
    assert knock(world, headers={"authorization": f"bearer {good}"}).status_code == 200
    told = [event for event in world.events if event.kind == "scim.token_refused"]
    assert told
    assert all(good not in str(event) and expired not in str(event) for event in world.events)


def test_tokens_open_only_their_own_door(world: ScimWorld) -> None:
    token = world.token()
    http = in_process(world.console, AUTH, authorization=f"Bearer {token}")
    assert http.get("/account").status_code in (302, 303, 401)
    assert http.get("/api/v1/people").status_code in (401, 404)
    browser = world.browser()
    browser.sign_in("root")
    assert browser.get(f"{BASE}/Users").status_code == 401


def test_a_flood_of_wrong_tokens_is_slowed_and_shuts_nobody_out(tmp_path: Any) -> None:
    world = ScimWorld(tmp_path)
    good = world.token()
    wrong = {"authorization": "Bearer limen_scim_" + "x" * 43 + "." + "y" * 22}
    answers = [knock(world, headers=wrong).status_code for _ in range(60)]
    assert answers[0] == 401
    assert answers[-1] == 429
    assert knock(world, headers={"authorization": f"Bearer {good}"}).status_code == 200


def test_rubbish_never_reaches_the_database(world: ScimWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_read() -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(world.store, "read", no_read)
    monkeypatch.setattr(world.store, "transaction", lambda *_: no_read())
    token = "limen_scim_" + "x" * 43 + "." + "y" * 22
    answer = knock(world, method="POST", headers={"authorization": f"Bearer {token}"}, content=b"{}")
    assert answer.status_code in (401, 429)


def test_enterprise_documents_stay_within_their_bounds(okta: ScimHttp) -> None:
    big = {"department": "x" * 100_000}
    answer = okta.call("POST", "/Users", {"schemas": [USER, ENTERPRISE], "userName": "big", ENTERPRISE: big})
    assert answer.status_code == 400
    assert okta.find("/Users", filter='userName eq "big"') == []

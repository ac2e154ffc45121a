"""The sealed credential stolen, guessed, used twice, used longer, and used for something else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from identity_world import forms
from people_rig import AUTH, PEER, PeopleRig, Person
from starlette.testclient import TestClient

from limen.information.identity import sealed_credential

WHY = "drill"
HEADERS = {**PEER, "accept": "text/html", "origin": AUTH, "sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeopleRig]:
    made = PeopleRig(tmp_path_factory.mktemp("glass"))
    yield made
    made.control.close()


@pytest.fixture
def rig(shared: PeopleRig) -> PeopleRig:
    shared.clock.advance(7_200)  # the hour of the test before is over
    active = {"status": "active", "quarantined": False, "reason": WHY}
    shared.host.patch("/v1/people/break-glass", json=active)
    return shared


def seal(rig: PeopleRig) -> str:
    answer = rig.host.post("/v1/break-glass/seal", json={"reason": WHY})
    assert answer.status_code == 201, answer.text
    assert answer.json()["warning"] == ""
    return str(answer.json()["credential"])


def browser(rig: PeopleRig, ip: str = "203.0.113.9") -> TestClient:
    headers = {**HEADERS, "x-limen-peer": ip}
    return TestClient(rig.control.console, base_url=AUTH, headers=headers, follow_redirects=False)


def type_in(http: TestClient, credential: str, accept: str = "text/html") -> Any:
    page = http.get("/break-glass")
    assert page.status_code == 200
    values = {**forms(page.text)[0][1], "credential": credential}
    return http.post("/break-glass", data=values, headers={"accept": accept})


def use(rig: PeopleRig, credential: str) -> Person:
    answer = type_in(browser(rig), credential, "application/json")
    assert answer.status_code == 200, answer.text
    return Person(rig, answer.json()["token"])


def kinds(rig: PeopleRig, kind: str) -> list[Any]:
    return list(rig.host.get("/v1/events", params={"kind": kind}).json())


def test_it_lets_somebody_in_who_administers_limen_and_nothing_else(rig: PeopleRig) -> None:
    glass = use(rig, seal(rig))
    assert glass.get("/v1/people").status_code == 200
    rig.clock.advance(50 * 60)
    assert glass.call("PATCH", "/v1/people/root", {"name": "Root"}).status_code == 200, "no step-up is asked"
    for path in ("/v1/break-glass/seal", "/v1/break-glass/withdraw"):
        assert glass.post(path, {"reason": WHY}).status_code == 403
    session = rig.parts.sessions.list_live("break-glass")[0][0]
    opens = rig.control._may_open("break-glass", session)
    assert {opened for opened, _ in opens.values()} == {False}


def test_it_works_once(rig: PeopleRig) -> None:
    credential = seal(rig)
    use(rig, credential)
    for again in (credential, credential.upper(), credential.replace("-", "")):
        assert type_in(browser(rig, "198.51.100.1"), again).status_code == 403
    assert "used" in kinds(rig, "break_glass.failed")[-1]["data"]["why"]


def test_it_is_forgiving_about_how_it_is_typed(rig: PeopleRig) -> None:
    use(rig, f" {seal(rig).upper().replace('-', ' ')} ")


def test_sealing_another_or_withdrawing_voids_it(rig: PeopleRig) -> None:
    first, second = seal(rig), seal(rig)
    assert type_in(browser(rig), first).status_code == 403
    assert rig.host.post("/v1/break-glass/withdraw", json={"reason": WHY}).status_code == 204
    assert type_in(browser(rig), second).status_code == 403
    assert rig.host.post("/v1/break-glass/withdraw", json={"reason": WHY}).status_code == 404


def test_it_lasts_one_hour_and_nothing_lengthens_it(rig: PeopleRig) -> None:
    http = browser(rig)
    assert type_in(http, seal(rig)).headers["location"] == "/"
    session = rig.parts.sessions.list_live("break-glass")[0][0]
    assert session.expires_at == rig.clock.now() + 3_600
    assert (session.aal, session.methods) == (1, ("break-glass",))
    with rig.parts.desk.ledger.entry("test", "test") as entry:
        token, until = rig.parts.sessions.open_program(entry, session.id, "x")
    assert until == session.expires_at
    caller = Person(rig, token.reveal())
    rig.clock.advance(3_599)
    assert caller.get("/v1/people").status_code == 200
    rig.clock.advance(1)
    assert caller.get("/v1/people").status_code == 401
    assert http.get("/account").status_code == 303, "to sign in"


def test_every_failure_looks_alike_and_rubbish_never_reaches_the_database(
    rig: PeopleRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = seal(rig)
    key = rig.parts.desk.key
    unknown = sealed_credential.new_credential(key).reveal()
    foreign = sealed_credential.new_credential(bytes(32)).reveal()
    typo = credential[:-1] + ("2" if credential[-1] != "2" else "3")
    http = browser(rig, "198.51.100.20")
    wrong = [unknown, foreign, typo, "", "x" * 5_000, "\u0000", "'; --"]
    pages = {type_in(http, one).text.split("<h1>")[1].split('name="csrf"')[0] for one in wrong}
    assert len(pages) == 1
    from limen.administrator import break_glass

    def no_read(*_: object) -> None:
        raise AssertionError("the table was read")

    monkeypatch.setattr(break_glass.rows, "find_good", no_read)
    assert type_in(browser(rig, "198.51.100.21"), foreign).status_code == 403


def test_who_guesses_is_slowed_and_shuts_nobody_out(rig: PeopleRig) -> None:
    credential = seal(rig)
    http = browser(rig, "198.51.100.30")
    statuses = [type_in(http, "0000-0000").status_code for _ in range(12)]
    assert statuses[-1] == 429
    noted = [one for one in kinds(rig, "break_glass.failed") if one["ip"] == "198.51.100.30"]
    assert len(noted) == 10, "what the throttle refuses is not recorded one by one"
    assert type_in(browser(rig, "198.51.100.30"), credential).status_code == 303, "from the same network"


def test_a_form_of_another_site_breaks_no_glass(rig: PeopleRig) -> None:
    credential = seal(rig)
    http = browser(rig)
    page = http.get("/break-glass")
    values = {**forms(page.text)[0][1], "credential": credential}
    assert http.post("/break-glass", data={"credential": credential}).status_code == 403
    evil = {"origin": "https://wiki.corp.example", "sec-fetch-site": "same-site"}
    assert http.post("/break-glass", data=values, headers=evil).status_code == 403
    assert http.post("/break-glass", data=values).status_code == 303


def test_everybody_who_has_a_role_is_told_and_every_page_says_so(rig: PeopleRig) -> None:
    seen: list[tuple[str, str]] = []
    real = rig.parts.desk.notices.queue

    def queue(inside: Any, to: str, kind: str, **facts: Any) -> Any:
        seen.append((to, kind))
        return real(inside, to, kind, **facts)

    rig.parts.desk.notices.queue = queue
    try:
        use(rig, seal(rig))
    finally:
        rig.parts.desk.notices.queue = real
    assert {("root", "break_glass"), ("oscar", "break_glass"), ("audrey", "break_glass")} <= set(seen)
    assert not {"eve", "break-glass"} & {who for who, _ in seen}
    event = kinds(rig, "break_glass.used")[-1]
    assert (event["actor"], event["ip"]) == ("break-glass", "203.0.113.9")
    eve = rig.session("eve")
    http = browser(rig)
    stranger = http.get("/login").text
    page = http.get("/", headers={"cookie": f"__Host-limen={eve.token.reveal()}"})
    assert "Emergency access to Limen is in use" in page.text
    assert "Emergency access to Limen is in use" not in stranger


def test_its_use_is_reviewed_by_somebody_else_who_sees_what_was_done(rig: PeopleRig) -> None:
    glass = use(rig, seal(rig))
    glass.call("PATCH", "/v1/people/eve", {"name": "Eve Z", "reason": "drill"})
    found = rig.host.get("/v1/break-glass").json()[0]
    assert (found["state"], "hash" in found) == ("to review", False)
    shown = rig.host.get(f"/v1/break-glass/{found['id']}").json()
    assert [one["resource"] for one in shown["decisions"]] == ['Route::"limen/people"']
    assert {"break_glass.used", "person.changed"} <= {one["kind"] for one in shown["events"]}
    for who in (glass, rig.caller("oscar"), rig.caller("audrey"), rig.caller("heidi")):
        assert who.post(f"/v1/break-glass/{found['id']}/review", {"text": "fine"}).status_code == 403
    root = rig.caller("root")
    assert root.post(f"/v1/break-glass/{found['id']}/review", {"text": " "}).status_code == 422
    done = root.post(f"/v1/break-glass/{found['id']}/review", {"text": "a drill"}).json()
    assert (done["state"], done["reviewed_by"]) == ("reviewed", "root")
    assert root.post(f"/v1/break-glass/{found['id']}/review", {"text": "again"}).status_code == 409
    assert glass.get("/v1/people").status_code == 401, "its session ends with the review"


def test_who_has_its_person_suspended_has_no_use_for_it(rig: PeopleRig) -> None:
    credential = seal(rig)
    rig.host.patch("/v1/people/break-glass", json={"status": "suspended", "reason": WHY})
    assert type_in(browser(rig), credential).status_code == 403
    assert rig.host.post("/v1/break-glass/seal", json={"reason": WHY}).status_code == 409


def test_its_person_signs_in_by_no_other_way_with_what_it_may(rig: PeopleRig) -> None:
    seal(rig)
    other = Person(rig, rig.token("break-glass", aal=3))
    answer = other.get("/v1/people")
    assert answer.status_code == 403, "the policy asks for the method, not for the name"


def test_the_credential_stands_nowhere(rig: PeopleRig) -> None:
    credential = seal(rig)
    use(rig, credential)
    plain = credential.replace("-", "").encode()
    root = rig.control._state.root
    written = [path for path in root.rglob("*") if path.is_file()]
    assert not [p for p in written if credential.encode() in p.read_bytes() or plain in p.read_bytes()]


def test_a_bundle_that_would_let_it_do_nothing_is_said_when_it_is_sealed(tmp_path: Path) -> None:
    forbid = 'forbid(principal in Group::"limen-break-glass", action, resource);'
    rig = PeopleRig(tmp_path, f'@id("no") @reason("No.") {forbid}')
    try:
        answer = rig.host.post("/v1/break-glass/seal", json={"reason": WHY}).json()
        assert "FORBIDDEN (no)" in answer["warning"]
    finally:
        rig.control.close()

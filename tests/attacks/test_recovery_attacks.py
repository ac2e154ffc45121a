"""Attacks on recovery: enumeration, one thing alone, link reuse, hijack, approval by oneself, injection."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import AUTH, PASSWORD, Browser
from recovery_world import HOOK, SMTP, RecoveryWorld, begin, set_up

from limen.core.entities import Status
from limen.core.identity_config import NoticeConfig, RecoveryConfig
from limen.information.identity import recovery as codes
from limen.store import credentials as keys
from limen.store import directory

NEW = "violet-anchor-meadow-3"
_CHANGING = re.compile(
    r'name="csrf" value="[0-9a-f]{64}"|[0-9a-hjkmnp-tv-z]{4}-[0-9a-hjkmnp-tv-z]{4}|nonce="[^"]*"'
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RecoveryWorld]:
    world = RecoveryWorld(tmp_path)
    yield world
    world.store.close()


def _link(world: RecoveryWorld, person: str = "ada") -> str:
    world.announce()
    return world.mailed_link(person)


def _show(browser: Browser, **given: str) -> int:
    return browser.submit(browser.get("/recover/next"), given).status_code


def _code(world: RecoveryWorld, person: str = "ada") -> str:
    found = codes.new_codes()
    with world.store.transaction("test", "codes") as tx:
        hashes = [codes.hash_code(world.key, person, code) for code in found]
        keys.replace_recovery_codes(tx.connection, person, hashes)
    return found[0].reveal()


# --- who is here -------------------------------------------------------------------------------------


def test_recovery_tells_nobody_who_is_here(world: RecoveryWorld) -> None:
    world.add("gone")
    world.add("federated", password=None, with_totp=False)
    with world.store.transaction("test", "she left") as tx:
        directory.update_person(tx, "gone", status=Status.ENDED)
    seen = set()
    for number, name in enumerate(("ada", "nobody-here", "gone", "federated", "'; --", "a" * 128)):
        browser = world.browser(f"192.0.2.{number + 1}")
        asked = browser.submit(browser.get("/recover"), {"username": name})
        page = browser.get("/recover/next")
        wrong = browser.submit(page, {"password": "wrong-wrong-wrong", "code": "123456"})
        seen.add(
            (asked.status_code, asked.headers["location"], len(asked.headers.get_list("set-cookie")),
             _CHANGING.sub("", page.text), wrong.status_code, _CHANGING.sub("", wrong.text))
        )  # fmt: skip
    assert len(seen) == 1
    world.announce()
    assert {row.person for row in world.queued()} == {"ada"}, "only who can be recovered is sent a link"


def test_asking_writes_the_same_for_everybody(world: RecoveryWorld) -> None:
    """The mail is queued beside the request, so that its time tells nothing."""
    begin(world.browser(), "ada")
    begin(world.browser("192.0.2.9"), "nobody-here")
    assert world.queued() == []
    asked = [event for event in world.events if event.kind == "recovery.asked"]
    assert [(event.target, event.data["why"]) for event in asked] == [("ada", ""), ("", "unknown")]


def test_the_throttle_knows_names_not_people(world: RecoveryWorld) -> None:
    def asked(name: str, network: int) -> list[int]:
        browser = world.browser(f"198.51.{network}.1")
        return [browser.submit(browser.get("/recover"), {"username": name}).status_code for _ in range(5)]

    assert asked("ada", 1) == asked("nobody-here", 2) == [303, 303, 303, 429, 429]


def test_a_flood_sends_three_mails_and_no_more(world: RecoveryWorld) -> None:
    for number in range(12):
        browser = world.browser(f"203.0.113.{number + 1}")
        browser.submit(browser.get("/recover"), {"username": "ada"})
    world.announce()
    assert len(world.told("ada")) == 3


def test_a_flood_does_not_keep_a_known_browser_from_recovering(world: RecoveryWorld) -> None:
    known = world.browser("192.0.2.77")
    known.sign_in("ada")
    for number in range(6):
        browser = world.browser(f"203.0.113.{number + 1}")
        browser.submit(browser.get("/recover"), {"username": "ada"})
    assert known.submit(known.get("/recover"), {"username": "ada"}).status_code == 303


# --- one thing alone ---------------------------------------------------------------------------------


def test_one_thing_alone_is_never_enough(world: RecoveryWorld) -> None:
    code = _code(world)
    for given in ({"password": PASSWORD}, {"code": "totp"}, {"recovery_code": code}):
        browser = world.browser()
        world.clock.advance(4_000)
        begin(browser)
        shown = {"code": world.code("ada")} if "code" in given else given
        assert _show(browser, **shown) == 403
    browser = world.browser()
    world.clock.advance(4_000)
    begin(browser)
    assert browser.submit(browser.get(_link(world)), {"answer": "go"}).status_code == 303
    assert _show(browser) == 403, "the link alone"
    assert browser.post("/recover/take", browser.form(browser.get("/recover/next"))).status_code == 404


def test_one_wrong_thing_spoils_right_ones_and_spends_nothing(world: RecoveryWorld) -> None:
    browser, code = world.browser(), _code(world)
    begin(browser)
    assert _show(browser, password="wrong-wrong-wrong", recovery_code=code) == 403
    seen = world.code("ada")
    assert _show(browser, code=seen, recovery_code="0000-0000-0000-0000") == 403
    other = world.browser("192.0.2.2")
    begin(other)
    assert _show(other, recovery_code=code, code=seen) == 303, "neither was spent"


def test_the_same_thing_twice_is_one_thing(world: RecoveryWorld) -> None:
    browser, code = world.browser(), _code(world)
    begin(browser)
    assert _show(browser, recovery_code=code, code=code) == 403, "a recovery code is no app's code"


def test_guessing_ends_the_recovery(world: RecoveryWorld) -> None:
    browser = world.browser()
    begin(browser)
    page = browser.get("/recover/next")
    guesses = [browser.submit(page, {"password": PASSWORD, "code": "111111"}).status_code for _ in range(3)]
    assert guesses == [403, 403, 404]
    assert browser.get("/recover/next").status_code == 404


def test_guessing_here_leaves_the_buckets_of_signing_in_alone(world: RecoveryWorld) -> None:
    for number in range(3):
        browser = world.browser(f"203.0.113.{number + 1}")
        begin(browser)
        page = browser.get("/recover/next")
        for _ in range(3):
            browser.submit(page, {"password": "wrong-wrong-wrong", "code": "111111"})
    assert world.browser("192.0.2.50").sign_in("ada").status_code == 303


def test_what_no_longer_counts_does_not_recover(world: RecoveryWorld) -> None:
    browser = world.browser()
    begin(browser)
    with world.store.transaction("test", "suspend") as tx:
        directory.update_person(tx, "ada", status=Status.SUSPENDED)
    assert _show(browser, password=PASSWORD, code=world.code("ada")) == 403


def test_where_approval_is_demanded_two_things_do_not_do(world: RecoveryWorld) -> None:
    world.configure(recovery=RecoveryConfig(alone=False))
    browser = world.browser()
    begin(browser)
    csrf = browser.form(browser.get("/recover"))["csrf"]
    sent = {"csrf": csrf, "password": PASSWORD, "code": world.code("ada")}
    assert browser.post("/recover/next", sent).status_code == 404


# --- the link ----------------------------------------------------------------------------------------


def test_a_mailed_link_works_once(world: RecoveryWorld) -> None:
    browser = world.browser()
    begin(browser)
    path = _link(world)
    page = browser.get(path)
    assert browser.get(path).status_code == 200, "looking spends nothing: mail scanners look"
    assert browser.submit(page, {"answer": "go"}).status_code == 303
    assert browser.submit(page, {"answer": "go"}).status_code == 404
    assert browser.get(path).status_code == 404


def test_who_asked_gains_nothing_from_a_victim_who_follows_the_link(world: RecoveryWorld) -> None:
    mallory, ada = world.browser("203.0.113.66"), world.browser("192.0.2.1")
    begin(mallory)
    page = ada.get(_link(world))
    assert "203.0.113.66" in page.text, "she is told where it came from"
    ada.submit(page, {"answer": "go"})
    assert mallory.get("/recover/next").status_code == 404, "the recovery is in her browser now"
    csrf = mallory.form(mallory.get("/recover"))["csrf"]
    assert mallory.post("/recover/next", {"csrf": csrf, "password": PASSWORD}).status_code == 404


def test_that_was_not_me_stops_everything_even_when_it_was_enough_already(world: RecoveryWorld) -> None:
    mallory, other = world.browser("203.0.113.66"), world.browser("203.0.113.67")
    begin(mallory)
    begin(other)
    path = _link(world)
    code = _code(world)
    assert _show(mallory, password=PASSWORD, recovery_code=code) == 303
    ada = world.browser()
    assert ada.submit(ada.get(path), {"answer": "stop"}).status_code == 200
    for browser in (mallory, other):
        assert browser.get("/recover/next").status_code == 404
    assert "recovery.stopped" in world.kinds()


def test_a_taken_recovery_makes_one_link(world: RecoveryWorld) -> None:
    browser, code = world.browser(), _code(world)
    begin(browser)
    _show(browser, password=PASSWORD, recovery_code=code)
    page = browser.get("/recover/next")
    flow = browser.cookie("__Host-limen-signin") or ""
    assert browser.submit(page, {}).headers["location"].startswith("/enrol/")
    browser.http.cookies.set("__Host-limen-signin", flow, domain="auth.limen.localhost", path="/")
    assert browser.submit(page, {}).status_code == 404


def test_a_link_is_over_after_an_hour(world: RecoveryWorld) -> None:
    browser = world.browser()
    begin(browser)
    path = _link(world)
    world.clock.advance(3_601)
    assert browser.get(path).status_code == 404
    assert browser.get("/recover/next").status_code == 404


def test_links_lead_to_the_sign_in_host_whatever_host_was_asked(world: RecoveryWorld) -> None:
    browser = world.browser()
    begin(browser)
    page = browser.get("/recover")
    forged = browser.http.post(
        "/recover",
        data={**browser.form(page), "username": "ada"},
        headers={
            **browser.headers,
            "host": "evil.example",
            "x-forwarded-host": "evil.example",
            "origin": AUTH,
        },
    )
    assert forged.status_code == 421
    sent = {**browser.form(page), "username": "ada"}
    browser.post("/recover", sent, **{"x-forwarded-host": "evil.example", "forwarded": "host=evil.example"})
    world.announce()
    links = [str(facts["link"]) for facts in world.told("ada")]
    assert len(links) == 2
    assert all(link.startswith(f"{AUTH}/recover/link/") for link in links)


def test_a_flow_of_sign_in_is_no_recovery_and_the_other_way_round(world: RecoveryWorld) -> None:
    browser = world.browser()
    browser.password("ada")
    assert browser.get("/recover/next").status_code == 404
    other = world.browser("192.0.2.2")
    begin(other)
    assert other.get("/login/code").headers["location"] == "/login"
    assert other.get("/enrol/second").status_code == 404


def test_a_foreign_page_begins_and_approves_nothing(world: RecoveryWorld) -> None:
    browser = world.browser()
    browser.sign_in("hugo")
    for path in (
        "/recover",
        "/recover/next",
        "/recover/take",
        "/recover/approve",
        "/recover/approve/confirm",
    ):
        foreign = browser.post(path, {"csrf": "0" * 64}, origin="https://evil.example")
        assert foreign.status_code == 403, path


# --- approval ----------------------------------------------------------------------------------------


def _approver(world: RecoveryWorld, name: str) -> Browser:
    desk = world.browser("198.51.100.7")
    desk.sign_in(name)
    return desk


def _approve(desk: Browser, spoken: str) -> tuple[int, str]:
    found = desk.submit(desk.get("/recover/approve"), {"code": spoken})
    if found.status_code != 200:
        return found.status_code, found.text
    done = desk.submit(found, {"reason": "knows them"})
    return done.status_code, done.text


def test_nobody_approves_their_own_recovery(world: RecoveryWorld) -> None:
    desk = _approver(world, "root")
    status, text = _approve(desk, begin(world.browser(), "root"))
    assert (status, "Nobody approves their own recovery" in text) == (403, True)


def test_who_is_not_of_the_help_desk_approves_nothing(world: RecoveryWorld) -> None:
    world.add("mallory")
    status, text = _approve(_approver(world, "mallory"), begin(world.browser()))
    assert (status, "may not administer limen/recovery" in text) == (403, True)


def test_the_help_desk_makes_no_administrators(world: RecoveryWorld) -> None:
    status, text = _approve(_approver(world, "hugo"), begin(world.browser(), "root"))
    assert (status, "limen/roles" in text) == (403, True)


def test_nor_by_a_group_inside_the_administrators(world: RecoveryWorld) -> None:
    with world.store.transaction("test", "nested") as tx:
        directory.create_group(tx, "platform")
        directory.nest(tx, "platform", "limen-admins")
        directory.add_member(tx, "platform", "ada")
    status, text = _approve(_approver(world, "hugo"), begin(world.browser()))
    assert (status, "limen/roles" in text) == (403, True)


def test_who_has_just_come_back_approves_nobody(world: RecoveryWorld) -> None:
    with world.parts.desk.ledger.entry("test", "hugo came back") as entry:
        world.parts.desk.lower_trust(entry, "hugo", "reset")
    status, text = _approve(_approver(world, "hugo"), begin(world.browser()))
    assert (status, "come back by recovery yourself" in text) == (403, True)


def test_codes_to_approve_are_not_guessed_and_not_told_by_lists(world: RecoveryWorld) -> None:
    spoken, desk = begin(world.browser()), _approver(world, "hugo")
    page = desk.get("/recover/approve")
    answers = [desk.submit(page, {"code": f"0000-{number:04}"}).status_code for number in range(12)]
    assert set(answers[:10]) == {404}
    assert set(answers[10:]) == {403}, "too many"
    assert spoken not in repr(world.parts.approvals.listed())
    with world.store.read() as connection:
        stored = connection.exec_driver_sql("select * from recovery").all()
    assert spoken not in repr(stored) and spoken.replace("-", "") not in repr(stored)


def test_an_approved_recovery_is_only_of_the_browser_that_showed_the_code(world: RecoveryWorld) -> None:
    ada, mallory = world.browser(), world.browser("203.0.113.66")
    begin(mallory)
    spoken = begin(ada)
    assert _approve(_approver(world, "hugo"), spoken)[0] == 200
    assert "Set it up anew" not in mallory.get("/recover/next").text
    assert set_up(world, ada, "ada", NEW).headers["location"] == "/enrol/codes"
    assert mallory.get("/recover/next").status_code == 404, "others of hers are stopped"


def test_a_code_is_approved_once(world: RecoveryWorld) -> None:
    spoken, desk = begin(world.browser()), _approver(world, "hugo")
    assert _approve(desk, spoken)[0] == 200
    assert _approve(desk, spoken)[0] == 404


# --- what others write -------------------------------------------------------------------------------


def test_what_a_browser_says_of_itself_stays_text(world: RecoveryWorld) -> None:
    browser = world.browser()
    browser.headers["user-agent"] = "<script>alert(1)</script>\x7f" + "A" * 2_000
    begin(browser)
    page = world.browser("192.0.2.9").get(_link(world))
    assert "<script>alert" not in page.text
    assert "A" * 300 not in page.text


def test_secrets_of_recovery_are_in_no_event_and_not_in_the_database(world: RecoveryWorld) -> None:
    world.configure(notices=NoticeConfig(smtp=SMTP, webhook=HOOK))
    browser, code = world.browser(), _code(world)
    begin(browser)
    token = _link(world).rpartition("/")[2]
    _show(browser, password=PASSWORD, recovery_code=code)
    path = browser.submit(browser.get("/recover/next"), {}).headers["location"]
    everything = repr(world.events)
    for secret in (token, code, PASSWORD, path.rpartition("/")[2]):
        assert secret not in everything
    with world.store.read() as connection:
        for table in ("recovery", "notice", "sign_in", "enrolment_link"):
            rows = repr(connection.exec_driver_sql(f"select * from {table}").all())
            assert token not in rows and path.rpartition("/")[2] not in rows

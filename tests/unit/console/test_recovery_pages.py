"""Coming back: with two things, with another person, and what it costs for a while."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import PASSWORD, Browser
from recovery_world import RecoveryWorld, begin, set_up

from limen.administrator.session_values import Browser as From
from limen.administrator.session_values import Visit
from limen.core.identity_config import NoticeConfig, RecoveryConfig
from limen.information.identity import recovery as codes
from limen.store import credentials as keys
from limen.store import directory

NEW = "violet-anchor-meadow-3"
WEEK_S = 604_800.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RecoveryWorld]:
    world = RecoveryWorld(tmp_path)
    yield world
    world.store.close()


def _open_link(world: RecoveryWorld, browser: Browser) -> None:
    world.announce()
    page = browser.get(world.mailed_link())
    assert "It was me" in page.text
    assert browser.submit(page, {"answer": "go"}).headers["location"] == "/recover/next"


def _codes(world: RecoveryWorld, person: str = "ada") -> list[str]:
    found = codes.new_codes()
    hashes = [codes.hash_code(world.key, person, code) for code in found]
    with world.store.transaction("test", "codes") as tx:
        keys.replace_recovery_codes(tx.connection, person, hashes)
    return [code.reveal() for code in found]


def test_the_mailed_link_and_the_password_bring_back_who_lost_their_phone(world: RecoveryWorld) -> None:
    elsewhere = world.browser("198.51.100.1")
    elsewhere.sign_in("ada")
    browser = world.browser()
    begin(browser)
    _open_link(world, browser)
    shown = browser.submit(browser.get("/recover/next"), {"password": PASSWORD})
    assert shown.headers["location"] == "/recover/next"
    old = world.seeds["ada"]
    done = set_up(world, browser, "ada", NEW)
    assert done.headers["location"] == "/enrol/codes"
    assert world.seeds["ada"] != old
    assert elsewhere.get("/account").status_code == 303, "her sessions have ended"
    assert world.browser().password("ada").status_code == 403, "the old password is gone"
    assert world.signals("ada") == ("recovered",)
    done_words = [one for one in world.told("ada") if one.get("done")]
    assert [one["what"] for one in done_words] == ["Your sign-in was set up anew"]


def test_an_app_code_and_a_recovery_code_do_without_mail(world: RecoveryWorld) -> None:
    world.configure(notices=NoticeConfig())
    browser, code = world.browser(), _codes(world)[0]
    begin(browser)
    world.announce()
    assert world.queued() == []
    given = {"code": world.code("ada"), "recovery_code": code}
    assert browser.submit(browser.get("/recover/next"), given).status_code == 303
    assert set_up(world, browser, "ada", NEW).headers["location"] == "/enrol/codes"


def test_trust_is_lowered_for_a_while_and_then_restored_as_changes(world: RecoveryWorld) -> None:
    browser = world.browser()
    begin(browser)
    _open_link(world, browser)
    browser.submit(browser.get("/recover/next"), {"password": PASSWORD})
    set_up(world, browser, "ada", NEW)
    person = world.replica.person("ada")
    assert person is not None and person.signals == ("recovered",), "the feed has told it"
    world.clock.advance(WEEK_S - 60)
    world.parts.desk.sweep()
    assert world.signals("ada") == ("recovered",)
    world.clock.advance(120)
    world.parts.desk.sweep()
    person = world.replica.person("ada")
    assert person is not None and person.signals == ()
    assert world.kinds().count("recovery.restored") == 1


def test_a_recovery_code_at_sign_in_lowers_trust_and_is_announced(world: RecoveryWorld) -> None:
    browser, code = world.browser(), _codes(world)[0]
    page = browser.follow(browser.password("ada"))
    assert browser.submit(page, {"code": code, "method": "recovery"}).status_code == 303
    assert world.signals("ada") == ("recovered",)
    assert [one["what"] for one in world.told("ada")] == ["A recovery code was used to sign in"]


def test_another_signal_stays_when_recovered_goes(world: RecoveryWorld) -> None:
    with world.parts.desk.ledger.entry("test", "signals") as entry:
        world.parts.desk.lower_trust(entry, "ada", "reset")
    with world.store.transaction("test", "another signal") as tx:
        directory.update_person(tx, "ada", signals=("leaving", "recovered"))
    world.clock.advance(WEEK_S + 1)
    world.parts.desk.sweep()
    assert world.signals("ada") == ("leaving",)


def test_the_help_desk_approves_what_is_read_out_to_it(world: RecoveryWorld) -> None:
    world.configure(recovery=RecoveryConfig(alone=False))
    browser, desk = world.browser(), world.browser("198.51.100.7")
    spoken = begin(browser)
    desk.sign_in("hugo")
    found = desk.submit(desk.get("/recover/approve"), {"code": spoken.upper().replace("-", " ")})
    assert "Ada" in found.text and "192.0.2.1" in found.text
    assert desk.submit(found, {"reason": " "}).status_code == 422
    done = desk.submit(found, {"reason": "Met her, saw her badge"})
    assert (done.status_code, "ada can go on now" in done.text) == (200, True)
    assert set_up(world, browser, "ada", NEW).headers["location"] == "/enrol/codes"
    approved = next(event for event in world.events if event.kind == "recovery.approved")
    assert (approved.actor, approved.target, approved.reason) == ("hugo", "ada", "Met her, saw her badge")
    assert next(one["what"] for one in world.told("ada")) == "hugo approved the recovery of your sign-in"


def test_an_approver_needs_a_fresh_sign_in_and_is_led_to_it(world: RecoveryWorld) -> None:
    desk, spoken = world.browser("198.51.100.7"), begin(world.browser())
    desk.sign_in("hugo")
    world.clock.advance(1_000)
    answer = desk.submit(desk.get("/recover/approve"), {"code": spoken})
    assert answer.headers["location"].startswith("/login/step-up?flow=")


def _finish(world: RecoveryWorld, browser: Browser, name: str) -> None:
    """Pair an app in an enrolment whose password was set."""
    pairing = browser.follow(browser.submit(browser.get("/enrol/second"), {"method": "totp"}))
    flow = browser.cookie("__Host-limen-signin") or ""
    pending = world.parts.enrolment.pending(Visit(From("192.0.2.1"), None, flow))
    assert pending is not None and pending.secret is not None
    world.seeds[name] = pending.secret
    assert browser.submit(pairing, {"code": world.code(name)}).headers["location"] == "/enrol/codes"


def test_an_administrators_link_for_who_had_factors_lowers_trust_too(world: RecoveryWorld) -> None:
    browser = world.browser()
    page = browser.get(world.link("ada", reset=True))
    browser.follow(browser.submit(page, {"password": NEW, "password_again": NEW}))
    assert world.signals("ada") == (), "nothing is done yet"
    _finish(world, browser, "ada")
    assert world.signals("ada") == ("recovered",)


def test_a_newcomer_is_not_somebody_who_came_back(world: RecoveryWorld) -> None:
    world.add("new", password=None, with_totp=False)
    browser = world.browser()
    page = browser.get(world.link("new"))
    browser.follow(browser.submit(page, {"password": NEW, "password_again": NEW}))
    _finish(world, browser, "new")
    assert world.signals("new") == ()
    assert [one["what"] for one in world.told("new", "enrolment")] == ["Your sign-in was set up"]

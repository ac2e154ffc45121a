"""Attacks on the forms of sign-in: fixation, forgery, redirects, replay, and what answers give away."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import AUTH, DOMAIN, PASSWORD, PAY, WIKI, World

from limen.information.identity import totp


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.add("ada")
    world.add("mallory")
    yield world
    world.store.close()


# --- session fixation ----------------------------------------------------------------------------


def test_a_planted_session_cookie_is_never_adopted(world: World) -> None:
    attacker, victim = world.browser(), world.browser("192.0.2.7")
    attacker.sign_in("mallory")
    planted = attacker.cookie("__Host-limen")
    assert planted is not None
    victim.http.cookies.set("__Host-limen", planted, domain=f"auth.{DOMAIN}", path="/")
    victim.sign_in("ada", f"{AUTH}/login?flow=" + _flow_with_need())
    mine = victim.cookie("__Host-limen")
    assert mine not in (None, planted)
    assert world.parts.sessions.find(planted) is None, "the planted session ended"
    found = world.parts.sessions.find(mine or "")
    assert found is not None and found.person == "ada"


def test_a_planted_flow_cookie_is_never_adopted(world: World) -> None:
    attacker, victim = world.browser(), world.browser("192.0.2.7")
    attacker.password("mallory")
    planted = attacker.cookie("__Host-limen-signin")
    assert planted is not None
    victim.http.cookies.set("__Host-limen-signin", planted, domain=f"auth.{DOMAIN}", path="/")
    victim.password("ada")
    assert victim.cookie("__Host-limen-signin") not in (None, planted)
    page = attacker.get("/login/code")
    assert page.headers["location"] == "/login", "what was planted is closed, not shared"


def test_the_token_rotates_at_sign_in_and_at_step_up_and_the_old_one_lives_15_s(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    before = browser.cookie("__Host-limen") or ""
    form_before = browser.cookie("__Host-limen-form")
    world.clock.advance(1000)
    url = browser.authorize_url(need="fresh-sign-in")
    page = browser.follow(browser.get(url))
    answer = browser.submit(page, {"password": PASSWORD, "code": world.code("ada")})
    assert answer.headers["location"].startswith(WIKI)
    after = browser.cookie("__Host-limen") or ""
    assert after != before and browser.cookie("__Host-limen-form") != form_before
    sessions = world.parts.sessions
    old, new = sessions.find(before), sessions.find(after)
    assert old is not None and new is not None and old.id == new.id
    world.clock.advance(16)
    assert sessions.find(before) is None
    assert sessions.find(after) is not None


def test_rubbish_cookies_never_reach_the_database(world: World) -> None:
    browser = world.browser()
    for rubbish in ("x", "l1.5." + "A" * 43 + "." + "B" * 22, "l1." + "9" * 400):
        browser.http.cookies.set("__Host-limen", rubbish, domain=f"auth.{DOMAIN}", path="/")
        assert browser.get("/account").headers["location"].startswith("/login")


# --- forged forms --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": WIKI, "sec-fetch-site": "same-site"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/login", "/login/code", "/login/step-up", "/logout", "/logout/everywhere", "/tokens", "/account/totp",
     "/account/recovery", "/enrol/second"],
)  # fmt: skip
def test_a_form_from_elsewhere_is_refused(world: World, path: str, headers: dict[str, str]) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    csrf = browser.form(browser.get("/account"))["csrf"]
    own = {**browser.headers, **headers}
    answer = browser.http.post(path, data={"csrf": csrf}, headers=own)
    assert answer.status_code == 403
    assert len(world.parts.sessions.list_live("ada")) == 1


@pytest.mark.parametrize("csrf", ["", "0" * 64, "é"])
@pytest.mark.parametrize("path", ["/login", "/logout", "/logout/everywhere", "/tokens", "/enrol/second"])
def test_a_form_without_our_hidden_value_is_refused(world: World, path: str, csrf: str) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    assert browser.post(path, {"csrf": csrf, "app": "wiki"}).status_code == 403
    assert len(world.parts.sessions.list_live("ada")) == 1


def test_another_browsers_hidden_value_is_refused(world: World) -> None:
    attacker, victim = world.browser(), world.browser("192.0.2.7")
    csrf = attacker.form(attacker.get("/login"))["csrf"]
    victim.get("/login")
    answer = victim.post("/login", {"csrf": csrf, "username": "mallory", "password": PASSWORD})
    assert answer.status_code == 403 and "out of date" in answer.text


def test_a_hidden_value_of_before_the_sign_in_is_refused_after_it(world: World) -> None:
    browser = world.browser()
    stale = browser.form(browser.get("/login"))["csrf"]
    browser.sign_in("ada")
    assert browser.post("/logout", {"csrf": stale}).status_code == 403


def test_script_endpoints_take_json_alone(world: World) -> None:
    browser = world.browser()
    csrf = browser.form(browser.get("/login"))["csrf"]
    as_form = browser.post("/login/passkey/options", {"csrf": csrf}, **{"x-csrf-token": csrf})
    assert as_form.status_code == 403
    plain = browser.http.post(
        "/login/passkey/options",
        content="{}",
        headers={**browser.headers, "content-type": "text/plain", "x-csrf-token": csrf},
    )
    assert plain.status_code == 403


def test_automation_without_origin_headers_may_post_its_own_form(world: World) -> None:
    browser = world.browser()
    page = browser.get("/login")
    values = {**browser.form(page), "username": "ada", "password": PASSWORD}
    answer = browser.http.post("/login", data=values, headers=browser.headers)
    assert answer.status_code == 303


# --- the callback ----------------------------------------------------------------------------------


def test_an_exchange_code_works_once(world: World) -> None:
    browser = world.browser()
    callback = browser.sign_in("ada", browser.authorize_url()).headers["location"]
    browser.bring_flow()
    assert browser.get(callback).status_code == 303
    browser.bring_flow()
    again = browser.get(callback)
    assert again.status_code == 400 and "Start again" in again.text
    assert not again.is_redirect


def test_an_exchange_code_of_another_browser_signs_nobody_in(world: World) -> None:
    attacker, victim = world.browser(), world.browser("192.0.2.7")
    callback = attacker.sign_in("mallory", attacker.authorize_url(nonce="a" * 32)).headers["location"]
    victim.bring_flow(nonce="b" * 32)
    assert victim.get(callback).status_code == 400
    assert victim.cookie("__Host-limen", f"wiki.{DOMAIN}") is None
    attacker.bring_flow(nonce="a" * 32)
    assert attacker.get(callback).status_code == 400, "it was spent by the attempt"


def test_an_exchange_code_opens_no_other_app(world: World) -> None:
    browser = world.browser()
    callback = browser.sign_in("ada", browser.authorize_url("wiki")).headers["location"]
    browser.bring_flow("pay")
    assert browser.get(callback.replace(WIKI, PAY)).status_code == 400


def test_an_exchange_code_is_over_after_a_minute_and_after_sign_out(world: World) -> None:
    browser = world.browser()
    late = browser.sign_in("ada", browser.authorize_url()).headers["location"]
    world.clock.advance(61)
    browser.bring_flow()
    assert browser.get(late).status_code == 400
    ended = browser.get(browser.authorize_url()).headers["location"]
    browser.submit(browser.get("/logout"), {})
    assert browser.get(ended).status_code == 400


def test_the_callback_without_a_flow_cookie_is_a_page(world: World) -> None:
    browser = world.browser()
    callback = browser.sign_in("ada", browser.authorize_url()).headers["location"]
    assert browser.get(callback).status_code == 400


# --- open redirects --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "\\/evil.example", "https://evil.example", "/a\r\nSet-Cookie: x=y",
     "/\tx", "", "evil", "/é", "/ x", "///evil.example", "/\x00"],
)  # fmt: skip
def test_a_return_that_leaves_the_app_is_refused(world: World, path: str) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    answer = browser.get(browser.authorize_url(path=path))
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "query",
    ["", "app=evil&return=/&nonce=" + "a" * 64, "app=wiki&return=/&nonce=short",
     "app=wiki&return=/&nonce=" + "a" * 64 + "&need=everything",
     "app=wiki&return=/&nonce=" + "a" * 64 + "&need=fresh-sign-in&max_age=-1"],
)  # fmt: skip
def test_a_damaged_link_to_sign_in_leads_nowhere(world: World, query: str) -> None:
    assert world.browser().get(f"/authorize?{query}").status_code == 400


def test_a_forged_flow_field_leads_home(world: World) -> None:
    import base64
    import json

    browser = world.browser()
    for forged in (
        {"path": "https://evil.example"},
        {"path": "//evil.example"},
        {"app": "evil", "path": "/", "nonce_hash": "a" * 64},
        {"app": "wiki", "path": "//evil.example", "nonce_hash": "a" * 64},
        ["x"],
    ):
        flow = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode()
        page = browser.follow(browser.password("ada"))
        code = world.code("ada")
        action_values = {**browser.form(page), "flow": flow, "code": code}
        assert browser.post("/login/code", action_values).headers["location"] == "/"
        browser.submit(browser.get("/logout"), {})


# --- what answers give away ------------------------------------------------------------------------


def _suspend(world: World, username: str) -> None:
    from limen.core.entities import Status
    from limen.store import directory

    with world.store.transaction("test", "suspend") as tx:
        directory.update_person(tx, username, status=Status.SUSPENDED)


def test_unknown_suspended_and_wrong_are_answered_alike_and_cost_one_hash_each(world: World) -> None:
    world.add("sam")
    _suspend(world, "sam")
    world.add("keyless", password=None, with_totp=False)
    shown = set()
    for username, password in (
        ("ada", "wrong-wrong-wrong"), ("sam", PASSWORD), ("sam", "wrong-wrong-wrong"), ("keyless", PASSWORD),
        ("ghost", PASSWORD), ("' or 1=1 --", PASSWORD), ("ada" * 500, PASSWORD),
    ):  # fmt: skip
        browser = world.browser()
        before = world.hasher.checks
        answer = browser.password(username, password)
        assert world.hasher.checks == before + 1
        text = re.sub(r'name="username" type="text" value="[^"]*"', "", answer.text)
        text = text.replace(browser.form(answer)["csrf"], "CSRF")
        shown.add((answer.status_code, text, tuple(sorted(set(answer.headers) - {"date"}))))
        assert browser.cookie("__Host-limen-signin") is None
    assert len(shown) == 1


def test_a_suspended_persons_session_opens_nothing_more(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    _suspend(world, "ada")
    assert browser.get(browser.authorize_url()).headers["location"].startswith("/login")


def test_a_suspension_between_password_and_code_holds(world: World) -> None:
    browser = world.browser()
    page = browser.follow(browser.password("ada"))
    _suspend(world, "ada")
    assert browser.submit(page, {"code": world.code("ada")}).status_code == 403
    assert browser.cookie("__Host-limen") is None


# --- guessing --------------------------------------------------------------------------------------


def test_guessing_is_slowed_and_a_refused_attempt_costs_no_hash(world: World) -> None:
    browser = world.browser()
    statuses = [browser.password("ada", f"guess-number-{n}").status_code for n in range(7)]
    assert statuses == [403] * 5 + [429] * 2
    before = world.hasher.checks
    refused = browser.password("ada")
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) <= 181
    assert world.hasher.checks == before
    world.clock.advance(181)
    assert browser.password("ada").status_code == 303


def test_throttling_answers_alike_for_a_name_that_does_not_exist(world: World) -> None:
    browser = world.browser()
    statuses = [browser.password("ghost", f"guess-number-{n}").status_code for n in range(7)]
    assert statuses == [403] * 5 + [429] * 2


def test_a_flood_from_everywhere_does_not_lock_a_known_browser_out(world: World) -> None:
    home = world.browser("198.51.100.1")
    home.sign_in("ada")
    home.submit(home.get("/logout"), {})
    for number in range(30):
        world.browser(f"203.0.113.{number}").password("ada", "guess-guess-guess")
    assert world.browser("203.0.113.99").password("ada").status_code == 429
    page = home.follow(home.password("ada"))
    assert home.submit(page, {"code": world.code("ada")}).status_code == 303


def test_a_known_browser_of_somebody_else_is_a_stranger(world: World) -> None:
    home = world.browser("198.51.100.1")
    home.sign_in("mallory")
    home.submit(home.get("/logout"), {})
    statuses = [home.password("ada", "guess-guess-guess").status_code for _ in range(6)]
    assert statuses[-1] == 429


def test_codes_are_slowed_across_sign_ins(world: World) -> None:
    wrong = 0
    for number in range(4):
        browser = world.browser(f"203.0.113.{number}")
        page = browser.follow(browser.password("ada"))
        for _ in range(2):
            answer = browser.submit(page, {"code": "000000"})
            wrong += answer.status_code == 403
    assert wrong == 5, "five at once, then one a minute"


def _flow_with_need() -> str:
    from limen.console.destinations import Target, render_flow

    return render_flow(Target(path="/", need="passkey"))


def test_the_code_page_is_over_for_a_code_that_is_replayed_across_the_step(world: World) -> None:
    browser = world.browser()
    page = browser.follow(browser.password("ada"))
    code = world.code("ada")
    assert browser.submit(page, {"code": code}).status_code == 303
    assert (
        browser.submit(page, {"code": totp.code_at(world.seeds["ada"], world.clock.now())}).status_code == 403
    )

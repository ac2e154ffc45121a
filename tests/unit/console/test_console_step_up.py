"""Step-up: what is asked, what it gives, and that it ends."""

import pytest
from identity_world import PASSWORD, WIKI, World

from limen.core.tokens import verify_token


def test_a_second_factor_is_added_to_a_session_and_its_age_stays(world: World) -> None:
    world.add("bob")
    with world.store.transaction("test", "no factor yet") as tx:
        from limen.store import credentials

        seed = credentials.load_credentials(tx.connection, "bob")
        assert seed is not None and seed.totp is not None
        credentials.remove_totp(tx.connection, "bob")
    browser = world.browser()
    browser.password("bob")
    before = world.parts.sessions.list_live("bob")[0][0]
    with world.store.transaction("test", "now one") as tx:
        credentials.set_totp(tx.connection, "bob", seed.totp.seed_sealed, 0, tx.now)
    world.clock.advance(100)
    page = browser.follow(browser.get(browser.authorize_url(need="second-factor")))
    assert 'name="password"' not in page.text
    answer = browser.submit(page, {"code": world.code("bob")})
    assert answer.headers["location"].startswith(f"{WIKI}/.limen/callback")
    after = world.parts.sessions.list_live("bob")[0][0]
    assert (before.aal, after.aal, after.methods) == (1, 2, ("password", "totp"))
    assert after.auth_at == before.auth_at and after.id == before.id


def test_a_fresh_sign_in_asks_for_everything_again(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    world.clock.advance(1000)
    page = browser.follow(browser.get(browser.authorize_url(need="fresh-sign-in", max_age="900")))
    assert 'name="password"' in page.text and 'name="code"' in page.text
    for values in (
        {"password": PASSWORD, "code": "000000"},
        {"password": "wrong", "code": world.code("ada")},
    ):
        assert browser.submit(page, values).status_code == 403
    page = browser.follow(browser.get(browser.authorize_url(need="fresh-sign-in", max_age="900")))
    assert browser.submit(page, {"password": PASSWORD, "code": world.code("ada")}).status_code == 303
    assert world.parts.sessions.list_live("ada")[0][0].auth_at == world.clock.now()


def test_a_wrong_password_at_step_up_does_not_spend_the_code(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    world.clock.advance(1000)
    page = browser.follow(browser.get(browser.authorize_url(need="fresh-sign-in")))
    code = world.code("ada")
    browser.submit(page, {"password": "wrong", "code": code})
    assert browser.submit(page, {"password": PASSWORD, "code": code}).status_code == 303


def test_a_need_that_is_met_passes_at_once_and_says_what_was_cured(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    callback = browser.get(browser.authorize_url(need="second-factor")).headers["location"]
    assert "/.limen/callback?code=" in callback
    browser.bring_flow()
    arrived = browser.get(callback)
    (cured,) = [h for h in arrived.headers.get_list("set-cookie") if h.startswith("__Host-limen-cured=")]
    assert cured.startswith("__Host-limen-cured=second-factor;") and "Max-Age=60" in cured


def test_a_passkey_is_asked_for_from_a_session_without(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    world.passkey(browser, "ada")
    page = browser.follow(browser.get(browser.authorize_url("pay", need="passkey", max_age="3600")))
    assert "passkey" in page.text and 'name="password"' not in page.text


def test_a_passkey_of_this_morning_is_not_a_fresh_one(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    key = world.passkey(browser, "ada")
    csrf = browser.form(browser.get("/account"))["csrf"]
    options = browser.script("/login/passkey/options?step=up", csrf, {}).json()
    browser.script("/login/passkey", csrf, {"credential": key.get(options)})
    url = browser.authorize_url("pay", need="passkey", max_age="3600")
    assert "/.limen/callback" in browser.get(url).headers["location"]
    world.clock.advance(3500)
    browser.get("/account")
    world.clock.advance(200)
    assert "/login/step-up" in browser.get(url).headers["location"]


def test_somebody_without_the_factor_is_told_so_and_not_sent_round(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    page = browser.follow(browser.get(browser.authorize_url(need="passkey")))
    assert page.status_code == 200 and "Nothing on your account can do this yet" in page.text


def test_the_step_up_of_an_app_dates_its_token_after_the_change(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    world.clock.advance(1000)
    page = browser.follow(browser.get(browser.authorize_url(need="fresh-sign-in")))
    answer = browser.submit(page, {"password": PASSWORD, "code": world.code("ada")})
    browser.bring_flow()
    browser.get(answer.headers["location"])
    token = browser.cookie("__Host-limen", "wiki.limen.localhost") or ""
    facts = {type(value).__name__: version for version, value in world.store.snapshot().values}
    assert verify_token(world.key, token).seq >= facts["SessionFact"]


def test_the_old_app_token_overlaps_fifteen_seconds(world: World) -> None:
    browser = world.browser()
    for _ in range(2):
        answer = browser.follow(browser.get(browser.authorize_url()))
        if not answer.is_redirect:
            answer = browser.sign_in("ada", browser.authorize_url())
        browser.bring_flow()
        browser.get(answer.headers["location"])
    live = sorted(c.expires_at for c in world.parts.sessions.list_live("ada")[0][1])
    assert live[0] == world.clock.now() + 15
    world.clock.advance(16)
    world.parts.sessions.sweep()
    assert len(world.parts.sessions.list_live("ada")[0][1]) == 1


@pytest.mark.parametrize("age", ["0", "1"])
def test_an_age_that_no_redirect_could_meet_is_not_a_loop(world: World, age: str) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    world.clock.advance(60)
    page = browser.follow(browser.get(browser.authorize_url(need="fresh-sign-in", max_age=age)))
    answer = browser.submit(page, {"password": PASSWORD, "code": world.code("ada")})
    assert "/.limen/callback" in answer.headers["location"]

"""Password, code and session, through the forms."""

import pytest
from identity_world import AUTH, PASSWORD, WIKI, World

from limen.core.tokens import verify_token
from limen.information.identity import totp


def test_password_and_code_lead_to_my_apps(world: World) -> None:
    browser = world.browser()
    answer = browser.sign_in("ada")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "wiki" in browser.get("/").text
    (live,) = world.parts.sessions.list_live("ada")
    assert (live[0].aal, live[0].methods, live[0].phishing_resistant) == (2, ("password", "totp"), False)


def test_the_session_is_published_and_its_token_dates_it(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    kinds = {type(value).__name__: version for version, value in world.store.snapshot().values}
    token = browser.cookie("__Host-limen")
    assert token is not None
    assert verify_token(world.key, token).seq == kinds["SessionFact"]


def test_every_page_is_strict(world: World) -> None:
    page = world.browser().get("/login")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "https://*.limen.localhost:8443" in policy
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"


def test_cookies_are_bound_to_their_host(world: World) -> None:
    browser = world.browser()
    page = browser.get("/login")
    answers = [page, browser.submit(page, {"username": "ada", "password": PASSWORD})]
    answers.append(browser.submit(browser.follow(answers[-1]), {"code": world.code("ada")}))
    for header in [h for answer in answers for h in answer.headers.get_list("set-cookie")]:
        assert header.startswith("__Host-limen")
        assert "Secure" in header and "HttpOnly" in header and "Path=/" in header
        assert "samesite=lax" in header.lower() and "domain" not in header.lower()


def test_an_app_gets_its_own_session_by_a_one_time_code(world: World) -> None:
    browser = world.browser()
    answer = browser.sign_in("ada", browser.authorize_url("wiki", "/page?x=1"))
    callback = answer.headers["location"]
    assert callback.startswith(f"{WIKI}/.limen/callback?code=")
    browser.bring_flow("wiki")
    arrived = browser.get(callback)
    assert (arrived.status_code, arrived.headers["location"]) == (303, "/page?x=1")
    own = browser.cookie("__Host-limen", "wiki.limen.localhost")
    assert own is not None and own != browser.cookie("__Host-limen")
    assert browser.cookie("__Host-limen-flow", "wiki.limen.localhost") is None
    (live,) = world.parts.sessions.list_live("ada")
    assert [child.app for child in live[1]] == ["wiki"]


def test_somebody_signed_in_passes_without_a_form(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    answer = browser.get(browser.authorize_url("pay"))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("https://pay.limen.localhost:8443/.limen/callback?code=")


def test_a_code_works_once(world: World) -> None:
    first, second = world.browser(), world.browser("192.0.2.2")
    page = first.follow(first.password("ada"))
    other = second.follow(second.password("ada"))
    code = world.code("ada")
    assert first.submit(page, {"code": code}).status_code == 303
    replayed = second.submit(other, {"code": code})
    assert replayed.status_code == 403
    assert second.cookie("__Host-limen") is None


def test_an_older_code_is_refused_after_a_newer_one(world: World) -> None:
    first, second = world.browser(), world.browser("192.0.2.2")
    page = first.follow(first.password("ada"))
    other = second.follow(second.password("ada"))
    older = world.code("ada")
    newer = world.code("ada")
    assert first.submit(page, {"code": newer}).status_code == 303
    assert second.submit(other, {"code": older}).status_code == 403


def test_the_password_is_asked_again_after_five_wrong_codes(world: World) -> None:
    browser = world.browser()
    page = browser.follow(browser.password("ada"))
    for _ in range(4):
        page = browser.submit(page, {"code": "000000"})
        assert page.status_code == 403
    over = browser.submit(page, {"code": "000000"})
    assert 'name="password"' in over.text
    assert browser.cookie("__Host-limen-signin") is None
    assert browser.get("/login/code").headers["location"] == "/login"


def test_a_recovery_code_stands_in_once(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    session = world.parts.sessions.list_live("ada")[0][0]
    codes = world.parts.authenticators.new_codes(session)
    for number, status in ((0, 303), (0, 403), (1, 303)):
        other = world.browser("192.0.2.9")
        page = other.follow(other.password("ada"))
        typed = codes[number].reveal().upper().replace("-", " ")
        assert other.submit(page, {"code": typed, "method": "recovery"}).status_code == status


def test_a_person_without_second_factor_gets_aal1(world: World) -> None:
    world.add("bob", with_totp=False)
    browser = world.browser()
    assert browser.password("bob").headers["location"] == "/"
    (live,) = world.parts.sessions.list_live("bob")
    assert (live[0].aal, live[0].methods) == (1, ("password",))
    assert browser.cookie("__Host-limen-known") is None


def test_a_flow_ends_after_ten_minutes(world: World) -> None:
    browser = world.browser()
    page = browser.follow(browser.password("ada"))
    world.clock.advance(601)
    code = totp.code_at(world.seeds["ada"], world.clock.now())
    assert browser.submit(page, {"code": code}).status_code == 403
    assert browser.cookie("__Host-limen") is None


def test_sign_out_ends_the_session_and_its_children(world: World) -> None:
    browser = world.browser()
    callback = browser.sign_in("ada", browser.authorize_url()).headers["location"]
    browser.bring_flow()
    browser.get(callback)
    done = browser.submit(browser.get("/logout"), {})
    assert "signed out" in done.text
    assert world.parts.sessions.list_live() == ()
    kinds = {type(value).__name__ for _, value in world.store.snapshot().values}
    assert not kinds & {"SessionFact", "AppSessionFact"}
    assert browser.cookie("__Host-limen") is None


def test_sign_out_everywhere_ends_every_browser(world: World) -> None:
    one, two = world.browser(), world.browser("192.0.2.2")
    one.sign_in("ada")
    two.sign_in("ada")
    page = one.get("/logout")
    one.submit(page, {}, number=1)
    assert world.parts.sessions.list_live() == ()
    assert two.get("/account").headers["location"].startswith("/login")


def test_a_link_to_sign_out_signs_nobody_out(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    assert "Sign out?" in browser.get("/logout").text
    assert browser.get(f"{WIKI}/.limen/logout").headers["location"] == f"{AUTH}/logout"
    assert len(world.parts.sessions.list_live()) == 1


def test_every_success_failure_and_end_is_noted(world: World) -> None:
    browser = world.browser()
    browser.password("ada", "wrong-wrong-wrong")
    browser.password("nobody-here", "hunter2-hunter2")
    browser.sign_in("ada")
    browser.submit(browser.get("/logout"), {})
    assert world.kinds() == ["sign_in.failed", "sign_in.failed", "sign_in.succeeded", "session.ended"]
    first, second, third, _ = world.events
    assert (first.target, first.data["why"], first.ip) == ("ada", "password", "192.0.2.1")
    assert (second.target, second.actor, second.data["why"]) == ("", "nobody", "unknown")
    assert third.data["methods"] == ["password", "totp"]
    assert "nobody-here" not in repr(world.events), "what a stranger types may be a password"


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_metrics_and_health_are_for_this_machine_alone(world: World, path: str) -> None:
    browser = world.browser()
    assert browser.get(path).status_code == 404
    assert browser.get(f"http://control{path}").status_code == 421, "it came through Envoy"
    del browser.headers["x-limen-peer"]
    assert browser.get(f"http://control{path}").status_code == 200


def test_hosts_do_not_answer_for_each_other(world: World) -> None:
    browser = world.browser()
    assert browser.get("https://evil.example/login").status_code == 421
    assert browser.get(f"{WIKI}/login").status_code == 404
    assert browser.get(f"{AUTH}/.limen/callback?code=x").status_code == 404
    assert browser.get("/.well-known/limen/jwks.json").json() == {"keys": []}


def test_an_oversized_form_is_refused(world: World) -> None:
    browser = world.browser()
    page = browser.get("/login")
    assert browser.submit(page, {"username": "a" * 100_000, "password": "x"}).status_code == 413

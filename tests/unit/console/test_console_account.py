"""My apps, sessions and keys, tokens."""

from pathlib import Path

from identity_world import PASSWORD, WIKI, Browser, World

from limen.administrator.session_values import Browser as From
from limen.administrator.session_values import Visit
from limen.core.tokens import verify_token
from limen.store.sessions import Session


def _signed_in(world: World) -> Browser:
    browser = world.browser()
    browser.sign_in("ada")
    return browser


def test_pages_need_a_session_and_come_back_to_themselves(world: World) -> None:
    browser = world.browser()
    for path in ("/", "/account"):
        assert browser.get(path).headers["location"].startswith("/login")
    done = browser.sign_in("ada", "/account")
    assert done.headers["location"] == "/account"


def test_a_program_without_session_gets_401(world: World) -> None:
    browser = world.browser()
    csrf = browser.form(browser.get("/login"))["csrf"]
    answer = browser.post("/tokens", {"csrf": csrf, "app": "wiki"}, accept="application/json")
    assert (answer.status_code, answer.json()["code"]) == (401, "NO_SESSION")


def test_a_token_for_scripts_opens_one_app_for_an_hour(world: World) -> None:
    browser = _signed_in(world)
    hidden = browser.form(browser.get("/account"))
    answer = browser.post("/tokens", {**hidden, "app": "wiki", "name": "ci"}, accept="application/json")
    assert answer.status_code == 201
    token = answer.json()["token"]
    (child,) = world.parts.sessions.list_live("ada")[0][1]
    assert child.token_hash == verify_token(world.key, token).hash
    assert (child.app, child.kind, child.expires_at) == ("wiki", "token", world.clock.now() + 3600)
    assert world.parts.sessions.find(token) is None, "it is no session at the sign-in host"
    revoked = browser.post("/tokens/revoke", {**hidden, "hash": child.token_hash})
    assert revoked.status_code == 303
    assert child.token_hash not in {c.token_hash for c in world.parts.sessions.list_live("ada")[0][1]}


def test_a_token_of_an_unknown_app_is_refused(world: World) -> None:
    browser = _signed_in(world)
    hidden = browser.form(browser.get("/account"))
    assert browser.post("/tokens", {**hidden, "app": "evil"}).status_code == 404


def test_nobody_ends_or_revokes_what_is_somebody_elses(world: World) -> None:
    world.add("bob")
    theirs = world.browser("192.0.2.3")
    theirs.sign_in("bob")
    session = world.parts.sessions.list_live("bob")[0][0]
    _, token = world.parts.sessions.issue_token(session, "wiki", "ci")
    browser = _signed_in(world)
    hidden = browser.form(browser.get("/account"))
    assert browser.post("/account/sessions/end", {**hidden, "id": session.id}).status_code == 404
    assert browser.post("/tokens/revoke", {**hidden, "hash": token.token_hash}).status_code == 404
    assert len(world.parts.sessions.list_live("bob")[0][1]) == 1


def test_one_session_can_end_another_of_the_same_person(world: World) -> None:
    lost = world.browser("192.0.2.3")
    lost.sign_in("ada")
    lost_id = world.parts.sessions.list_live("ada")[0][0].id
    browser = _signed_in(world)
    hidden = browser.form(browser.get("/account"))
    assert browser.post("/account/sessions/end", {**hidden, "id": lost_id}).headers["location"] == "/account"
    assert lost.get("/account").headers["location"].startswith("/login")
    assert browser.get("/account").status_code == 200


def test_keys_change_only_after_a_fresh_sign_in(world: World) -> None:
    browser = _signed_in(world)
    world.clock.advance(901)
    hidden = browser.form(browser.get("/account"))
    for path in ("/account/totp", "/account/totp/remove", "/account/recovery", "/account/passkey/remove"):
        assert browser.post(path, hidden).headers["location"].startswith("/login/step-up?flow=")
    options = browser.script("/account/passkey/options", hidden["csrf"], {})
    assert options.status_code == 403 and options.json()["next"].startswith("/login/step-up")
    page = browser.follow(browser.post("/account/totp", hidden))
    done = browser.submit(page, {"password": PASSWORD, "code": world.code("ada")})
    assert done.headers["location"] == "/account"
    hidden = browser.form(browser.get("/account"))
    assert browser.post("/account/totp", hidden).headers["location"] == "/account/totp"


def test_the_first_second_factor_comes_by_link_alone(world: World) -> None:
    world.add("bob", with_totp=False)
    browser = world.browser()
    browser.password("bob")
    hidden = browser.form(browser.get("/account"))
    for path in ("/account/totp", "/account/recovery"):
        refused = browser.post(path, hidden)
        assert refused.status_code == 403 and "one-time link" in refused.text
    assert browser.script("/account/passkey/options", hidden["csrf"], {}).status_code == 403


def test_an_authenticator_app_is_paired_anew_and_its_first_code_is_spent(world: World) -> None:
    browser = _signed_in(world)
    page = browser.follow(browser.post("/account/totp", browser.form(browser.get("/account"))))
    session = world.parts.sessions.list_live("ada")[0][0]
    visit = Visit(From("192.0.2.1"), session, browser.cookie("__Host-limen-signin") or "")
    pairing = world.parts.authenticators.pairing(session, visit)
    assert pairing is not None
    assert browser.submit(page, {"code": "000000"}).status_code == 403
    world.seeds["ada"] = pairing.secret
    code = world.code("ada")
    assert browser.submit(page, {"code": code}).headers["location"] == "/account"
    other = world.browser("192.0.2.4")
    second = other.follow(other.password("ada"))
    assert other.submit(second, {"code": code}).status_code == 403
    assert other.submit(second, {"code": world.code("ada")}).status_code == 303


def test_the_last_second_factor_stays(world: World) -> None:
    browser = _signed_in(world)
    hidden = browser.form(browser.get("/account"))
    refused = browser.post("/account/totp/remove", hidden)
    assert refused.status_code == 409 and "last second factor" in refused.text
    key = world.passkey(browser, "ada")
    assert browser.post("/account/totp/remove", hidden).status_code == 303
    session = world.parts.sessions.list_live("ada")[0][0]
    (stored,) = world.parts.authenticators.show(session).passkeys
    assert stored.name == "ada's key"
    assert browser.post("/account/passkey/remove", {**hidden, "id": stored.id}).status_code == 409
    assert key.id


def test_new_recovery_codes_replace_the_old_ones_and_are_shown_once(world: World) -> None:
    browser = _signed_in(world)
    session = world.parts.sessions.list_live("ada")[0][0]
    old = world.parts.authenticators.new_codes(session)[0].reveal()
    hidden = browser.form(browser.get("/account"))
    shown = browser.post("/account/recovery", hidden)
    assert old not in shown.text and shown.text.count("<li><code>") == 10
    assert shown.headers["cache-control"] == "no-store"
    other = world.browser("192.0.2.4")
    page = other.follow(other.password("ada"))
    assert other.submit(page, {"code": old}).status_code == 403


def test_my_apps_says_what_is_open_and_why_not(tmp_path: Path) -> None:
    asked = []

    def may_open(person: str, session: Session) -> dict[str, tuple[bool | None, str]]:
        asked.append((person, session.aal))
        return {"wiki": (True, ""), "pay": (False, "Asks for a passkey.")}

    world = World(tmp_path, may_open=may_open)
    world.add("ada")
    page = _signed_in(world).get("/")
    assert f'href="{WIKI}/"' in page.text and "Asks for a passkey." in page.text
    assert asked == [("ada", 2)]
    world.store.close()


def test_idle_and_old_sessions_end_by_themselves(world: World) -> None:
    browser = _signed_in(world)
    world.clock.advance(3601)
    assert browser.get("/account").headers["location"].startswith("/login")
    assert world.parts.sessions.sweep() == 1
    assert world.events[-1].data["by"] == "idle"
    busy = _signed_in(world)
    for _ in range(14):
        world.clock.advance(3300)
        busy.get("/account")
    assert busy.get("/account").headers["location"].startswith("/login"), "twelve hours are over"


def test_a_gateway_keeps_a_session_alive_that_only_apps_see(world: World) -> None:
    browser = _signed_in(world)
    session = world.parts.sessions.list_live("ada")[0][0]
    head = world.store.head()
    world.clock.advance(3000)
    world.parts.sessions.note_seen({session.id: world.clock.now(), "ses_unknown": world.clock.now()})
    assert world.store.head() == head, "last-seen times are not changes"
    world.clock.advance(3000)
    assert browser.get("/account").status_code == 200

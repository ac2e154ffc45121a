"""One-time links: the first administrator, a newcomer, a reset."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from identity_world import AUTH, DOMAIN, PASSWORD, WIKI, Browser, World
from soft_passkey import SoftPasskey

from limen.administrator.session_values import Browser as From
from limen.administrator.session_values import Visit
from limen.core.errors import Conflict, NotFound
from limen.information.identity import totp
from limen.store import directory

NEW_PASSWORD = "violet-anchor-meadow"
ADMIN = {"username": "root-ada", "name": "Ada", "email": "ada@corp.example"}


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[World]:
    """Control with nobody in it."""
    world = World(tmp_path)
    yield world
    world.store.close()


def _first_step(browser: Browser, url: str, **values: str) -> httpx.Response:
    given = {"password": NEW_PASSWORD, "password_again": NEW_PASSWORD, **values}
    return browser.submit(browser.get(url), given)


def _seed(world: World, browser: Browser) -> None:
    visit = Visit(From("192.0.2.1"), None, browser.cookie("__Host-limen-signin") or "")
    pending = world.parts.enrolment.pending(visit)
    assert pending is not None and pending.secret is not None
    world.seeds[pending.username] = pending.secret


def _enrol_totp(world: World, browser: Browser, url: str, who: str, **values: str) -> httpx.Response:
    browser.follow(_first_step(browser, url, **values))
    page = browser.follow(browser.submit(browser.get("/enrol/second"), {"method": "totp"}))
    _seed(world, browser)
    return browser.submit(page, {"code": world.code(who)})


@pytest.mark.parametrize(
    "path",
    ["/", "/login", "/authorize?app=wiki", "/account", "/logout", "/oidc/corp/start", "/login/code",
     "/.well-known/limen/jwks.json", "/metrics"],
)  # fmt: skip
def test_on_an_empty_system_nothing_answers_but_the_link(empty: World, path: str) -> None:
    browser = empty.browser()
    assert browser.get(path).status_code == 503
    assert browser.post(path, {}).status_code == 503
    assert browser.get(f"{WIKI}/.limen/callback?code=x").status_code == 503


def test_on_an_empty_system_a_guessed_link_is_over(empty: World) -> None:
    assert empty.browser().get("/enrol/" + "A" * 43).status_code == 404


def test_the_first_administrator_enrols_and_administers(empty: World) -> None:
    browser, url = empty.browser(), empty.link(None)
    done = _enrol_totp(empty, browser, url, "root-ada", **ADMIN)
    assert done.headers["location"] == "/enrol/codes"
    codes = browser.get("/enrol/codes")
    assert codes.text.count("<li><code>") == 10
    assert browser.submit(codes, {"kept": "yes"}).headers["location"] == "/"
    assert browser.get("/").status_code == 200
    with empty.store.read() as connection:
        person = directory.get_person(connection, "root-ada")
    assert (person.groups, person.name, person.email) == (("limen-admins",), "Ada", "ada@corp.example")
    assert "enrolment.completed" in empty.kinds()
    assert browser.get("/enrol/codes").headers["location"] == "/", "the codes were shown"


def test_the_first_administrators_link_works_once(empty: World) -> None:
    url = empty.link(None)
    one, two = empty.browser(), empty.browser("192.0.2.2")
    _first_step(two, url, **{**ADMIN, "username": "eve"})
    _enrol_totp(empty, one, url, "root-ada", **ADMIN)
    assert empty.browser().get(url).status_code == 404
    page = two.follow(two.submit(two.get("/enrol/second"), {"method": "totp"}))
    _seed(empty, two)
    late = two.submit(page, {"code": empty.code("eve")})
    assert late.status_code == 409 and two.cookie("__Host-limen") is None
    with empty.store.read() as connection:
        assert directory.find_person(connection, "eve") is None, "nothing half-made"
    with pytest.raises(Conflict):
        empty.link(None)


def test_a_link_is_over_after_an_hour_even_half_way(empty: World) -> None:
    browser, url = empty.browser(), empty.link(None)
    _first_step(browser, url, **ADMIN)
    empty.clock.advance(3590)
    page = browser.follow(browser.submit(browser.get("/enrol/second"), {"method": "totp"}))
    _seed(empty, browser)
    assert browser.submit(page, {"code": empty.code("root-ada")}).status_code in (404, 409)
    assert empty.browser().get(url).status_code == 404
    assert browser.get("/login").status_code == 503, "still empty"


def test_a_newer_link_ends_the_older_one(empty: World) -> None:
    old, new = empty.link(None), empty.link(None)
    assert empty.browser().get(old).status_code == 404
    assert empty.browser().get(new).status_code == 200


def test_looking_at_a_link_spends_nothing(empty: World) -> None:
    url = empty.link(None)
    for _ in range(5):
        assert empty.browser().get(url).status_code == 200


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"password_again": "something-else-here"}, "differ"),
        ({"password": "short", "password_again": "short"}, "fewer than 8"),
        ({"password": "password1", "password_again": "password1"}, "attacker"),
        ({"password": "root-ada1", "password_again": "root-ada1"}, "guessed"),
        ({"username": "Root Ada"}, "username"),
        ({"email": "no address"}, "email"),
    ],
)
def test_a_bad_field_is_named_and_the_rest_is_kept(empty: World, values: dict[str, str], said: str) -> None:
    browser, url = empty.browser(), empty.link(None)
    answer = _first_step(browser, url, **{**ADMIN, **values})
    assert answer.status_code == 422 and said in answer.text
    assert 'value="Ada"' in answer.text
    assert NEW_PASSWORD not in answer.text


def test_a_newcomer_enrols_a_passkey(world: World) -> None:
    world.add("bob", password=None, with_totp=False)
    browser, url = world.browser(), world.link("bob")
    _first_step(browser, url)
    page = browser.follow(browser.submit(browser.get("/enrol/second"), {"method": "passkey"}))
    csrf = browser.form(page)["csrf"]
    key = SoftPasskey(DOMAIN, AUTH)
    options = browser.script("/enrol/passkey/options", csrf, {}).json()
    assert (
        options["authenticatorSelection"] | {"residentKey": "required"} == options["authenticatorSelection"]
    )
    done = browser.script("/enrol/passkey", csrf, {"credential": key.create(options), "name": "laptop"})
    assert done.json() == {"next": "/enrol/codes"}
    assert browser.get("/enrol/codes").text.count("<li><code>") == 10
    other = world.browser("192.0.2.2")
    csrf = other.form(other.get("/login"))["csrf"]
    options = other.script("/login/passkey/options", csrf, {}).json()
    assert other.script("/login/passkey", csrf, {"credential": key.get(options)}).status_code == 200


def test_the_first_administrators_passkey_belongs_to_the_person_that_is_made(empty: World) -> None:
    browser, url = empty.browser(), empty.link(None)
    _first_step(browser, url, **ADMIN)
    page = browser.follow(browser.submit(browser.get("/enrol/second"), {"method": "passkey"}))
    csrf = browser.form(page)["csrf"]
    key = SoftPasskey(DOMAIN, AUTH)
    options = browser.script("/enrol/passkey/options", csrf, {}).json()
    assert browser.script("/enrol/passkey", csrf, {"credential": key.create(options)}).status_code == 200
    other = empty.browser("192.0.2.2")
    csrf = other.form(other.get("/login"))["csrf"]
    options = other.script("/login/passkey/options", csrf, {}).json()
    assert other.script("/login/passkey", csrf, {"credential": key.get(options)}).status_code == 200


def test_whoever_has_a_password_must_know_it_to_use_a_link(world: World) -> None:
    world.add("bob", with_totp=False)
    browser, url = world.browser(), world.link("bob")
    page = browser.get(url)
    assert browser.submit(page, {"password": "wrong"}).status_code == 403
    again = browser.submit(page, {"password": PASSWORD})
    assert again.headers["location"] == "/enrol/second"


def test_a_reset_ends_sessions_and_the_old_keys(world: World) -> None:
    old = world.browser()
    old.sign_in("ada")
    browser = world.browser("192.0.2.2")
    _enrol_totp(world, browser, world.link("ada", reset=True), "ada")
    assert old.get("/account").headers["location"].startswith("/login")
    third = world.browser("192.0.2.3")
    assert third.password("ada", PASSWORD).status_code == 403
    assert third.password("ada", NEW_PASSWORD).status_code == 303


def test_the_code_that_proved_a_pairing_signs_nobody_in(world: World) -> None:
    world.add("bob", password=None, with_totp=False)
    browser = world.browser()
    _enrol_totp(world, browser, world.link("bob"), "bob")
    other = world.browser("192.0.2.2")
    page = other.follow(other.password("bob", NEW_PASSWORD))
    code = totp.code_at(world.seeds["bob"], world.clock.now())
    assert other.submit(page, {"code": code}).status_code == 403


def test_recovery_codes_are_shown_to_the_person_alone(world: World) -> None:
    world.add("bob", password=None, with_totp=False)
    browser = world.browser()
    _enrol_totp(world, browser, world.link("bob"), "bob")
    thief = world.browser("192.0.2.2")
    flow = browser.cookie("__Host-limen-signin") or ""
    thief.sign_in("ada")
    thief.http.cookies.set("__Host-limen-signin", flow, domain=f"auth.{DOMAIN}", path="/")
    assert thief.get("/enrol/codes").headers["location"] == "/"


def test_a_link_for_nobody_or_for_a_leaver_is_not_made(world: World) -> None:
    with pytest.raises(NotFound):
        world.link("ghost")
    from limen.core.entities import Status

    with world.store.transaction("test", "leave") as tx:
        directory.update_person(tx, "ada", status=Status.ENDED)
    with pytest.raises(Conflict):
        world.link("ada")


def test_guessing_codes_at_enrolment_ends_it(world: World) -> None:
    world.add("bob", password=None, with_totp=False)
    browser = world.browser()
    _first_step(browser, world.link("bob"))
    page = browser.follow(browser.submit(browser.get("/enrol/second"), {"method": "totp"}))
    statuses = [browser.submit(page, {"code": "000000"}).status_code for _ in range(5)]
    assert statuses == [403, 403, 403, 403, 404]

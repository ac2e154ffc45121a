"""Attacks with passkeys: wrong origin, RP id, counter, challenge, person; and the good way in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from identity_world import AUTH, DOMAIN, WIKI, Browser, World
from soft_passkey import BE, BS, UP, SoftPasskey


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.add("ada")
    world.add("mallory")
    yield world
    world.store.close()


@pytest.fixture
def key(world: World) -> SoftPasskey:
    """Ada's passkey."""
    browser = world.browser()
    browser.sign_in("ada")
    return world.passkey(browser, "ada")


def _use(browser: Browser, key: SoftPasskey, *, flow: str = "", step: str = "") -> httpx.Response:
    page = browser.get("/account" if step == "up" else "/login")
    csrf = browser.form(page)["csrf"]
    options = browser.script(f"/login/passkey/options?step={step}", csrf, {})
    return browser.script("/login/passkey", csrf, {"credential": key.get(options.json()), "flow": flow})


def test_a_passkey_signs_in_alone_and_is_phishing_resistant(world: World, key: SoftPasskey) -> None:
    browser = world.browser("192.0.2.5")
    assert _use(browser, key).json() == {"next": "/"}
    session = world.parts.sessions.find(browser.cookie("__Host-limen") or "")
    assert session is not None
    assert (session.person, session.aal, session.phishing_resistant, session.methods) == (
        "ada", 2, True, ("passkey",),
    )  # fmt: skip


def test_passkeys_belong_to_the_domain_and_are_asked_for_with_user_verification(world: World) -> None:
    browser = world.browser()
    csrf = browser.form(browser.get("/login"))["csrf"]
    options = browser.script("/login/passkey/options", csrf, {}).json()
    assert (options["rpId"], options["userVerification"]) == (DOMAIN, "required")
    assert not options.get("allowCredentials"), "the sign-in page tells nobody which passkeys there are"


def _lie(**attributes: Any) -> Callable[[SoftPasskey], None]:
    def tell(key: SoftPasskey) -> None:
        for name, value in attributes.items():
            setattr(key, name, value)

    return tell


@pytest.mark.parametrize(
    "lie",
    [
        _lie(origin="https://evil.example"),
        _lie(origin=WIKI),
        _lie(origin=f"https://auth.{DOMAIN}"),
        _lie(origin=AUTH.replace("https", "http")),
        _lie(rp_id="evil.example"),
        _lie(rp_id="localhost"),
        _lie(rp_id=f"wiki.{DOMAIN}"),
        _lie(flags=UP),
        _lie(flags=0),
        _lie(flags=UP | BE | BS),
        _lie(cross_origin=True),
        _lie(handle=b"x" * 32),
        _lie(handle=b""),
        _lie(id=b"y" * 32),
    ],
    ids=["foreign-origin", "sibling-origin", "other-port", "plain-http", "foreign-rp", "parent-rp",
         "sibling-rp", "no-user-verification", "no-flags", "presence-only", "framed", "unknown-handle",
         "no-handle", "unknown-id"],
)  # fmt: skip
def test_a_lie_is_refused(world: World, key: SoftPasskey, lie: Callable[[SoftPasskey], None]) -> None:
    lie(key)
    browser = world.browser("192.0.2.5")
    answer = _use(browser, key)
    assert answer.status_code == 403
    assert answer.json()["error"] == "That did not match. Check what you typed, and try again."
    assert browser.cookie("__Host-limen") is None
    assert world.events[-1].kind == "sign_in.failed"


def test_a_counter_that_does_not_grow_is_refused(world: World, key: SoftPasskey) -> None:
    assert _use(world.browser("192.0.2.5"), key).status_code == 200
    key.sign_count -= 1
    assert _use(world.browser("192.0.2.6"), key).status_code == 403
    key.sign_count = 0
    assert _use(world.browser("192.0.2.7"), key).status_code == 403


def test_an_assertion_works_once(world: World, key: SoftPasskey) -> None:
    browser = world.browser("192.0.2.5")
    csrf = browser.form(browser.get("/login"))["csrf"]
    options = browser.script("/login/passkey/options", csrf, {}).json()
    credential = key.get(options)
    assert browser.script("/login/passkey", csrf, {"credential": credential}).status_code == 200
    browser.http.cookies.delete("__Host-limen")
    fresh = browser.form(browser.get("/login"))["csrf"]
    assert browser.script("/login/passkey", fresh, {"credential": credential}).status_code == 403


def test_a_wrong_assertion_spends_its_challenge(world: World, key: SoftPasskey) -> None:
    browser = world.browser("192.0.2.5")
    csrf = browser.form(browser.get("/login"))["csrf"]
    options = browser.script("/login/passkey/options", csrf, {}).json()
    key.origin = "https://evil.example"
    assert browser.script("/login/passkey", csrf, {"credential": key.get(options)}).status_code == 403
    key.origin = AUTH
    assert browser.script("/login/passkey", csrf, {"credential": key.get(options)}).status_code == 403


def test_an_assertion_for_another_browsers_challenge_is_refused(world: World, key: SoftPasskey) -> None:
    attacker, victim = world.browser("192.0.2.5"), world.browser("192.0.2.6")
    csrf = attacker.form(attacker.get("/login"))["csrf"]
    relayed = attacker.script("/login/passkey/options", csrf, {}).json()
    victims = victim.form(victim.get("/login"))["csrf"]
    answer = victim.script("/login/passkey", victims, {"credential": key.get(relayed)})
    assert answer.status_code == 403


def test_a_challenge_that_we_did_not_make_or_that_is_over_is_refused(world: World, key: SoftPasskey) -> None:
    key.challenge = "A" * 86
    assert _use(world.browser("192.0.2.5"), key).status_code == 403
    key.challenge = None
    browser = world.browser("192.0.2.5")
    csrf = browser.form(browser.get("/login"))["csrf"]
    options = browser.script("/login/passkey/options", csrf, {}).json()
    world.clock.advance(301)
    assert browser.script("/login/passkey", csrf, {"credential": key.get(options)}).status_code == 403


@pytest.mark.parametrize(
    "credential",
    [None, "x", {}, [], {"response": {}}, {"response": {"clientDataJSON": "AAAA"}}, {"id": 5, "response": 7},
     {"response": {"clientDataJSON": "x" * 40_000}}],
)  # fmt: skip
def test_rubbish_in_place_of_a_credential_is_refused(world: World, credential: object) -> None:
    browser = world.browser()
    csrf = browser.form(browser.get("/login"))["csrf"]
    assert browser.script("/login/passkey", csrf, {"credential": credential}).status_code == 403


def test_broken_authenticator_data_is_refused(world: World, key: SoftPasskey) -> None:
    for broken in ("", "AA", "A" * 48, "!" * 60):
        browser = world.browser("192.0.2.5")
        csrf = browser.form(browser.get("/login"))["csrf"]
        options = browser.script("/login/passkey/options", csrf, {}).json()
        credential = key.get(options)
        credential["response"]["authenticatorData"] = broken
        assert browser.script("/login/passkey", csrf, {"credential": credential}).status_code == 403


def test_step_up_takes_only_the_same_persons_passkey(world: World, key: SoftPasskey) -> None:
    from limen.console.destinations import Target, render_flow

    flow = render_flow(Target(path="/account", need="passkey"))
    other = world.browser("192.0.2.8")
    other.sign_in("mallory")
    before = other.cookie("__Host-limen")
    assert _use(other, key, flow=flow, step="up").status_code == 403
    assert other.cookie("__Host-limen") == before
    own = world.browser("192.0.2.9")
    own.sign_in("ada")
    assert _use(own, key, flow=flow, step="up").json() == {"next": "/account"}


def test_a_passkey_is_made_only_for_our_origin_with_user_verification(world: World) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    csrf = browser.form(browser.get("/account"))["csrf"]
    for attributes in ({"origin": WIKI}, {"rp_id": "localhost"}, {"flags": UP}, {"cross_origin": True}):
        options = browser.script("/account/passkey/options", csrf, {}).json()
        key = SoftPasskey(DOMAIN, AUTH)
        _lie(**attributes)(key)
        answer = browser.script("/account/passkey", csrf, {"credential": key.create(options)})
        assert answer.status_code == 403
    assert world.parts.authenticators.show(world.parts.sessions.list_live("ada")[0][0]).passkeys == ()


def test_a_registered_passkey_cannot_be_registered_for_somebody_else(world: World, key: SoftPasskey) -> None:
    browser = world.browser()
    browser.sign_in("mallory")
    csrf = browser.form(browser.get("/account"))["csrf"]
    options = browser.script("/account/passkey/options", csrf, {}).json()
    assert browser.script("/account/passkey", csrf, {"credential": key.create(options)}).status_code == 409


def test_a_passkey_gets_a_victim_in_while_strangers_flood_the_account(world: World, key: SoftPasskey) -> None:
    for number in range(30):
        world.browser(f"203.0.113.{number}").password("ada", "guess-guess-guess")
    assert _use(world.browser("198.51.100.77"), key).status_code == 200

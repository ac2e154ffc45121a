"""Cookies that somebody else put there: other apps', other people's, tossed by a sibling, or rubbish."""

import os
import secrets
import signal
import time

import pytest
from attack_rig import Person, Target, browser
from attack_wire import FLOW, NAVIGATION, SCRIPT, SESSION, child, eventually, host, render

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("target")]

FLOOD = 150
PADDING = {
    "space": " ", "tab": "\t", "no-break space": "\xa0", "next line": "\x85",
    "utf-8 no-break space": "\xc2\xa0", "utf-8 en quad": "\xe2\x80\x80", "quote": '"',
}  # fmt: skip
"""What may stand before a cookie's name without a browser seeing its `__Host-`. Chromium 156 sends those of
one byte, planted by a sibling's `Set-Cookie` with a `Domain`, to every host of the domain."""

OWN_PADDING = ("space", "tab")  # RFC 6265 section 4.2.1: these stand between cookies, and belong to no name


@pytest.fixture(scope="module")
def victim(target: Target) -> Person:
    return Person.enrolled(target.demo, "staff")


@pytest.fixture(scope="module")
def attacker(target: Target) -> Person:
    return Person.enrolled(target.demo, "staff")


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("last", [True, False])
def test_a_sibling_cannot_toss_a_sign_in_session_past_the_host_prefix(
    target: Target, victim: Person, attacker: Person, padding: str, last: bool
) -> None:
    own, planted = (
        f"{SESSION}={victim.cookie('auth')}",
        f"{PADDING[padding]}{SESSION}={attacker.cookie('auth')}",
    )
    pairs = [own, planted] if last else [planted, own]
    for cookie in ("; ".join(pairs), planted):
        page = target.wire.ask("auth", "/account", *NAVIGATION, cookie=cookie).text
        assert attacker.username not in page or (
            cookie == planted and PADDING[padding].isspace() and padding in ("space", "tab")
        )


@pytest.mark.parametrize("padding", PADDING)
def test_a_sibling_cannot_toss_an_app_session_past_the_host_prefix(
    target: Target, victim: Person, attacker: Person, padding: str
) -> None:
    own, planted = victim.open("named"), attacker.open("named")
    for pairs in ([own, f"{PADDING[padding]}{planted}"], [f"{PADDING[padding]}{planted}", own]):
        reply = target.wire.ask("named", cookie="; ".join(pairs))
        assert attacker.username not in reply.text
        assert planted.partition("=")[2] not in reply.text, "nor does the app learn the cookie"


def test_two_sessions_are_none_because_nobody_can_say_whose_is_whose(
    target: Target, victim: Person, attacker: Person
) -> None:
    for pairs in ([victim, attacker], [attacker, victim], [victim, victim]):
        app = "; ".join(person.open("named") for person in pairs)
        assert target.wire.ask("named", cookie=app).status == 401
        sign_in = "; ".join(f"{SESSION}={person.cookie('auth')}" for person in pairs)
        page = target.wire.ask("auth", "/account", *NAVIGATION, cookie=sign_in)
        assert page.status == 303, "the sign-in host believes neither"


def test_two_cookie_headers_are_never_a_session(target: Target, victim: Person, attacker: Person) -> None:
    port, mine, theirs = target.demo.port, victim.open("named"), attacker.open("named")
    head = render("named", port, "/", ("Cookie", theirs), ("Cookie", mine))
    assert target.wire.raw(head, "named").status == 400
    mine, theirs = (f"{SESSION}={person.cookie('auth')}" for person in (victim, attacker))
    head = render("auth", port, "/account", *NAVIGATION, ("Cookie", mine), ("Cookie", theirs))
    assert attacker.username not in target.wire.raw(head, "auth").text


def test_a_cookie_that_holds_a_comma_does_not_lock_its_browser_out(target: Target, victim: Person) -> None:
    """A sibling could set one for the whole domain, and close every app to this browser."""
    reply = target.wire.ask("named", cookie=f"prefs=a=1,b=2; {victim.open('named')}")
    assert (reply.status, "prefs=a=1,b=2" in reply.text) == (200, True)


def test_a_session_cookie_planted_before_sign_in_is_not_the_one_after_it(target: Target) -> None:
    planter = Person.enrolled(target.demo, "staff")
    planted = planter.cookie("auth")
    planter.submit("/logout", {})
    person = Person.enrolled(target.demo, "staff")
    person.browser = browser(target.demo)
    person.http.cookies.set(SESSION, planted, domain=host("auth"), path="/")
    page = person.submit("/login", {"username": person.username, "password": person.password})
    person.browser.submit(page, {"code": person.code(1)})
    held = [c.value for c in person.http.cookies.jar if c.name == SESSION]
    assert held and planted not in held
    assert person.username in person.get(f"{target.demo.auth_url}/account").text
    assert target.wire.ask("auth", "/account", *NAVIGATION, cookie=f"{SESSION}={planted}").status == 303


def test_a_rubbish_session_planted_before_sign_in_is_never_adopted(target: Target) -> None:
    person = Person.enrolled(target.demo, "staff")
    for planted in ("fixed", f"l1.1.{'A' * 43}.{'A' * 22}"):
        for app, cookie in (("named", f"{SESSION}={planted}"), ("auth", f"{SESSION}={planted}")):
            path = "/" if app == "named" else "/account"
            assert target.wire.ask(app, path, *NAVIGATION, cookie=cookie).status in (302, 303)
    person.open("named")
    assert target.wire.ask("named", cookie=f"{SESSION}=fixed").status == 401


def test_a_planted_nonce_of_the_wrong_form_is_replaced(target: Target) -> None:
    for planted in ("fixed", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "%0d%0aSet-Cookie: x=1"):
        reply = target.wire.ask("named", "/", *NAVIGATION, cookie=f"{FLOW}={planted}")
        assert reply.status == 302
        assert planted not in (reply.get("set-cookie") or "").partition(";")[0]


def test_a_flood_of_rubbish_tokens_is_refused_without_asking_control(target: Target, victim: Person) -> None:
    """Control is stopped: whatever asked it would wait, and answer 503 (law C3)."""
    wire, cookie = target.wire, victim.open("named")
    rubbish = [
        f"l1.{10**9 + number}.{secrets.token_urlsafe(32)}.{secrets.token_urlsafe(16)}"
        for number in range(FLOOD)
    ]
    control = child(target.demo, "control")
    os.kill(control, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with wire.connect("named") as connection:
            statuses = [
                wire.again(connection, "named", "/", *SCRIPT, cookie=f"{SESSION}={t}").status for t in rubbish
            ]
        each_ms = (time.monotonic() - began) / FLOOD * 1000
        assert statuses == [401] * FLOOD, f"{each_ms:.1f} ms each"
        many = "; ".join(f"{SESSION}={token}" for token in rubbish[:100])
        assert wire.ask("named", "/", *SCRIPT, cookie=many).status == 401
        assert wire.ask("named", cookie=cookie).status == 200, "and who has a session is served meanwhile"
    finally:
        os.kill(control, signal.SIGCONT)
    assert eventually(lambda: target.demo.admin.get("/v1/status"))

"""Programs sign in: PKCE on the loopback interface, the device flow, and what must not work."""

import base64
import hashlib
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from identity_world import AUTH, Browser, World

from limen.core.catalogue import CONNECT_APP, ServiceConfig
from limen.core.tokens import verify_token

VERIFIER = "v" * 20 + "-._~" + "0" * 30
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECT = "http://127.0.0.1:49152/callback"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def _query(**changes: str) -> dict[str, str]:
    asked = {
        "response_type": "code",
        "client_id": "limen-connect",
        "redirect_uri": REDIRECT,
        "state": "s-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return asked | changes


def _url(**changes: str) -> str:
    return f"/connect/authorize?{urlencode(_query(**changes))}"


def _signed_in(world: World, who: str = "ada") -> Browser:
    browser = world.browser()
    browser.sign_in(who)
    return browser


def _program(world: World, path: str, **form: str) -> httpx.Response:
    """What the program itself sends: no cookie, no origin."""
    return world.browser("192.0.2.9").http.post(path, data=form, headers={"x-limen-peer": "192.0.2.9"})


def _redeem(world: World, code: str, **changes: str) -> httpx.Response:
    form = {
        "grant_type": "authorization_code",
        "client_id": "limen-connect",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    return _program(world, "/connect/token", **(form | changes))


def _code(browser: Browser) -> str:
    said = browser.submit(browser.get(_url()), {"answer": "allow"})
    return parse_qs(urlsplit(said.headers["location"]).query)["code"][0]


def test_metadata_names_every_endpoint_that_answers(world: World) -> None:
    found = world.browser().get("/.well-known/oauth-authorization-server").json()
    assert found["issuer"] == AUTH and found["code_challenge_methods_supported"] == ["S256"]
    for name in ("token_endpoint", "device_authorization_endpoint", "revocation_endpoint"):
        path = found[name].removeprefix(AUTH)
        assert _program(world, path).status_code in (200, 400), name


def test_a_program_gets_a_token_of_the_persons_own_session(world: World) -> None:
    browser = _signed_in(world)
    page = browser.get(_url())
    assert page.status_code == 200 and "http://127.0.0.1:49152" in page.headers["content-security-policy"]
    said = browser.submit(page, {"answer": "allow"})
    back = urlsplit(said.headers["location"])
    query = {name: values[0] for name, values in parse_qs(back.query).items()}
    assert f"{back.scheme}://{back.netloc}{back.path}" == REDIRECT
    assert (query["state"], query["iss"]) == ("s-1", AUTH)
    answer = _redeem(world, query["code"])
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    token = answer.json()["access_token"]
    ((session, children),) = world.parts.sessions.list_live("ada")
    (child,) = (c for c in children if c.app == CONNECT_APP)
    assert child.token_hash == verify_token(world.key, token).hash and child.kind == "token"
    assert child.expires_at == session.expires_at
    assert "connect.signed_in" in world.kinds()
    assert _redeem(world, query["code"]).json()["error"] == "invalid_grant", "a code counts once"


def test_signing_in_first_comes_back_to_the_question(world: World) -> None:
    browser = world.browser()
    done = browser.sign_in("ada", _url())
    assert done.headers["location"] == _url()
    assert "limen login" in browser.follow(done).text


def test_a_person_can_be_asked_for_more_before(world: World) -> None:
    browser = _signed_in(world)
    away = browser.get(_url(need="passkey"))
    assert away.headers["location"].startswith("/login/step-up?flow=")


def test_no_is_told_to_the_program(world: World) -> None:
    browser = _signed_in(world)
    said = browser.submit(browser.get(_url()), {"answer": "deny"})
    assert parse_qs(urlsplit(said.headers["location"]).query)["error"] == ["access_denied"]


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://localhost:49152/callback"},
        {"redirect_uri": "http://127.0.0.1:49152@evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1/callback"},
        {"redirect_uri": "http://127.0.0.1:49152/callback?next=https://evil.example"},
        {"redirect_uri": "http://127.0.0.1:0x50/callback"},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
        {"client_id": "another"},
        {"response_type": "token"},
        {"state": ""},
        {"state": "a\r\nset-cookie: b"},
    ],
)
def test_a_damaged_request_is_a_page_and_redirects_nowhere(world: World, changes: dict[str, str]) -> None:
    answer = _signed_in(world).get(_url(**changes))
    assert answer.status_code == 400 and "location" not in answer.headers


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"redirect_uri": "http://127.0.0.1:1/callback"},
    ],
)
def test_a_stolen_code_is_worth_nothing(world: World, changes: dict[str, str]) -> None:
    code = _code(_signed_in(world))
    assert _redeem(world, code, **changes).json()["error"] == "invalid_grant"
    assert _redeem(world, code).json()["error"] == "invalid_grant", "it is spent by the attempt"


def test_a_code_ends_after_a_minute_and_with_its_session(world: World) -> None:
    browser = _signed_in(world)
    old = _code(browser)
    world.clock.advance(61)
    assert _redeem(world, old).json()["error"] == "invalid_grant"
    orphan = _code(browser)
    browser.submit(browser.get("/logout"), {})
    assert _redeem(world, orphan).json()["error"] == "invalid_grant"


def test_a_code_of_an_app_is_none_of_a_program(world: World) -> None:
    browser = _signed_in(world)
    away = browser.get(browser.authorize_url())
    code = parse_qs(urlsplit(away.headers["location"]).query)["code"][0]
    assert _redeem(world, code).json()["error"] == "invalid_grant"


def test_consent_cannot_be_given_from_elsewhere(world: World) -> None:
    browser = _signed_in(world)
    hidden = browser.form(browser.get(_url()))
    forged = browser.post("/connect/authorize", {**hidden, "answer": "allow"}, origin="https://wiki.x")
    assert forged.status_code == 403
    stale = browser.post("/connect/authorize", {**hidden, "csrf": "0" * 64, "answer": "allow"})
    assert stale.status_code == 403


def test_the_device_flow_waits_for_a_persons_yes(world: World) -> None:
    started = _program(
        world, "/connect/device_authorization", client_id="limen-connect", client_name="ada's laptop"
    ).json()
    poll = {"grant_type": DEVICE_GRANT, "client_id": "limen-connect", "device_code": started["device_code"]}
    assert _program(world, "/connect/token", **poll).json()["error"] == "authorization_pending"
    assert _program(world, "/connect/token", **poll).json()["error"] == "slow_down"
    browser = _signed_in(world)
    page = browser.submit(browser.get("/device"), {"user_code": started["user_code"].lower()})
    assert "ada&#39;s laptop" in page.text and "192.0.2.9" in page.text
    assert "Go back" in browser.submit(page, {"answer": "allow"}).text
    world.clock.advance(5)
    answer = _program(world, "/connect/token", **poll)
    assert answer.status_code == 200 and answer.json()["token_type"] == "Bearer"
    world.clock.advance(5)
    assert _program(world, "/connect/token", **poll).json()["error"] == "expired_token"
    assert {"connect.device_approved", "connect.signed_in"} <= set(world.kinds())


def test_a_persons_no_ends_the_device_flow(world: World) -> None:
    started = _program(world, "/connect/device_authorization", client_id="limen-connect").json()
    browser = _signed_in(world)
    page = browser.get(f"/device?user_code={started['user_code']}")
    browser.submit(page, {"answer": "deny"})
    poll = {"grant_type": DEVICE_GRANT, "client_id": "limen-connect", "device_code": started["device_code"]}
    assert _program(world, "/connect/token", **poll).json()["error"] == "access_denied"


def test_user_codes_cannot_be_guessed_at_leisure(world: World) -> None:
    browser = _signed_in(world)
    answers = [browser.get(f"/device?user_code=BBBB-BBB{letter}").text for letter in "BCDFGHJK"]
    assert "No program waits" in answers[0] and "Too many codes" in answers[-1]


def test_programs_that_wait_are_bounded(world: World) -> None:
    said = [_program(world, "/connect/device_authorization", client_id="limen-connect") for _ in range(21)]
    assert [answer.status_code for answer in said].count(200) == 20
    assert said[-1].json()["error"] == "slow_down"


def test_a_token_lists_services_until_it_is_revoked(world: World) -> None:
    host = f"db.{world.catalogue.domain}"
    service = ServiceConfig("db", host, "127.0.0.1", 5432, "postgres")
    world.catalogue = type(world.catalogue)(world.catalogue.domain, services={"db": service})
    token = _redeem(world, _code(_signed_in(world))).json()["access_token"]
    program = world.browser("192.0.2.9")
    bearer = {"authorization": f"Bearer {token}"}
    found = program.get("/connect/services", **bearer).json()
    assert found["person"] == "ada"
    assert [(row["name"], row["host"], row["protocol"]) for row in found["services"]] == [
        ("db", host, "postgres")
    ]
    assert _program(world, "/connect/revoke", token="rubbish").status_code == 200
    assert program.get("/connect/services", **bearer).status_code == 200
    assert _program(world, "/connect/revoke", token=token).status_code == 200
    assert program.get("/connect/services", **bearer).status_code == 401


def test_a_programs_token_opens_nothing_else(world: World) -> None:
    token = _redeem(world, _code(_signed_in(world))).json()["access_token"]
    assert world.parts.sessions.find(token) is None, "it is no session at the sign-in host"
    stranger = world.browser()
    assert stranger.get("/account", authorization=f"Bearer {token}").status_code == 303

"""Attacks through an upstream identity provider, and the good way in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_provider import ISSUER, FakeProvider
from identity_world import AUTH, WIKI, Browser, World
from joserfc.jwk import OctKey, RSAKey

from limen.core.clock import FakeClock
from limen.core.identity_config import OidcConfig
from limen.core.secret import Secret
from limen.store import directory

CORP = OidcConfig("corp", ISSUER, "limen", client_secret="corp-secret")


@pytest.fixture
def provider() -> FakeProvider:
    provider = FakeProvider(FakeClock())
    provider.userinfo = {
        "preferred_username": "Grace",
        "name": "Grace Hopper",
        "email": "grace@corp.example",
        "groups": ["staff"],
    }
    return provider


@pytest.fixture
def world(tmp_path: Path, provider: FakeProvider) -> Iterator[World]:
    world = World(tmp_path, oidc=(CORP,), transport=provider, secret=lambda name: Secret(f"<{name}>"))
    provider.clock = world.clock
    world.add("ada")
    yield world
    world.store.close()


def _go(browser: Browser, provider: FakeProvider, **more: str) -> str:
    """Start, sign in at the provider, and return the callback's URL."""
    sent = browser.get("/oidc/corp/start")
    assert sent.headers["location"].startswith(f"{ISSUER}/auth?")
    return provider.authorize(sent.headers["location"], **more)


def _person(world: World, username: str) -> directory.Person | None:
    with world.store.read() as connection:
        return directory.find_person(connection, username)


def test_a_person_comes_in_through_the_provider(world: World, provider: FakeProvider) -> None:
    browser = world.browser()
    answer = browser.get(_go(browser, provider))
    assert answer.headers["location"] == "/"
    grace = _person(world, "grace")
    assert grace is not None
    assert (grace.name, grace.groups, grace.source) == ("Grace Hopper", ("staff",), "oidc:corp")
    session = world.parts.sessions.list_live("grace")[0][0]
    assert (session.aal, session.methods) == (1, ("oidc:corp",))
    assert provider.sent["authorization"].startswith("Basic ")
    assert "<corp-secret>" not in provider.sent.values()


def test_it_comes_back_to_the_app(world: World, provider: FakeProvider) -> None:
    browser = world.browser()
    login = browser.follow(browser.get(browser.authorize_url("wiki", "/deep")))
    flow = browser.form(login)["flow"]
    callback = provider.authorize(browser.get(f"/oidc/corp/start?flow={flow}").headers["location"])
    assert browser.get(callback).headers["location"].startswith(f"{WIKI}/.limen/callback?code=")


def test_ten_thousand_groups_come_in(world: World, provider: FakeProvider) -> None:
    provider.userinfo["groups"] = [f"team {n}/ops" for n in range(10_000)]
    browser = world.browser()
    answer = browser.get(_go(browser, provider))
    assert answer.status_code == 303
    assert sum(len(h) for h in answer.headers.get_list("set-cookie")) < 1500
    grace = _person(world, "grace")
    assert grace is not None and len(grace.groups) == 10_000


def test_groups_follow_the_provider_and_local_ones_stay(world: World, provider: FakeProvider) -> None:
    world.browser().get(_go(browser := world.browser(), provider))
    browser.get(_go(browser, provider))
    with world.store.transaction("test", "a local group") as tx:
        directory.create_group(tx, "chess")
        directory.add_member(tx, "chess", "grace")
    provider.userinfo["groups"] = ["hr"]
    other = world.browser("192.0.2.2")
    other.get(_go(other, provider))
    grace = _person(world, "grace")
    assert grace is not None and grace.groups == ("chess", "hr")


def test_a_provider_cannot_name_administrators(world: World, provider: FakeProvider) -> None:
    provider.userinfo["groups"] = ["limen-admins", " limen-admins ", "staff"]
    browser = world.browser()
    browser.get(_go(browser, provider))
    grace = _person(world, "grace")
    assert grace is not None and grace.groups == ("staff",)


def test_a_provider_cannot_become_a_local_person(world: World, provider: FakeProvider) -> None:
    provider.userinfo["preferred_username"] = "ada"
    browser = world.browser()
    answer = browser.get(_go(browser, provider))
    assert answer.status_code == 403 and browser.cookie("__Host-limen") is None
    assert world.parts.sessions.list_live("ada") == ()


def test_two_accounts_of_a_provider_are_never_one_person(world: World, provider: FakeProvider) -> None:
    browser = world.browser()
    browser.get(_go(browser, provider))
    provider.claims["sub"], provider.userinfo["sub"] = "s-2", "s-2"
    other = world.browser("192.0.2.2")
    assert other.get(_go(other, provider)).status_code == 403
    assert other.cookie("__Host-limen") is None


def test_a_suspended_person_does_not_come_in(world: World, provider: FakeProvider) -> None:
    from limen.core.entities import Status

    browser = world.browser()
    browser.get(_go(browser, provider))
    with world.store.transaction("test", "suspend") as tx:
        directory.update_person(tx, "grace", status=Status.SUSPENDED)
    other = world.browser("192.0.2.2")
    answer = other.get(_go(other, provider))
    assert answer.status_code == 403 and other.cookie("__Host-limen") is None
    assert world.events[-1].data["why"] == "inactive"


def test_an_answer_for_another_browser_is_refused(world: World, provider: FakeProvider) -> None:
    attacker, victim = world.browser(), world.browser("192.0.2.7")
    callback = _go(attacker, provider)
    assert victim.get(callback).status_code == 403
    _go(victim, provider)
    assert victim.get(callback).status_code == 403, "its state is another flow's"
    assert victim.cookie("__Host-limen") is None


def test_an_answer_counts_once(world: World, provider: FakeProvider) -> None:
    browser = world.browser()
    callback = _go(browser, provider)
    assert browser.get(callback).status_code == 303
    browser.http.cookies.delete("__Host-limen")
    assert browser.get(callback).status_code == 403


@pytest.mark.parametrize(
    "more",
    [{"iss": "https://evil.example"}, {"iss": f"{ISSUER}/"}, {"state": "x"}, {"state": ""}, {"code": ""},
     {"code": "stolen"}, {"error": "access_denied"}],
)  # fmt: skip
def test_a_bent_answer_is_refused(world: World, provider: FakeProvider, more: dict[str, str]) -> None:
    browser = world.browser()
    callback = _go(browser, provider, **more)
    assert browser.get(callback).status_code == 403
    assert browser.cookie("__Host-limen") is None
    assert world.events[-1].kind == "sign_in.failed"


def test_an_answer_without_iss_is_refused_where_the_provider_announces_it(
    world: World, provider: FakeProvider
) -> None:
    browser = world.browser()
    assert browser.get(_go(browser, provider, iss="")).status_code == 303, "not announced, not sent: fine"
    provider.metadata["authorization_response_iss_parameter_supported"] = True
    world.clock.advance(3601)
    other = world.browser("192.0.2.2")
    assert other.get(_go(other, provider, iss="")).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [{"iss": "https://evil.example"}, {"aud": "other"}, {"aud": ["other", "limen"], "azp": "other"},
     {"nonce": "x"}, {"nonce": None}, {"exp": 1}, {"iat": None}, {"sub": None}, {"sub": "s-2"},
     {"at_hash": "AAAA"}, {"exp": "soon"}],
)  # fmt: skip
def test_a_bent_id_token_is_refused(world: World, provider: FakeProvider, claims: dict[str, Any]) -> None:
    provider.claims.update(claims)
    browser = world.browser()
    assert browser.get(_go(browser, provider)).status_code == 403
    assert browser.cookie("__Host-limen") is None


def test_an_id_token_of_another_key_or_without_signature_is_refused(
    world: World, provider: FakeProvider
) -> None:
    for alg, key in (
        ("RS256", RSAKey.generate_key(2048, {"kid": "k1"})),
        ("none", provider.key),
        ("HS256", OctKey.import_key(b"<corp-secret>" + b"0" * 32)),
    ):
        provider.alg, provider.signing = alg, key
        browser = world.browser()
        assert browser.get(_go(browser, provider)).status_code == 403


def test_keys_that_rotate_are_fetched_again(world: World, provider: FakeProvider) -> None:
    browser = world.browser()
    browser.get(_go(browser, provider))
    provider.key = provider.signing = RSAKey.generate_key(2048, {"kid": "k1"})
    other = world.browser("192.0.2.2")
    assert other.get(_go(other, provider)).status_code == 303


@pytest.mark.parametrize(
    ("claims", "aal", "resistant"),
    [({"amr": ["pwd", "mfa"]}, 2, False), ({"amr": ["pwd", "otp"]}, 1, False), ({"acr": "phr"}, 2, True),
     ({"acr": "anything"}, 1, False), ({"amr": ["mfa"], "acr": "phr"}, 2, True)],
)  # fmt: skip
def test_what_the_provider_vouches_for_is_a_table(
    world: World, provider: FakeProvider, claims: dict[str, Any], aal: int, resistant: bool
) -> None:
    provider.claims.update(claims)
    browser = world.browser()
    browser.get(_go(browser, provider))
    session = world.parts.sessions.list_live("grace")[0][0]
    assert (session.aal, session.phishing_resistant) == (aal, resistant)


def test_the_age_of_the_sign_in_is_the_providers(world: World, provider: FakeProvider) -> None:
    provider.claims["auth_time"] = int(world.clock.now()) - 5000
    browser = world.browser()
    browser.get(_go(browser, provider))
    assert world.parts.sessions.list_live("grace")[0][0].auth_at == world.clock.now() - 5000
    url = browser.authorize_url(need="fresh-sign-in", max_age="900")
    step_up = browser.get(browser.get(url).headers["location"])
    assert step_up.headers["location"].startswith("/oidc/corp/start")
    sent = browser.get(step_up.headers["location"]).headers["location"]
    assert "max_age=900" in sent
    assert browser.get(provider.authorize(sent)).status_code == 403, "the provider did not ask again"
    provider.claims["auth_time"] = int(world.clock.now())
    sent = browser.get(step_up.headers["location"]).headers["location"]
    done = browser.get(provider.authorize(sent))
    assert done.headers["location"].startswith(f"{WIKI}/.limen/callback")


def test_a_stray_link_to_the_provider_does_not_touch_a_session(world: World, provider: FakeProvider) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    assert browser.get("/oidc/corp/start").headers["location"] == "/"


def test_a_provider_that_is_away_is_said_and_not_hidden(world: World, provider: FakeProvider) -> None:
    provider.down = True
    answer = world.browser().get("/oidc/corp/start")
    assert answer.status_code == 503 and "corp" in answer.text
    assert world.browser().get("/oidc/unknown/start").status_code == 404


def test_discovery_of_another_issuer_or_without_tls_is_refused(world: World, provider: FakeProvider) -> None:
    for metadata in ({"issuer": "https://evil.example"}, {"token_endpoint": "http://idp.corp.example/token"}):
        provider.metadata = metadata
        assert world.browser().get("/oidc/corp/start").status_code == 503


def test_the_callback_is_on_our_origin(world: World, provider: FakeProvider) -> None:
    assert _go(world.browser(), provider).startswith(f"{AUTH}/oidc/corp/callback?")


@pytest.mark.parametrize("need", ["second-factor", "passkey"])
def test_a_provider_that_does_not_bring_what_is_needed_is_not_asked_for_ever(
    world: World, provider: FakeProvider, need: str
) -> None:
    browser = world.browser()
    browser.get(_go(browser, provider))
    world.clock.advance(3600)
    answer = browser.get(browser.authorize_url("wiki", need=need))
    asked = 0
    for _ in range(20):
        if not answer.is_redirect:
            break
        location = answer.headers["location"]
        if location.startswith(ISSUER):
            asked += 1
            location = provider.authorize(location)
        answer = browser.get(location)
    assert answer.status_code == 200
    assert asked <= 1

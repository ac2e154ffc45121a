"""Signing in to a client: a code with PKCE, tokens for it, what they say, and what stands in the way."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from authlib.oidc.discovery import OpenIDProviderMetadata
from identity_world import AUTH
from oauth_world import CALLBACK, POLICY, OauthWorld, events, oauth_world

from limen.administrator.oauth.levels import MULTI_FACTOR, PHISHING_RESISTANT
from limen.store import directory


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OauthWorld]:
    """One for all tests that change neither people nor bundle."""
    with oauth_world(tmp_path_factory.mktemp("shared")) as world:
        yield world


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OauthWorld]:
    """One for the test alone."""
    with oauth_world(tmp_path) as world:
        yield world


def test_discovery_is_what_a_library_that_is_not_ours_takes(world: OauthWorld) -> None:
    said = world.browser().http.get("/.well-known/openid-configuration").json()
    OpenIDProviderMetadata(said).validate()
    assert said["issuer"] == AUTH and said["code_challenge_methods_supported"] == ["S256"]
    keys = world.browser().http.get("/oauth2/jwks").json()["keys"]
    assert {key["alg"] for key in keys} == {"ES256", "RS256"} and all("d" not in key for key in keys)


def test_a_code_with_its_verifier_gives_tokens(own: OauthWorld) -> None:
    asked = own.authorize(own.browse("ada"))
    assert asked.said["state"] == "s1" and asked.said["iss"] == AUTH
    answer = asked.redeem()
    said = answer.json()
    assert said["token_type"] == "Bearer" and said["expires_in"] == 300
    assert answer.headers["cache-control"] == "no-store"
    id_token, now = own.read(said["id_token"]), int(own.clock.now())
    assert id_token.claims["iss"] == AUTH and id_token.claims["aud"] == "app"
    assert id_token.claims["sub"] == "ada" and id_token.claims["nonce"] == "n1"
    assert id_token.claims["exp"] == now + 300 and id_token.claims["email_verified"] is True
    assert id_token.claims["groups"] == ["payers", "staff"] and "mfa" in id_token.claims["amr"]
    assert id_token.claims["acr"] == MULTI_FACTOR
    access = own.read(said["access_token"])
    assert access.header["typ"] == "at+jwt"  # RFC 9068 section 2.1
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"} <= access.claims.keys()
    assert access.claims["aud"] == AUTH and access.claims["client_id"] == "app"
    assert [event.data["person"] for event in events(own, "client.signed_in")] == ["ada"]


def test_each_issue_is_decided_and_recorded(own: OauthWorld) -> None:
    tokens = own.tokens(own.browse("ada"))
    own.refresh(tokens["refresh_token"])
    issued = [one for one in own.journal.decisions if one.point == "issue"]
    assert [one.path for one in issued] == ["/oauth2/authorize", "/oauth2/token", "/oauth2/token"]
    assert {(one.resource, one.action, one.verdict) for one in issued} == {
        ('Client::"app"', "sign_in", "allow")
    }


def test_what_is_not_asked_for_is_not_told(own: OauthWorld) -> None:
    with own.store.transaction("test", "a team") as tx:
        directory.update_person(tx, "ada", attributes={"team": "blue"})
    tokens = own.tokens(own.browse("ada"), scope="openid")
    claims = own.read(tokens["id_token"]).claims
    assert not {"name", "email", "groups", "preferred_username"} & claims.keys()
    assert claims["team"] == "blue"  # the bundle says so
    answer = own.browser().http.get(
        "/oauth2/userinfo", headers={"authorization": f"Bearer {tokens['access_token']}"}
    )
    assert answer.json() == {"sub": "ada", "team": "blue"}


def test_without_openid_there_is_no_id_token(world: OauthWorld) -> None:
    assert "id_token" not in world.tokens(world.browse("ada"), scope="profile")


def test_userinfo_tells_by_scope_and_only_a_token_for_us_opens_it(world: OauthWorld) -> None:
    browser = world.browse("ada")
    tokens = world.tokens(browser)
    told = browser.http.post(
        "/oauth2/userinfo", headers={"authorization": f"Bearer {tokens['access_token']}"}
    )
    assert told.json()["email"] == "ada@limen.localhost" and told.json()["groups"] == ["payers", "staff"]
    for wrong in (tokens["id_token"], tokens["refresh_token"], "rubbish", tokens["access_token"] + "x"):
        answer = browser.http.get("/oauth2/userinfo", headers={"authorization": f"Bearer {wrong}"})
        assert answer.status_code == 401 and 'error="invalid_token"' in answer.headers["www-authenticate"]
    api = world.tokens(browser, resource="https://api.example/payments")
    assert world.read(api["access_token"]).claims["aud"] == "https://api.example/payments"
    answer = browser.http.get("/oauth2/userinfo", headers={"authorization": f"Bearer {api['access_token']}"})
    assert answer.status_code == 401
    assert "error" not in browser.http.get("/oauth2/userinfo").headers["www-authenticate"]


def test_who_is_not_signed_in_signs_in_and_comes_back(world: OauthWorld) -> None:
    browser = world.browser()
    asked = world.authorize(browser)
    assert asked.leads_to == "/login"
    page = browser.follow(asked.response)
    page = browser.follow(browser.submit(page, {"username": "ada", "password": "orchid-lantern-quarry-7"}))
    answer = browser.submit(page, {"code": world.code("ada")})
    onward = browser.follow(answer)
    assert onward.headers["location"].startswith(f"{CALLBACK}?code=")


def test_the_way_from_our_own_form_is_a_page_that_goes_on(world: OauthWorld) -> None:
    browser = world.browse("ada")
    asked = world.authorize(browser)
    url = str(asked.response.request.url)
    page = browser.get(url, **{"sec-fetch-site": "same-origin"})
    assert page.status_code == 200
    assert f'content="0;url={CALLBACK}?code=' in page.text and "form-action" in str(page.headers)


WRONG: tuple[tuple[dict[str, str], str], ...] = (
    ({"prompt": "none"}, "login_required"),
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"code_challenge": "-"}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"scope": "admin"}, "invalid_scope"),
    ({"scope": "-"}, "invalid_scope"),
    ({"resource": "https://elsewhere.example"}, "invalid_target"),
    ({"request": "eyJ"}, "request_not_supported"),
    ({"request_uri": "urn:x"}, "request_uri_not_supported"),
    ({"prompt": "none login"}, "invalid_request"),
    ({"max_age": "-5"}, "invalid_request"),
    ({"nonce": "n" * 600}, "invalid_request"),
    ({"dpop_jkt": "x"}, "invalid_request"),
)


def test_what_is_wrong_is_told_to_the_client(world: OauthWorld) -> None:
    browser = world.browser()
    for more, error in WRONG:
        said = world.authorize(browser, **more).said
        assert said["error"] == error and said["iss"] == AUTH and said["state"] == "s1", more
        assert "code" not in said


def test_silently_it_works_when_nothing_is_lacking(world: OauthWorld) -> None:
    assert "code" in world.authorize(world.browse("ada"), prompt="none").said


# --- what the session lacks ------------------------------------------------------------------------------


def test_a_stronger_sign_in_is_asked_for_by_acr_values(world: OauthWorld) -> None:
    browser = world.browse("ada")
    asked = world.authorize(browser, acr_values=PHISHING_RESISTANT)
    assert asked.leads_to == "/login/step-up"
    silent = world.authorize(browser, acr_values=PHISHING_RESISTANT, prompt="none")
    assert silent.said["error"] == "interaction_required"
    assert "code" in world.authorize(browser, acr_values=f"{PHISHING_RESISTANT} {MULTI_FACTOR}").said
    assert "code" in world.authorize(browser, acr_values="urn:something:else").said  # voluntary: OIDC Core
    never = world.authorize(browser, acr_values="phrh").said  # RFC 9470 section 5
    assert never["error"] == "unmet_authentication_requirements"


def test_an_old_sign_in_is_made_anew_by_max_age(world: OauthWorld) -> None:
    browser = world.browse("ada")
    assert "code" in world.authorize(browser, max_age="600").said
    world.clock.advance(700)
    assert world.authorize(browser, max_age="600", prompt="none").said["error"] == "login_required"
    asked = world.authorize(browser, max_age="600")
    assert asked.leads_to == "/login/step-up"
    page = browser.follow(asked.response)
    answer = browser.submit(page, {"password": "orchid-lantern-quarry-7", "code": world.code("ada")})
    assert browser.follow(answer).headers["location"].startswith(CALLBACK)


@pytest.mark.parametrize("more", [{"prompt": "login"}, {"max_age": "0"}, {"prompt": "select_account"}])
def test_once_more_means_once_more_and_no_more(world: OauthWorld, more: dict[str, str]) -> None:
    browser = world.browse("ada")
    world.clock.advance(5)  # it is a moment old, and is made anew all the same
    asked = world.authorize(browser, **more)
    assert asked.leads_to == "/login/step-up"
    page = browser.follow(asked.response)
    assert page.status_code == 200, "the step-up is asked for, though the sign-in is young"
    answer = browser.submit(page, {"password": "orchid-lantern-quarry-7", "code": world.code("ada")})
    last = browser.follow(answer)
    assert last.headers["location"].startswith(CALLBACK)


# --- policy ----------------------------------------------------------------------------------------------


def test_a_denial_is_a_page_that_explains_itself(world: OauthWorld) -> None:
    browser = world.browse("eve")
    asked = world.authorize(browser)
    assert asked.response.status_code == 403
    assert "This door stays closed" in asked.response.text and "The App" in asked.response.text
    denied = world.journal.decisions[-1]
    assert denied.id in asked.response.text and denied.code == "NO_PERMIT"
    assert "grace" in asked.response.text  # who looks after it
    assert world.authorize(browser, prompt="none").said["error"] == "access_denied"


def test_what_a_better_sign_in_would_cure_leads_there(own: OauthWorld) -> None:
    passkey = """
@id("passkey-for-app")
@reason("The App wants a passkey.")
forbid(principal is User, action == Action::"sign_in", resource == Client::"app")
unless { context has session && context.session.phishing_resistant };
"""
    own.apply({**own.files, "policies/guardrails/mfa.cedar": POLICY + passkey})
    browser = own.browse("ada")
    assert own.authorize(browser).leads_to == "/login/step-up"
    assert own.authorize(browser, prompt="none").said["error"] == "interaction_required"


def test_an_api_that_the_person_may_not_use_is_not_issued_for(world: OauthWorld) -> None:
    api = {"resource": "https://api.example/payments"}
    assert "code" in world.authorize(world.browse("ada"), **api).said
    refused = world.authorize(world.browse("bob"), **api)
    assert refused.response.status_code == 403 and "payments" in refused.response.text


def test_the_portal_shows_clients(own: OauthWorld) -> None:
    own.parts.deps.__dict__["may_open"] = lambda person, session: {"app": (True, "")}
    page = own.browse("ada").get("/")
    assert "https://app.example/" in page.text and "The App" in page.text
    assert "other.example" not in page.text  # it has no address for people


def test_control_tells_which_clients_open(world: OauthWorld) -> None:
    from limen.administrator.replica import session_facts

    world.browse("eve"), world.browse("ada")
    for person, opens in (("ada", True), ("eve", False)):
        session = world.parts.sessions.list_live(person)[0][0]
        assert world.authority.may_open(person, session_facts(session.render_fact()))["app"][0] is opens


def test_a_request_by_post_comes_back_as_a_get(world: OauthWorld) -> None:
    answer = world.browser().http.post("/oauth2/authorize", data={"client_id": "app", "state": "a b"})
    assert answer.status_code == 303
    assert parse_qs(urlsplit(answer.headers["location"]).query)["state"] == ["a b"]


def test_limen_login_is_served_at_the_same_endpoints(world: OauthWorld) -> None:
    said = world.browser().http.get("/.well-known/oauth-authorization-server").json()
    assert said["limen_services_endpoint"] == f"{AUTH}/connect/services"
    began = world.post("/oauth2/device", {"client_id": "limen-connect", "client_name": "limen on a laptop"})
    assert began.json()["user_code"]
    poll = {"client_id": "limen-connect", "device_code": began.json()["device_code"]}
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", **poll}
    assert world.token(grant).json()["error"] == "authorization_pending"
    page = world.browser().get("/oauth2/authorize?client_id=limen-connect&response_type=code")
    assert page.headers["location"].startswith("/connect/authorize?client_id=limen-connect")

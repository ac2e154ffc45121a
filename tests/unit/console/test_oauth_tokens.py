"""Tokens of clients in use: refresh, introspection, revocation, ways to prove a client, DPoP, devices."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import AUTH
from joserfc.jwk import ECKey
from oauth_world import OauthWorld, assertion, challenge_of, dpop_proof, events, oauth_world

TOKEN = f"{AUTH}/oauth2/token"
USERINFO = f"{AUTH}/oauth2/userinfo"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


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


def other(world: OauthWorld, **more: str) -> dict[str, str]:
    """Return how the client `other` redeems a code of ada's, but for its proof."""
    callback = "https://other.example/callback"
    asked = world.authorize(world.browse("ada"), client_id="other", redirect_uri=callback)
    return {
        "grant_type": "authorization_code",
        "code": asked.said["code"],
        "redirect_uri": callback,
        "code_verifier": asked.verifier,
        **more,
    }


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


# --- refresh ---------------------------------------------------------------------------------------------


def test_a_refresh_token_rotates(world: OauthWorld) -> None:
    first = world.tokens(world.browse("ada"))
    second = world.refresh(first["refresh_token"]).json()
    third = world.refresh(second["refresh_token"]).json()
    assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
    assert world.read(third["id_token"]).claims["sub"] == "ada"


def test_a_refresh_may_ask_for_less_and_never_for_more(world: OauthWorld) -> None:
    tokens = world.tokens(world.browse("ada"), scope="openid email")
    more = world.refresh(tokens["refresh_token"], scope="openid groups")
    assert more.json()["error"] == "invalid_scope"
    less = world.refresh(tokens["refresh_token"], scope="openid").json()
    assert less["scope"] == "openid"
    assert world.refresh(less["refresh_token"]).json()["scope"] == "openid email"


def test_a_refresh_is_decided_anew(own: OauthWorld) -> None:
    tokens = own.tokens(own.browse("ada"))
    from limen.store import directory

    with own.store.transaction("test", "leaves") as tx:
        directory.remove_member(tx, "staff", "ada")
    answer = own.refresh(tokens["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert events(own, "client.denied")[0].data["why"] == "denied: NO_PERMIT"
    assert own.journal.decisions[-1].verdict == "deny"


def test_a_refresh_keeps_the_session_from_going_idle(world: OauthWorld) -> None:
    browser = world.browse("ada")
    tokens = world.tokens(browser)
    for _ in range(3):
        world.clock.advance(3_000)
        tokens = world.refresh(tokens["refresh_token"]).json()
    assert browser.get("/").status_code == 200


def test_nothing_outlives_the_session(world: OauthWorld) -> None:
    browser = world.browse("ada")
    tokens = world.tokens(browser)
    world.clock.advance(3_600 + 1)  # idle
    assert world.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_client_without_the_grant_has_no_refresh_token(own: OauthWorld) -> None:
    text = own.files["limen.yaml"].replace(
        "grants: [authorization_code, refresh_token, device_code]", "grants: [authorization_code]"
    )
    own.apply({**own.files, "limen.yaml": text})
    tokens = own.tokens(own.browse("ada"))
    assert "refresh_token" not in tokens
    assert own.refresh("limen_rt_x").json()["error"] == "unauthorized_client"


# --- ways to prove a client ------------------------------------------------------------------------------


def test_a_secret_counts_by_header_and_by_form_and_two_of_them_overlap(own: OauthWorld) -> None:
    for name in ("other-new", "other-old"):
        header = basic("other", own.secrets[name])
        assert own.token(other(own), authorization=header).status_code == 200
        by_form = {"client_id": "other", "client_secret": own.secrets[name]}
        assert own.token(other(own, **by_form)).status_code == 200
    del own.secrets["other-old"]
    gone = own.token(other(own), authorization=basic("other", "o" * 43))
    assert (gone.status_code, gone.json()["error"]) == (401, "invalid_client")
    assert gone.headers["www-authenticate"].startswith("Basic")


def test_wrong_secrets_are_slowed_down(own: OauthWorld) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    for _ in range(20):
        assert own.token(form, authorization=basic("other", "wrong")).status_code == 401
    right = basic("other", own.secrets["other-new"])
    assert own.token(form, authorization=right).json()["error"] == "invalid_client"
    own.clock.advance(60)
    assert own.token(form, authorization=right).json()["error"] == "invalid_grant"
    assert len(events(own, "client.not_proven")) == 1  # strangers do not fill the journal


def test_a_client_proves_itself_by_its_key(world: OauthWorld) -> None:
    callback = "https://keyed.example/callback"
    asked = world.authorize(world.browse("ada"), client_id="keyed", redirect_uri=callback)
    proof = assertion(world)
    answer = asked.redeem(client_id="-", client_assertion_type=JWT_BEARER, client_assertion=proof)
    assert answer.status_code == 200, answer.text
    again = world.refresh(
        answer.json()["refresh_token"],
        client_id="keyed",
        client_assertion_type=JWT_BEARER,
        client_assertion=proof,
    )
    assert again.json()["error"] == "invalid_client"  # an assertion counts once


# --- introspection and revocation ------------------------------------------------------------------------


def test_an_api_learns_of_tokens_for_it_and_of_no_other(world: OauthWorld) -> None:
    browser = world.browse("ada")
    mine = world.tokens(browser, resource="https://api.example/payments")["access_token"]
    not_mine = world.tokens(browser)["access_token"]
    header = {"authorization": basic("payments", world.secrets["payments"])}
    told = world.post("/oauth2/introspect", {"token": mine}, **header).json()
    assert told["active"] is True and told["sub"] == "ada" and told["client_id"] == "app"
    assert told["acr"] and told["auth_time"] and "sid" not in told
    for token in (not_mine, "rubbish", ""):
        assert world.post("/oauth2/introspect", {"token": token}, **header).json() == {"active": False}


def test_who_is_nobody_may_not_ask_about_tokens(world: OauthWorld) -> None:
    token = world.tokens(world.browse("ada"))["access_token"]
    asked = world.post("/oauth2/introspect", {"token": token, "client_id": "app"})
    assert asked.json()["error"] == "unauthorized_client"
    assert world.post("/oauth2/introspect", {"token": token}).json()["error"] == "invalid_client"


def test_a_client_learns_of_its_own_tokens(world: OauthWorld) -> None:
    header = {"authorization": basic("other", world.secrets["other-new"])}
    tokens = world.token(other(world), **header).json()
    told = world.post("/oauth2/introspect", {"token": tokens["refresh_token"]}, **header).json()
    assert told["active"] is True and told["username"] == "ada"
    world.token({"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}, **header)
    used = world.post("/oauth2/introspect", {"token": tokens["refresh_token"]}, **header).json()
    assert used == {"active": False}


def test_a_revoked_refresh_token_takes_everything_with_it(own: OauthWorld) -> None:
    tokens = own.tokens(own.browse("ada"))
    form = {"token": tokens["refresh_token"], "client_id": "app"}
    assert own.post("/oauth2/revoke", form).status_code == 200
    assert own.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    assert own.post("/oauth2/userinfo", {}, **bearer).status_code == 401
    own.round()
    assert own.clients.taken == []  # the client itself knows


def test_a_revoked_access_token_ends_alone(world: OauthWorld) -> None:
    tokens = world.tokens(world.browse("ada"))
    world.post("/oauth2/revoke", {"token": tokens["access_token"], "client_id": "app"})
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    assert world.post("/oauth2/userinfo", {}, **bearer).status_code == 401
    assert world.refresh(tokens["refresh_token"]).status_code == 200


# --- bound to a key --------------------------------------------------------------------------------------


def test_tokens_are_bound_to_the_key_that_was_shown(world: OauthWorld) -> None:
    key = ECKey.generate_key("P-256", private=True)
    asked = world.authorize(world.browse("ada"), dpop_jkt=key.thumbprint())
    said = asked.redeem(headers={"dpop": dpop_proof(world, key, "POST", TOKEN)}).json()
    assert said["token_type"] == "DPoP"
    access = said["access_token"]
    assert world.read(access).claims["cnf"] == {"jkt": key.thumbprint()}
    proof = dpop_proof(world, key, "GET", USERINFO, token=access)
    http, bound = world.browser().http, {"authorization": f"DPoP {access}"}
    assert http.get("/oauth2/userinfo", headers={**bound, "dpop": proof}).json()["sub"] == "ada"
    refused = http.get("/oauth2/userinfo", headers={"authorization": f"Bearer {access}"})
    assert refused.status_code == 401  # RFC 9449 section 7.1: a bound token is no bearer token
    fresh = world.refresh(said["refresh_token"], dpop="-")
    assert fresh.json()["error"] == "invalid_dpop_proof"
    renewed = world.token(
        {"grant_type": "refresh_token", "refresh_token": said["refresh_token"], "client_id": "app"},
        dpop=dpop_proof(world, key, "POST", TOKEN),
    )
    assert renewed.json()["token_type"] == "DPoP"


def test_a_client_may_have_to_show_a_key(own: OauthWorld) -> None:
    text = own.files["limen.yaml"].replace(
        "      audiences: [payments]", "      audiences: [payments]\n      dpop: true"
    )
    own.apply({**own.files, "limen.yaml": text})
    asked = own.authorize(own.browse("ada"))
    assert asked.redeem().json()["error"] == "invalid_dpop_proof"


# --- devices ---------------------------------------------------------------------------------------------


def test_a_device_is_signed_in_by_a_yes_elsewhere(world: OauthWorld) -> None:
    began = world.post("/oauth2/device", {"client_id": "app", "scope": "openid profile"}).json()
    poll = {"grant_type": DEVICE, "device_code": began["device_code"], "client_id": "app"}
    assert world.token(poll).json()["error"] == "authorization_pending"
    assert world.token(poll).json()["error"] == "slow_down"
    browser = world.browse("ada")
    page = browser.get(f"/device?user_code={began['user_code']}")
    assert "Sign in to The App?" in page.text
    assert "signed in" in browser.submit(page, {"answer": "allow"}).text
    world.clock.advance(6)
    said = world.token(poll).json()
    assert world.read(said["id_token"]).claims["sub"] == "ada" and said["scope"] == "openid profile"
    assert world.token(poll).json()["error"] == "expired_token"  # once


def test_policy_decides_a_device_too(world: OauthWorld) -> None:
    began = world.post("/oauth2/device", {"client_id": "app"}).json()
    browser = world.browse("eve")
    page = browser.get(f"/device?user_code={began['user_code']}")
    refused = browser.submit(page, {"answer": "allow"})
    assert refused.status_code == 403 and "This door stays closed" in refused.text
    poll = {"grant_type": DEVICE, "device_code": began["device_code"], "client_id": "app"}
    assert world.token(poll).json()["error"] == "authorization_pending"


def test_a_device_code_is_bound_to_the_client_that_began(world: OauthWorld) -> None:
    began = world.post("/oauth2/device", {"client_id": "app"}).json()
    browser = world.browse("ada")
    browser.submit(browser.get(f"/device?user_code={began['user_code']}"), {"answer": "allow"})
    for path in ("/connect/token", "/oauth2/token"):
        stolen = {"grant_type": DEVICE, "device_code": began["device_code"], "client_id": "limen-connect"}
        assert world.post(path, stolen).json()["error"] == "expired_token"
    foreign = {"grant_type": DEVICE, "device_code": began["device_code"]}
    header = {"authorization": basic("payments", world.secrets["payments"])}
    assert world.token(foreign, **header).json()["error"] == "expired_token"


def test_a_client_that_may_not_begins_no_device_flow(world: OauthWorld) -> None:
    header = {"authorization": basic("other", world.secrets["other-new"])}
    assert world.post("/oauth2/device", {}, **header).json()["error"] == "unauthorized_client"


# --- forms of requests -----------------------------------------------------------------------------------


def test_a_form_that_says_something_twice_is_refused(world: OauthWorld) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    http = world.browser().http
    twice = http.post("/oauth2/token", content="grant_type=refresh_token&grant_type=x", headers=headers)
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")
    as_json = http.post("/oauth2/token", json={"grant_type": "refresh_token"})
    assert as_json.json()["error"] == "invalid_request"
    assert world.token({}).json()["error"] == "invalid_request"
    assert world.token({"grant_type": "password"}).json()["error"] == "unsupported_grant_type"


def test_a_page_of_a_public_client_may_ask(world: OauthWorld) -> None:
    http = world.browser().http
    assert http.options("/oauth2/token").headers["access-control-allow-origin"] == "*"
    refused = world.refresh("x")
    assert refused.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in refused.headers


def test_challenges_are_those_of_the_rfc() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636 appendix B

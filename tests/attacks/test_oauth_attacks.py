"""Attacks on the OpenID provider: redirects, injected and stolen codes, replayed and substituted tokens."""

import base64
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from identity_world import AUTH
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from oauth_world import OauthWorld, assertion, dpop_proof, events, oauth_world

TOKEN = f"{AUTH}/oauth2/token"
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


# --- where codes go --------------------------------------------------------------------------------------


ASSERTIONS: tuple[dict[str, Any], ...] = (
    {"aud": "https://elsewhere.example"},
    {"aud": [AUTH, "https://elsewhere.example"]},
    {"iss": "app"},
    {"sub": "other"},
    {"exp": 1},
    {"exp": 4_000_000_000},
    {"jti": ""},
    {"nbf": 4_000_000_000},
)
WRONGLY: tuple[dict[str, str], ...] = (
    {"redirect_uri": "http://127.0.0.1/cb"},
    {"redirect_uri": "-"},
    {"code_verifier": "-"},
    {"code_verifier": "a" * 43},
    {"code_verifier": "short"},
)
REDIRECTS = (
    "https://evil.example/callback",
    "https://app.example/callback/",
    "https://app.example/callback?next=https://evil.example",
    "https://app.example/callback#x",
    "https://app.example/callback/../evil",
    "https://app.example/callback%2f..%2fevil",
    "https://app.example/Callback",
    "https://app.example:444/callback",
    "https://app.example@evil.example/callback",
    "https://app.example.evil.example/callback",
    "https://app.example\\@evil.example/callback",
    "http://app.example/callback",
    "//app.example/callback",
    "javascript:alert(1)//https://app.example/callback",
    "https://app.example/callback\r\nset-cookie: a=b",
    "http://127.0.0.1/",
    "http://127.0.0.1:8000/other",
    "http://127.0.0.1:8000@evil.example/cb",
    "http://localhost:8000/cb",
    "http://127.0.0.1.evil.example:8000/cb",
    "https://127.0.0.1:8000/cb",
    "",
)


def test_redirect_uri_that_is_not_registered_gets_a_page_and_no_code(world: OauthWorld) -> None:
    browser = world.browse("ada")
    for uri in REDIRECTS:
        response = world.authorize(browser, redirect_uri=uri).response
        assert response.status_code == 400, uri
        assert "location" not in response.headers and "code=" not in response.text, uri


def test_only_the_port_of_a_loopback_address_may_differ(world: OauthWorld) -> None:
    browser = world.browse("ada")
    assert "code" in world.authorize(browser, redirect_uri="http://127.0.0.1:51234/cb").said


def test_redirect_uri_that_comes_twice_is_refused(world: OauthWorld) -> None:
    browser = world.browse("ada")
    url = str(world.authorize(browser).response.request.url)
    for extra in ("redirect_uri=https://evil.example/", "client_id=other", "state=2"):
        answer = browser.get(f"{url}&{extra}")
        assert answer.status_code == 400 and "location" not in answer.headers
    twice = browser.get(f"{url}&nonce=2")
    assert "error=invalid_request" in twice.headers["location"]


def test_an_unknown_client_gets_a_page(world: OauthWorld) -> None:
    for client in ("nobody", "payments", "", "APP"):
        asked = world.authorize(world.browse("ada"), client_id=client)
        assert asked.response.status_code == 400 and "location" not in asked.response.headers


def test_a_state_that_splits_headers_is_refused(world: OauthWorld) -> None:
    asked = world.authorize(world.browse("ada"), state="a\r\nset-cookie: b=c")
    assert asked.response.status_code == 400


# --- codes -----------------------------------------------------------------------------------------------


def test_an_injected_code_is_worth_nothing_without_its_verifier(own: OauthWorld) -> None:
    victim, mine = own.authorize(own.browse("ada")), own.authorize(own.browse("bob"))
    injected = mine.redeem(code=victim.said["code"])
    assert injected.json()["error"] == "invalid_grant"
    assert victim.redeem().json()["error"] == "invalid_grant"  # it is spent: it had leaked
    assert "another code_verifier" in events(own, "client.code_refused")[0].data["why"]


def test_a_code_of_one_client_is_no_code_of_another(world: OauthWorld) -> None:
    asked = world.authorize(world.browse("ada"))
    basic = base64.b64encode(f"other:{world.secrets['other-new']}".encode()).decode()
    stolen = asked.redeem(client_id="-", headers={"authorization": f"Basic {basic}"})
    assert stolen.json()["error"] == "invalid_grant"
    assert asked.redeem().json()["error"] == "invalid_grant"


def test_a_code_used_twice_ends_what_came_of_it(own: OauthWorld) -> None:
    asked = own.authorize(own.browse("ada"))
    tokens = asked.redeem().json()
    assert asked.redeem().json()["error"] == "invalid_grant"
    assert own.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    assert own.post("/oauth2/userinfo", {}, **bearer).status_code == 401
    assert events(own, "client.code_reused")[0].data["person"] == "ada"


def test_a_code_that_is_brought_wrongly_is_spent(own: OauthWorld) -> None:
    browser = own.browse("ada")
    for more in WRONGLY:
        asked = own.authorize(browser)
        assert asked.redeem(**more).json()["error"] == "invalid_grant", more
        assert asked.redeem().json()["error"] == "invalid_grant", more
    said = {event.data["why"].partition(": ")[2] for event in events(own, "client.code_refused")}
    assert said == {"another redirect_uri", "no code_verifier", "another code_verifier"}


def test_a_code_lives_a_minute_and_no_longer_than_its_session(world: OauthWorld) -> None:
    browser = world.browse("ada")
    late = world.authorize(browser)
    world.clock.advance(61)
    assert late.redeem().json()["error"] == "invalid_grant"
    over = world.authorize(browser)
    browser.submit(browser.get("/logout"), {})
    assert over.redeem().json()["error"] == "invalid_grant"


def test_a_verifier_is_needed_even_where_a_challenge_was_stripped(world: OauthWorld) -> None:
    asked = world.authorize(world.browse("ada"), code_challenge="-", code_challenge_method="-")
    assert asked.said["error"] == "invalid_request"  # PKCE downgrade (RFC 9700 section 2.1.1)


# --- refresh ---------------------------------------------------------------------------------------------


def test_a_refresh_token_used_twice_ends_everything_and_tells(own: OauthWorld) -> None:
    first = own.tokens(own.browse("ada"))
    second = own.refresh(first["refresh_token"]).json()
    assert own.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert own.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"
    assert events(own, "client.refresh_reused")[0].data["person"] == "ada"
    own.round()
    assert len(own.clients.taken) == 1  # the client's own session ends too
    own.refresh(first["refresh_token"])
    assert len(events(own, "client.refresh_reused")) == 1


def test_a_refresh_token_is_no_use_to_another_client(own: OauthWorld) -> None:
    tokens = own.tokens(own.browse("ada"))
    stolen = own.refresh(tokens["refresh_token"], client_id="other", client_secret=own.secrets["other-new"])
    assert stolen.json()["error"] == "invalid_grant"
    assert own.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert events(own, "client.refresh_refused")


def test_a_stolen_refresh_token_without_its_key_neither_works_nor_harms(world: OauthWorld) -> None:
    key, thief = ECKey.generate_key("P-256", private=True), ECKey.generate_key("P-256", private=True)
    asked = world.authorize(world.browse("ada"))
    tokens = asked.redeem(headers={"dpop": dpop_proof(world, key, "POST", TOKEN)}).json()
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": "app"}
    for proof in ("", dpop_proof(world, thief, "POST", TOKEN)):
        answer = world.token(form, **({"dpop": proof} if proof else {}))
        assert answer.json()["error"] == "invalid_dpop_proof"
    assert world.token(form, dpop=dpop_proof(world, key, "POST", TOKEN)).status_code == 200


# --- proofs of keys --------------------------------------------------------------------------------------


def test_a_dpop_proof_counts_once_and_for_one_address(world: OauthWorld) -> None:
    key = ECKey.generate_key("P-256", private=True)
    proof = dpop_proof(world, key, "POST", TOKEN)
    first, second = (world.authorize(world.browse("ada")) for _ in range(2))
    assert first.redeem(headers={"dpop": proof}).status_code == 200
    assert second.redeem(headers={"dpop": proof}).json()["error"] == "invalid_dpop_proof"
    elsewhere = dpop_proof(world, key, "POST", f"{AUTH}/oauth2/revoke")
    assert second.redeem(headers={"dpop": elsewhere}).json()["error"] == "invalid_dpop_proof"
    assert second.redeem(headers={"dpop": dpop_proof(world, key, "POST", TOKEN)}).status_code == 200


def test_a_code_for_one_key_is_not_redeemed_with_another(world: OauthWorld) -> None:
    key, thief = ECKey.generate_key("P-256", private=True), ECKey.generate_key("P-256", private=True)
    asked = world.authorize(world.browse("ada"), dpop_jkt=key.thumbprint())
    stolen = asked.redeem(headers={"dpop": dpop_proof(world, thief, "POST", TOKEN)})
    assert stolen.json()["error"] == "invalid_grant"


def test_a_client_assertion_that_does_not_hold(world: OauthWorld) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_assertion_type": JWT_BEARER}
    for claims in ASSERTIONS:
        said = {**form, "client_id": "keyed", "client_assertion": assertion(world, **claims)}
        answer = world.token(said)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), claims


def test_a_client_assertion_of_another_key_or_none(world: OauthWorld) -> None:
    stranger = ECKey.generate_key("P-256", private=True)
    public = json.dumps(world.client_key.as_dict(private=False)).encode()
    confused = OctKey.import_key(public)
    now = int(world.clock.now())
    claims = {"iss": "keyed", "sub": "keyed", "aud": AUTH, "jti": "j", "iat": now, "exp": now + 60}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the key is somebody's public one is the attack
        hmac_signed = jwt.encode({"alg": "HS256"}, claims, confused, algorithms=["HS256"])
    unsigned = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none"}, claims)
    )
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_assertion_type": JWT_BEARER}
    for proof in (assertion(world, stranger), hmac_signed, f"{unsigned}.", "rubbish", "a.b.c"):
        answer = world.token({**form, "client_assertion": proof})
        assert answer.json()["error"] in ("invalid_client", "invalid_request")
        assert answer.status_code in (400, 401)


def test_a_client_proves_itself_in_its_own_way_and_in_one(world: OauthWorld) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    secret = world.secrets["other-new"]
    basic = "Basic " + base64.b64encode(f"other:{secret}".encode()).decode()
    assert world.token({**form, "client_id": "other"}).json()["error"] == "invalid_client"
    assert (
        world.token({**form, "client_id": "keyed", "client_secret": "x"}).json()["error"] == "invalid_client"
    )
    assert world.token({**form, "client_id": "app", "client_secret": "x"}).json()["error"] == "invalid_client"
    both = world.token({**form, "client_id": "other", "client_secret": secret}, authorization=basic)
    assert both.json()["error"] == "invalid_request"
    mixed = world.token({**form, "client_id": "app"}, authorization=basic)
    assert mixed.json()["error"] == "invalid_request"


def test_strangers_are_told_the_same_for_every_reason(world: OauthWorld) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    answers = [
        world.token({**form, "client_id": name, "client_secret": "wrong"})
        for name in ("other", "keyed", "app", "nobody", "payments")
    ]
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1


# --- tokens in the place of others -----------------------------------------------------------------------


def test_no_token_passes_for_another(world: OauthWorld) -> None:
    browser = world.browse("ada")
    tokens = world.tokens(browser)
    for wrong in (tokens["id_token"], tokens["access_token"]):
        assert world.refresh(wrong).json()["error"] == "invalid_grant"
        asked = world.authorize(browser)
        assert asked.redeem(code=wrong).json()["error"] == "invalid_grant"
    page = browser.get(f"/oauth2/logout?id_token_hint={tokens['access_token']}")
    assert "Sign out?" in page.text  # an access token is no ID token
    session = browser.cookie("__Host-limen")
    answer = world.post("/oauth2/userinfo", {}, authorization=f"Bearer {session}")
    assert answer.status_code == 401


def test_a_token_that_somebody_else_signed_is_none(world: OauthWorld) -> None:
    tokens = world.tokens(world.browse("ada"))
    real = world.read(tokens["access_token"])
    stranger = RSAKey.generate_key(2048, private=True)
    forged = jwt.encode({**real.header, "alg": "RS256"}, dict(real.claims), stranger, algorithms=["RS256"])
    assert world.post("/oauth2/userinfo", {}, authorization=f"Bearer {forged}").status_code == 401
    head, body, _ = tokens["access_token"].split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    for bad in (f"{none}.{body}.", f"{head}.{body}."):
        assert world.post("/oauth2/userinfo", {}, authorization=f"Bearer {bad}").status_code == 401


def test_keys_that_were_compromised_are_believed_no_more(own: OauthWorld) -> None:
    tokens = own.tokens(own.browse("ada"))
    leaked = own.read(tokens["access_token"]).header["kid"]
    own.oauth.signing.rotate(actor="grace", reason="leaked", compromised=True)
    assert leaked not in {key["kid"] for key in own.browser().http.get("/oauth2/jwks").json()["keys"]}
    bearer = f"Bearer {tokens['access_token']}"
    assert own.post("/oauth2/userinfo", {}, authorization=bearer).status_code == 401
    renewed = own.refresh(tokens["refresh_token"]).json()
    bearer = f"Bearer {renewed['access_token']}"
    assert own.post("/oauth2/userinfo", {}, authorization=bearer).status_code == 200


def test_a_page_of_another_site_cannot_approve_or_sign_out(world: OauthWorld) -> None:
    browser = world.browse("ada")
    world.tokens(browser)
    elsewhere = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    page = browser.get("/oauth2/logout")
    hidden = browser.form(page)
    forged = browser.http.post(
        "/oauth2/logout/confirm", data=hidden, headers={**browser.headers, **elsewhere}
    )
    assert forged.status_code == 403 and browser.get("/").status_code == 200

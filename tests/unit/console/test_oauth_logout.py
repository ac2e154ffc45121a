"""Signing out with clients, and authorizations that end because their reason ended."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from identity_world import AUTH
from oauth_world import POLICY, OauthWorld, cheap_rsa, events

from limen.administrator.oauth.backchannel import GIVE_UP_S
from limen.administrator.session_life import SessionEvent
from limen.core.entities import Status
from limen.core.record import BundleRecord, InputsRecord
from limen.engine.bundle import parse_bundle
from limen.engine.replay_run import Replay
from limen.store import directory


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OauthWorld]:
    cheap_rsa(monkeypatch)
    world = OauthWorld(tmp_path)
    yield world
    world.store.close()


def ends(world: OauthWorld, person: str) -> None:
    """End a person's sessions."""
    world.parts.sessions.end_person(person, actor="test", why="test", event=SessionEvent.REVOKE)


# --- a client asks ---------------------------------------------------------------------------------------


def test_an_id_token_of_this_session_signs_out_without_a_question(world: OauthWorld) -> None:
    browser = world.browse("ada")
    tokens = world.tokens(browser)
    query = {
        "id_token_hint": tokens["id_token"],
        "post_logout_redirect_uri": "https://app.example/bye",
        "state": "x",
    }
    page = browser.get(f"/oauth2/logout?{urlencode(query)}")
    assert "You are signed out" in page.text and "https://app.example/bye?state=x" in page.text
    assert browser.get("/", accept="text/html").headers["location"].startswith("/login")


def test_the_page_loads_the_clients_of_the_session(world: OauthWorld) -> None:
    browser = world.browse("ada")
    tokens = world.tokens(browser)
    sid = world.read(tokens["id_token"]).claims["sid"]
    page = browser.get(f"/oauth2/logout?{urlencode({'id_token_hint': tokens['id_token']})}")
    assert f"https://app.example/front?iss={httpx.QueryParams({'i': AUTH})}"[:30] in page.text
    assert f"sid={sid}" in page.text
    assert "frame-src https://app.example" in page.headers["content-security-policy"]


def test_limens_own_sign_out_loads_them_too(world: OauthWorld) -> None:
    browser = world.browse("ada")
    world.tokens(browser)
    page = browser.submit(browser.get("/logout"), {})
    assert "You are signed out" in page.text and "https://app.example/front" in page.text


def test_a_link_alone_signs_nobody_out(world: OauthWorld) -> None:
    browser, stranger = world.browse("ada"), world.browse("bob")
    hint = world.tokens(stranger)["id_token"]
    for query in ({}, {"client_id": "app"}, {"id_token_hint": hint}, {"id_token_hint": "rubbish"}):
        page = browser.get(f"/oauth2/logout?{urlencode(query)}")
        assert "Sign out?" in page.text
    assert browser.get("/").status_code == 200
    answer = browser.submit(page, {})
    assert "You are signed out" in answer.text


def test_after_signing_out_nobody_is_led_elsewhere(world: OauthWorld) -> None:
    browser = world.browse("ada")
    hint = world.tokens(browser)["id_token"]
    for target in ("https://evil.example/", "https://app.example/bye/", "https://app.example/bye?x=1"):
        query = {"id_token_hint": hint, "client_id": "app", "post_logout_redirect_uri": target}
        page = world.browser().get(f"/oauth2/logout?{urlencode(query)}")
        assert target not in page.text and "evil" not in page.text
    foreign = {
        "id_token_hint": hint,
        "client_id": "other",
        "post_logout_redirect_uri": "https://app.example/bye",
    }
    assert "app.example" not in world.browser().get(f"/oauth2/logout?{urlencode(foreign)}").text


# --- clients are told ------------------------------------------------------------------------------------


def test_a_session_that_ends_sends_a_logout_token(world: OauthWorld) -> None:
    tokens = world.tokens(world.browse("ada"))
    sid = world.read(tokens["id_token"]).claims["sid"]
    ends(world, "ada")
    world.round()
    ((url, token),) = world.clients.taken
    said = world.read(token)
    assert url == "https://app.example/back" and said.header["typ"] == "logout+jwt"
    assert said.claims["sid"] == sid and said.claims["sub"] == "ada" and said.claims["aud"] == "app"
    assert said.claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert "nonce" not in said.claims and said.claims["jti"]
    assert world.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_client_that_is_away_is_told_when_it_is_back(world: OauthWorld) -> None:
    world.tokens(world.browse("ada"))
    world.clients.answers = [httpx.ConnectError("down"), 500]
    ends(world, "ada")
    world.round()
    world.round()  # not due yet
    assert len(world.clients.answers) == 1
    for _ in range(2):
        world.clock.advance(6)
        world.round()
    assert len(world.clients.taken) == 1
    assert events(world, "client.logout_untold")[0].data["why"] == "ConnectError"
    world.clock.advance(7_200)
    world.round()
    assert len(world.clients.taken) == 1  # told once


def test_a_client_that_never_answers_is_given_up(world: OauthWorld) -> None:
    world.tokens(world.browse("ada"))
    world.clients.answers = [500] * 100
    ends(world, "ada")
    for _ in range(40):
        world.round()
        world.clock.advance(GIVE_UP_S / 20)
    assert len(events(world, "client.logout_given_up")) == 1
    assert world.oauth.backchannel.next_at() is None


def test_two_sign_ins_of_a_session_are_one_logout(world: OauthWorld) -> None:
    browser = world.browse("ada")
    first, second = world.tokens(browser), world.tokens(browser)
    sids = {world.read(tokens["id_token"]).claims["sid"] for tokens in (first, second)}
    assert len(sids) == 1
    ends(world, "ada")
    world.round()
    assert len(world.clients.taken) == 1


def test_a_code_that_nobody_redeemed_is_no_sign_in(world: OauthWorld) -> None:
    world.authorize(world.browse("ada"))
    world.clock.advance(200)
    world.round()
    assert world.clients.taken == [] and events(world, "client.signed_out") == []


# --- decided again ---------------------------------------------------------------------------------------


def test_who_leaves_the_group_is_cut_at_the_client(world: OauthWorld) -> None:
    ada, bob = world.tokens(world.browse("ada")), world.tokens(world.browse("bob"))
    world.round()
    with world.store.transaction("test", "leaves") as tx:
        directory.remove_member(tx, "staff", "ada")
    assert world.oauth.leash.look() == 1
    world.round()
    (cut,) = events(world, "client.cut")
    assert cut.data["person"] == "ada" and cut.data["code"] == "NO_PERMIT"
    assert cut.data["decision"] == world.journal.decisions[-1].id
    assert len(world.clients.taken) == 1
    bearer = {"authorization": f"Bearer {ada['access_token']}"}
    assert world.post("/oauth2/userinfo", {}, **bearer).status_code == 401
    assert world.refresh(ada["refresh_token"]).json()["error"] == "invalid_grant"
    assert world.refresh(bob["refresh_token"]).status_code == 200


def test_who_is_suspended_is_cut_at_the_client(world: OauthWorld) -> None:
    tokens = world.tokens(world.browse("ada"))
    with world.store.transaction("test", "suspended") as tx:
        directory.update_person(tx, "ada", status=Status.SUSPENDED)
    world.round()
    assert len(world.clients.taken) == 1
    assert world.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_policy_that_says_no_cuts_those_who_are_in(world: OauthWorld) -> None:
    world.tokens(world.browse("ada"))
    world.round()
    closed = '@id("closed")\n@reason("Closed.")\nforbid(principal, action, resource == Client::"app");\n'
    world.apply({**world.files, "policies/guardrails/mfa.cedar": POLICY + closed})
    world.round()
    assert events(world, "client.cut")[0].data["code"] == "FORBIDDEN" and len(world.clients.taken) == 1


def test_time_alone_cuts_too(world: OauthWorld) -> None:
    aged = """
@id("fresh")
@reason("Sign in again after ten minutes.")
forbid(principal is User, action == Action::"sign_in", resource == Client::"app")
unless { context has session && context.session.auth_age <= duration("10m") };
"""
    world.apply({**world.files, "policies/guardrails/mfa.cedar": POLICY + aged})
    world.tokens(world.browse("ada"))
    world.round()
    world.clock.advance(500)
    world.round()
    assert world.clients.taken == []
    world.clock.advance(200)
    world.round()
    assert len(world.clients.taken) == 1


def test_a_client_that_leaves_the_bundle_leaves_nobody_behind(world: OauthWorld) -> None:
    tokens = world.tokens(world.browse("ada"))
    text = world.files["limen.yaml"]
    gone = text[: text.index("  app:")] + text[text.index("  other:") :]
    world.apply({**world.files, "limen.yaml": gone})
    world.round()
    assert world.refresh(tokens["refresh_token"]).json()["error"] == "invalid_client"
    assert events(world, "client.signed_out")[0].data["why"] == "the client is not in the bundle any more"


def test_an_api_that_is_denied_cuts_what_was_issued_for_it_alone(world: OauthWorld) -> None:
    browser = world.browse("ada")
    plain = world.tokens(browser)
    paying = world.tokens(browser, resource="https://api.example/payments")
    with world.store.transaction("test", "leaves") as tx:
        directory.remove_member(tx, "payers", "ada")
    world.round()
    assert world.refresh(paying["refresh_token"]).json()["error"] == "invalid_grant"
    assert world.refresh(plain["refresh_token"]).status_code == 200


def test_decisions_of_issue_replay_under_their_bundle_and_under_another(world: OauthWorld) -> None:
    world.tokens(world.browse("ada"))
    world.authorize(world.browse("eve"))
    assert any(isinstance(one, InputsRecord | BundleRecord) for one in world.journal.records)
    again = Replay(None)
    closed = '@id("closed")\n@reason("Closed.")\nforbid(principal, action, resource == Client::"app");\n'
    other = Replay(parse_bundle({**world.files, "policies/guardrails/mfa.cedar": POLICY + closed}))
    for record in world.journal.records:
        again.feed(record)
        other.feed(record)
    assert again.tally.same == again.tally.decisions == 3
    assert again.tally.derived == 3 and other.tally.derived == 3
    assert other.tally.same == 1  # ada loses both, eve had nothing


def test_where_a_logout_by_post_leads(world: OauthWorld) -> None:
    answer = world.browser().http.post("/oauth2/logout", data={"state": "a b"})
    assert answer.status_code == 303
    assert parse_qs(urlsplit(answer.headers["location"]).query) == {"state": ["a b"]}

"""Back- and front-channel logout of providers: what ends, and what a stranger cannot end (laws U5 to U7)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from identity_world import Browser
from joserfc.jwk import RSAKey
from upstream_world import CORP, UpstreamWorld, upstream_world

EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[UpstreamWorld]:
    with upstream_world(tmp_path) as made:
        yield made


def _in(rig: UpstreamWorld, sid: str, browser: Browser | None = None) -> None:
    rig.corp.claims["sid"] = sid
    assert rig.sign_in("corp", browser) == 303


def _tell(rig: UpstreamWorld, token: str, provider: str = "corp") -> httpx.Response:
    """What the provider posts: no browser, no cookie, no origin."""
    server = rig.world.browser("203.0.113.9")
    return server.http.post(
        f"/oidc/{provider}/backchannel", data={"logout_token": token}, headers={"x-limen-peer": "203.0.113.9"}
    )


def _causes(rig: UpstreamWorld) -> list[str]:
    return [str(e.data["why"]) for e in rig.world.events if e.kind == "identity.logout_refused"]


def test_a_session_there_ends_the_session_here(rig: UpstreamWorld) -> None:
    _in(rig, "sid-1")
    _in(rig, "sid-2")
    answer = _tell(rig, rig.corp.logout_token("limen", sid="sid-1"))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert rig.live("grace") == 1
    ended = next(e for e in rig.world.events if e.kind == "session.ended")
    assert ended.reason == "signed out at oidc:corp" and ended.data["person"] == "grace"


def test_a_subject_ends_all_of_theirs_and_nobody_elses(rig: UpstreamWorld) -> None:
    _in(rig, "sid-1")
    _in(rig, "sid-2")
    rig.partner.userinfo["preferred_username"] = "helen"
    rig.sign_in("partner")
    assert _tell(rig, rig.corp.logout_token("limen", sub="s-1")).status_code == 200
    assert (rig.live("grace"), rig.live("helen")) == (0, 1)


def test_a_sid_and_a_subject_must_both_be_of_the_session(rig: UpstreamWorld) -> None:
    _in(rig, "sid-1")
    assert _tell(rig, rig.corp.logout_token("limen", sub="s-2", sid="sid-1")).status_code == 200
    assert rig.live("grace") == 1


def test_an_app_session_and_a_long_sid_end_too(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    _in(rig, "s" * 3_000, browser)
    url = browser.get(browser.authorize_url("wiki")).headers["location"]
    browser.bring_flow()
    assert browser.get(url).status_code == 303
    assert _tell(rig, rig.corp.logout_token("limen", sid="s" * 3_000)).status_code == 200
    assert rig.live("grace") == 0
    assert browser.get("/").headers["location"].startswith("/login")


def test_u6_a_logout_token_counts_once(rig: UpstreamWorld) -> None:
    _in(rig, "sid-1")
    token = rig.corp.logout_token("limen", sub="s-1", jti="once")
    assert _tell(rig, token).status_code == 200
    _in(rig, "sid-2")
    assert _tell(rig, token).status_code == 400
    assert rig.live("grace") == 1
    assert _causes(rig) == ["its logout token was used before"]


BENT: tuple[tuple[dict[str, Any], str], ...] = (
    ({"iss": "https://evil.example"}, "another issuer"),
    ({"aud": "other"}, "another audience"),
    ({"exp": 1}, "expired"),
    ({"iat": None}, "future"),
    ({"exp": 10**12}, "too long"),
    ({"events": None}, "not about a logout"),
    ({"events": {"x": {}}}, "not about a logout"),
    ({"events": {EVENT: 1}}, "not about a logout"),
    ({"events": [EVENT]}, "not about a logout"),
    ({"nonce": "n"}, "it is an ID token"),
    ({"sub": None, "sid": None}, "names no session"),
    ({"sub": ["s-1"]}, "names no session"),
    ({"jti": None}, "names no session"),
    ({"jti": "x" * 2_000}, "used before"),
)


def test_a_bent_logout_token_ends_nothing(rig: UpstreamWorld) -> None:
    _in(rig, "sid-1")
    for claims, why in BENT:
        answer = _tell(rig, rig.corp.logout_token("limen", **{"sub": "s-1", **claims}))
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"}), claims
        assert why in _causes(rig)[-1]
    assert rig.live("grace") == 1


def test_a_logout_token_is_of_the_provider_and_signed(rig: UpstreamWorld) -> None:
    _in(rig, "sid-1")
    right = rig.corp.logout_token("limen", sub="s-1")
    assert _tell(rig, rig.partner.logout_token("limen", sub="s-1", iss=CORP)).status_code == 400
    assert _tell(rig, right, provider="partner").status_code == 400
    rig.corp.signing = RSAKey.generate_key(2048, {"kid": "k1"})
    assert _tell(rig, rig.corp.logout_token("limen", sub="s-1")).status_code == 400
    rig.corp.alg = "none"
    assert _tell(rig, rig.corp.logout_token("limen", sub="s-1")).status_code == 400
    for rubbish in ("", "x", "a.b.c", right[:-4]):
        assert _tell(rig, rubbish).status_code == 400
    assert _tell(rig, right, provider="nobody").status_code == 404
    assert rig.live("grace") == 1


def test_an_id_token_of_the_person_is_no_logout_token(rig: UpstreamWorld) -> None:
    _in(rig, "sid-1")
    now = int(rig.world.clock.now())
    own = {"iss": CORP, "aud": "limen", "sub": "s-1", "iat": now, "exp": now + 300, "jti": "j"}
    assert _tell(rig, rig.corp.sign(own)).status_code == 400
    assert rig.live("grace") == 1


def test_strangers_cannot_fill_the_journal_with_rubbish(rig: UpstreamWorld) -> None:
    for n in range(80):
        _tell(rig, f"rubbish-{n}")
    assert len(_causes(rig)) == 40, "as many as an address may attempt at once"
    _in(rig, "sid-1")
    assert _tell(rig, rig.corp.logout_token("limen", sub="s-1")).status_code == 200
    assert rig.live("grace") == 0, "the provider itself is heard nevertheless"


def test_u5_a_provider_of_the_same_name_ends_nothing_of_the_one_before(rig: UpstreamWorld) -> None:
    _in(rig, "sid-1")
    rig.configure("corp", issuer="https://login.partner.example")
    assert _tell(rig, rig.partner.logout_token("limen", sub="s-1")).status_code == 200
    assert rig.live("grace") == 1, "the sweep ends it, for its own reason"


def test_a_front_channel_logout_names_issuer_and_session(rig: UpstreamWorld) -> None:
    _in(rig, "sid-1")
    browser = rig.world.browser("192.0.2.50")
    for query in (
        "",
        f"?iss={CORP}",
        "?sid=sid-1",
        f"?iss={CORP}&sid=sid-2",
        "?iss=https://x.example&sid=sid-1",
    ):
        answer = browser.get(f"/oidc/corp/logout{query}")
        assert (answer.status_code, answer.text) == (200, "")
    assert rig.live("grace") == 1
    answer = browser.get(f"/oidc/corp/logout?iss={CORP}&sid=sid-1")
    assert (answer.status_code, answer.text) == (200, "")
    assert "x-frame-options" not in answer.headers, "it is asked for in a frame of the provider's"
    assert rig.live("grace") == 0


def test_session_names_cannot_be_guessed_for_ever(rig: UpstreamWorld) -> None:
    browser = rig.world.browser("192.0.2.50")
    for n in range(60):
        assert browser.get(f"/oidc/corp/logout?iss={CORP}&sid={n}").status_code == 200
    _in(rig, "7")
    assert browser.get(f"/oidc/corp/logout?iss={CORP}&sid=7").status_code == 200
    assert rig.live("grace") == 1, "one answer, and this address is not looked at any more"

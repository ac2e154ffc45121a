"""Attacks by, through and between OpenID providers: each fails closed, and only the operator learns why."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from identity_world import AUTH
from upstream_world import CORP, GRACE, PARTNER, UpstreamWorld, upstream_world

from limen.core.entities import Kind
from limen.core.identity_config import ClaimRule
from limen.store import directory


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[UpstreamWorld]:
    with upstream_world(tmp_path) as made:
        yield made


def _refused(rig: UpstreamWorld, answer: httpx.Response, why: str) -> None:
    assert answer.status_code == 403
    assert why in rig.why
    assert why not in answer.text
    assert "opens nothing here" in answer.text, "one answer for every reason"


def _try(rig: UpstreamWorld, n: int, name: str = "corp") -> httpx.Response:
    """Sign in from an address of its own, so that only what is tried is what refuses."""
    browser = rig.world.browser(f"198.51.100.{n}")
    return browser.get(rig.callback(browser, name))


# --- mix-up ------------------------------------------------------------------------------------------


def test_two_providers_side_by_side_are_two_ways_in(rig: UpstreamWorld) -> None:
    assert rig.sign_in("corp") == 303
    rig.partner.userinfo["preferred_username"] = "helen"
    assert rig.sign_in("partner") == 303
    assert rig.links("grace") == ("oidc:corp s-1",)
    assert rig.links("helen") == ("oidc:partner s-1",), "the same subject elsewhere is somebody else"


def test_mix_up_the_answer_of_one_provider_is_not_taken_for_anothers(rig: UpstreamWorld) -> None:
    """The attacker's provider sends the browser on to the honest one, and hopes to be handed its code."""
    browser = rig.world.browser()
    begun = rig.sent(browser, "partner")
    query = {name: values[0] for name, values in parse_qs(urlsplit(begun).query).items()}
    honest = str(httpx.URL(f"{CORP}/auth", params={**query, "client_id": "limen"}))
    callback = rig.corp.authorize(honest)
    assert callback.startswith(f"{AUTH}/oidc/partner/callback"), "each provider has its own address"
    _refused(rig, browser.get(callback), "another issuer")
    assert "/token" not in rig.partner.asked, "the code of corp has not reached partner"


def test_mix_up_an_answer_that_is_brought_to_another_callback_is_refused(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    callback = rig.callback(browser, "corp")
    _refused(
        rig, browser.get(callback.replace("/oidc/corp/", "/oidc/partner/")), "begun with another provider"
    )
    assert browser.get(callback).status_code == 403, "the flow was looked at once"
    assert rig.live("grace") == 0


def test_a_provider_that_was_pointed_elsewhere_meanwhile_is_not_answered(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    callback = rig.callback(browser, "corp")
    rig.configure("corp", client_id="another-client")
    _refused(rig, browser.get(callback), "changed meanwhile")


# --- code injection, token substitution --------------------------------------------------------------


def test_a_stolen_code_in_ones_own_flow_is_refused(rig: UpstreamWorld) -> None:
    victim, attacker = rig.world.browser(), rig.world.browser("192.0.2.66")
    stolen = parse_qs(urlsplit(rig.callback(victim)).query)["code"][0]
    own = rig.corp.authorize(rig.sent(attacker), code=stolen)
    _refused(rig, attacker.get(own), "code was not accepted")
    assert rig.live("grace") == 0


@pytest.mark.parametrize("name", ["code", "state", "iss"])
def test_a_parameter_that_is_sent_twice_is_right_for_nothing(rig: UpstreamWorld, name: str) -> None:
    browser = rig.world.browser()
    callback = rig.callback(browser)
    value = parse_qs(urlsplit(callback).query)[name][0]
    assert browser.get(f"{callback}&{name}={value}").status_code == 403
    assert rig.live("grace") == 0


def test_an_id_token_of_another_sign_in_is_refused(rig: UpstreamWorld) -> None:
    rig.corp.claims["nonce"] = "of-another-sign-in"
    browser = rig.world.browser()
    _refused(rig, browser.get(rig.callback(browser)), "ID token does not hold")


@pytest.mark.parametrize(
    ("header", "why"),
    [({"typ": "at+jwt", "kid": "k1"}, "another kind"), ({"typ": "logout+jwt", "kid": "k1"}, "another kind")],
)
def test_a_token_of_another_kind_is_no_id_token(rig: UpstreamWorld, header: dict[str, Any], why: str) -> None:
    rig.corp.header = header
    browser = rig.world.browser()
    _refused(rig, browser.get(rig.callback(browser)), why)


WRONG_CLAIMS: tuple[dict[str, Any], ...] = (
    {"aud": ["limen", "other"]},
    {"aud": ["limen", "other"], "azp": "other"},
    {"aud": []},
    {"aud": {"limen": 1}},
    {"aud": None},
    {"sub": 7},
    {"sub": ""},
    {"sub": "s" * 256},
    {"sub": "s\n1"},
    {"exp": 1e18},
    {"exp": True},
    {"iat": "now"},
    {"amr": 7},
)


def test_claims_of_the_wrong_form_are_refused(rig: UpstreamWorld) -> None:
    for n, claims in enumerate(WRONG_CLAIMS):
        rig.corp.claims = claims
        rig.corp.userinfo["sub"] = claims.get("sub", "s-1")
        assert _try(rig, n).status_code == 403, claims
    assert rig.live("grace") == 0


def test_userinfo_of_somebody_else_is_refused(rig: UpstreamWorld) -> None:
    rig.corp.userinfo["sub"] = "s-2"
    browser = rig.world.browser()
    _refused(rig, browser.get(rig.callback(browser)), "somebody else")


# --- clock skew --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("skew_s", "status"), [(-50, 303), (50, 303), (-400, 403), (120, 403)])
def test_clocks_may_differ_by_a_minute(rig: UpstreamWorld, skew_s: int, status: int) -> None:
    now = int(rig.world.clock.now()) + skew_s
    rig.corp.claims.update(iat=now, exp=now + 300)
    assert rig.sign_in() == status


def test_a_sign_in_of_the_future_is_of_now_and_one_of_unknown_age_is_not_fresh(rig: UpstreamWorld) -> None:
    now = rig.world.clock.now()
    rig.corp.claims["auth_time"] = int(now) + 50_000
    rig.sign_in()
    assert rig.world.parts.sessions.list_live("grace")[0][0].auth_at == now
    rig.corp.claims["auth_time"] = None
    rig.world.parts.sessions.end_person("grace", actor="t", why="t", event=_revoke())
    rig.sign_in()
    assert rig.world.parts.sessions.list_live("grace")[0][0].auth_at == now - 900


def _revoke() -> Any:
    from limen.administrator.session_life import SessionEvent

    return SessionEvent.REVOKE


# --- e-mail, linking ---------------------------------------------------------------------------------


LOOK_ALIKES: tuple[object, ...] = (
    "ada@evil.example@corp.example",
    '"ada@corp.example"@evil.example',
    "ada@corp.example@evil.example",
    "ada@corp.example\n@evil.example",
    "ada@сorp.example",
    "ada@corp.example.",  # a root label
    "ada@xn--orp-5cd.example",
    "ada@ｃorp.example",
    "ada@corp。example",
    "ada@corp.example ",
    "@corp.example",
    "corp.example",
    "ada@",
    "ada@sub.corp.example",
    "ada@corp.example.evil.example",
    "ada@notcorp.example",
    "",
    7,
    ["ada@corp.example"] * 2,
    {"ada@corp.example": 1},
)


def test_an_address_that_only_looks_like_one_of_the_domain_makes_nobody(tmp_path: Path) -> None:
    with upstream_world(tmp_path, domains=("corp.example",)) as rig:
        for n, email in enumerate(LOOK_ALIKES):
            rig.corp.userinfo["email"] = email
            _refused(rig, _try(rig, n), "not of a domain")
        assert rig.person("grace") is None


def test_an_unverified_address_is_no_address(tmp_path: Path) -> None:
    with upstream_world(tmp_path, domains=("corp.example",)) as rig:
        for n, verified in enumerate((False, None, "false", 1, "yes", [True])):
            rig.corp.userinfo["email_verified"] = verified
            _refused(rig, _try(rig, n), "not verified")
        rig.configure("corp", people={})
        assert rig.sign_in() == 303
        grace = rig.person("grace")
        assert grace is not None and grace.email == ""
        rig.configure("corp", trust_email=True)
        assert rig.sign_in() == 303
        grace = rig.person("grace")
        assert grace is not None and grace.email == "grace@corp.example"


def test_one_document_does_not_verify_the_address_of_another(rig: UpstreamWorld) -> None:
    rig.corp.claims["email"] = "ada@corp.example"
    rig.corp.userinfo.update(email="mallory@evil.example", email_verified=True)
    assert rig.sign_in() == 303
    grace = rig.person("grace")
    assert grace is not None and grace.email == "mallory@evil.example"


def test_the_address_of_somebody_here_links_nothing(rig: UpstreamWorld) -> None:
    rig.corp.userinfo.update(email="ada@limen.localhost", preferred_username="mallory")
    assert rig.sign_in() == 303
    assert rig.links("ada") == () and rig.live("ada") == 0
    assert rig.links("mallory") == ("oidc:corp s-1",)


def test_the_username_of_somebody_here_links_nothing(rig: UpstreamWorld) -> None:
    for n, username in enumerate(("ada", "ADA", " ada ", "ａda", "ädä")):
        rig.corp.userinfo["preferred_username"] = username
        _refused(rig, _try(rig, n), "never linked by name")
    assert rig.links("ada") == () and rig.live("ada") == 0


def test_another_provider_does_not_become_somebody_of_the_first(rig: UpstreamWorld) -> None:
    assert rig.sign_in("corp") == 303
    browser = rig.world.browser("192.0.2.9")
    _refused(rig, browser.get(rig.callback(browser, "partner")), "never linked by name")
    assert rig.live("grace") == 1


def test_u1_a_provider_that_is_pointed_at_another_issuer_does_not_inherit_its_people(
    rig: UpstreamWorld,
) -> None:
    assert rig.sign_in("corp") == 303
    rig.configure("corp", issuer=PARTNER)
    rig.partner.userinfo["preferred_username"] = "grace"
    browser = rig.world.browser("192.0.2.9")
    answer = browser.get(rig.partner.authorize(rig.sent(browser, "corp")))
    _refused(rig, answer, "issuer is not the one")
    assert rig.world.parts.upstream_logout.sweep() == 1, "sessions of the issuer before end"
    assert rig.live("grace") == 0


# --- huge and hostile claims -------------------------------------------------------------------------


HOSTILE: tuple[dict[str, Any], ...] = (
    {"name": "x" * 100_000},
    {"name": "Grace\r\nX-Limen-User: ada\x00\u202e"},
    {"name": ["Grace", "Hopper"]},
    {"name": None},
    {"groups": "staff"},
    {"groups": [None, 7, {"a": 1}, ["x"], "", " ", "x" * 500, "a\nb"]},
    {"picture": "data:" + "x" * 500_000},
    {"address": {"a": {"b": {"c": {}}}}},
)


def test_hostile_claims_come_in_harmless(rig: UpstreamWorld) -> None:
    for n, userinfo in enumerate(HOSTILE):
        rig.corp.userinfo = {**GRACE, **userinfo}
        assert _try(rig, n).status_code == 303, userinfo
        grace = rig.person("grace")
        assert grace is not None
        assert grace.name.isprintable() and len(grace.name) <= 255
        assert all(group.isprintable() and len(group) <= 128 for group in grace.groups)


def test_what_cannot_be_a_username_makes_nobody(rig: UpstreamWorld) -> None:
    for n, username in enumerate(("", "...", "@", "日本", None, 7, "-" * 300, "a" * 70_000, ["x", "y"])):
        rig.corp.userinfo["preferred_username"] = username
        _refused(rig, _try(rig, n), "username cannot be one")


def test_a_document_without_end_or_bottom_is_no_answer(rig: UpstreamWorld) -> None:
    deep = b'{"sub":"s-1","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    large = b'{"sub":"s-1","a":"' + b"x" * 9_000_000 + b'"}'
    bomb = {"content-encoding": "gzip"}
    for page in (
        httpx.Response(200, content=deep),
        httpx.Response(200, content=large),
        httpx.Response(200, stream=httpx.ByteStream(gzip.compress(b"{}")), headers=bomb),
        httpx.Response(200, content=b'{"sub":"s-1","name":"\\ud800"}'),
        httpx.Response(200, content=b"[]"),
        httpx.Response(302, headers={"location": "https://evil.example/"}),
        httpx.Response(500),
    ):
        rig.corp.pages["/me"] = page
        assert _try(rig, 1).status_code == 503
        assert "does not answer" in rig.why
    assert rig.person("grace") is None


def test_no_source_gives_the_groups_of_limens_own(rig: UpstreamWorld) -> None:
    rig.configure("corp", people={"rules": (ClaimRule("roles", group="{}"),)})
    listed = ["limen-admins", "LIMEN-ADMINS", "limen-operators", " limen-admins", "ｌimen-admins", "ok"]
    rig.corp.userinfo.update(groups=listed, roles=listed)
    assert rig.sign_in() == 303
    grace = rig.person("grace")
    assert grace is not None and grace.groups == ("ok",)


def test_a_prefix_keeps_a_providers_groups_apart(rig: UpstreamWorld) -> None:
    rig.configure("corp", people={"group_prefix": "corp/"})
    rig.corp.userinfo["groups"] = ["staff", "../staff", "limen-admins"]
    rig.sign_in()
    grace = rig.person("grace")
    assert grace is not None and grace.groups == ("corp/../staff", "corp/limen-admins", "corp/staff")


# --- down, slow, removed -----------------------------------------------------------------------------


def test_a_provider_that_is_down_is_said_and_others_go_on(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    callback = rig.callback(browser)
    rig.corp.down = True
    answer = browser.get(callback)
    assert answer.status_code == 503 and "corp" in answer.text
    assert "does not answer" in rig.why
    assert rig.sign_in("partner") == 303
    assert rig.world.browser().sign_in("ada").status_code == 303


def test_a_provider_that_never_was_up_is_not_asked_by_every_stranger(rig: UpstreamWorld) -> None:
    rig.corp.down = True
    for n in range(10):
        assert rig.world.browser(f"198.51.100.{n}").get("/oidc/corp/start").status_code == 503
    assert sum(rig.corp.asked.values()) == 1
    rig.corp.down = False
    rig.world.clock.advance(6)
    assert rig.sign_in() == 303


def test_u7_a_provider_that_is_removed_takes_its_sessions_and_its_groups_with_it(rig: UpstreamWorld) -> None:
    rig.sign_in("corp")
    rig.partner.userinfo["preferred_username"] = "helen"
    rig.sign_in("partner")
    rig.world.browser().sign_in("ada")
    assert rig.world.parts.upstream_logout.sweep() == 0
    rig.remove("corp")
    assert rig.world.parts.upstream_logout.sweep() == 1
    assert (rig.live("grace"), rig.live("helen"), rig.live("ada")) == (0, 1, 1)
    grace = rig.person("grace")
    assert grace is not None and grace.groups == (), "they may come in another way, without its groups"
    helen = rig.person("helen")
    assert helen is not None and helen.groups == ("staff",)
    ended = [event for event in rig.world.events if event.kind == "session.ended"]
    assert (
        ended[-1].data["person"] == "grace" and ended[-1].reason == "its provider is not configured any more"
    )


def test_a_session_that_was_raised_here_ends_with_its_provider_nevertheless(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    rig.sign_in("corp", browser)
    session = rig.world.parts.sessions.list_live("grace")[0][0]
    from limen.administrator.session_values import Proof
    from limen.information.identity.assurance import Assurance

    with rig.world.parts.desk.ledger.entry("grace", "raise") as entry:
        proof = Proof(("passkey",), Assurance(2, phishing_resistant=True), entry.tx.now)
        rig.world.parts.sessions.raise_to(entry, session, proof)
    rig.remove("corp")
    assert rig.world.parts.upstream_logout.sweep() == 1


def test_a_flow_of_a_provider_that_was_removed_leads_nowhere(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    callback = rig.callback(browser)
    rig.remove("corp")
    assert browser.get(callback).status_code == 404
    assert browser.cookie("__Host-limen") is None


def test_a_secret_that_is_not_stored_is_the_operators_to_know(rig: UpstreamWorld) -> None:
    from limen.core.errors import NotFound

    def missing(name: str) -> Any:
        raise NotFound(f"There is no secret named {name!r}.")

    rig.world.parts.upstream._secret = missing
    browser = rig.world.browser()
    _refused(rig, browser.get(rig.callback(browser)), "client secret")


# --- linking from the account page -------------------------------------------------------------------


def _link(rig: UpstreamWorld, browser: Any, provider: str = "corp") -> httpx.Response:
    page = browser.get("/account/providers")
    csrf = browser.form(page)["csrf"]
    return browser.post("/account/providers/link", {"csrf": csrf, "provider": provider})


def _onward(answer: httpx.Response) -> str:
    import html
    import re

    found = re.search(r'content="0;url=([^"]+)"', answer.text)
    assert found is not None, answer.text
    return html.unescape(found[1])


def test_somebody_who_is_signed_in_links_a_second_way_in(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    browser.sign_in("ada")
    callback = rig.corp.authorize(_onward(_link(rig, browser)))
    assert browser.get(callback).headers["location"] == "/account/providers"
    assert rig.links("ada") == ("oidc:corp s-1",)
    assert "s-1" in browser.get("/account/providers").text
    assert rig.sign_in("corp") == 303
    assert rig.live("ada") == 2 and rig.person("grace") is None
    ada = rig.person("ada")
    assert ada is not None and ada.name == "Ada", "who keeps a person says their name"


def test_linking_wants_a_fresh_sign_in_and_our_own_form(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    browser.sign_in("ada")
    assert browser.post("/account/providers/link", {"provider": "corp"}).status_code == 403
    rig.world.clock.advance(1_000)
    answer = _link(rig, browser)
    assert answer.is_redirect and answer.headers["location"].startswith("/login/step-up")
    assert rig.links("ada") == ()


def test_a_linking_that_comes_back_to_another_person_or_to_nobody_links_nothing(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    browser.sign_in("ada")
    callback = rig.corp.authorize(_onward(_link(rig, browser)))
    browser.http.cookies.delete("__Host-limen")
    _refused(rig, browser.get(callback), "not signed in here")
    rig.world.add("eve")
    browser = rig.world.browser()
    browser.sign_in("ada")
    callback = rig.corp.authorize(_onward(_link(rig, browser)))
    flow = browser.cookie("__Host-limen-signin")
    eve = rig.world.browser("192.0.2.66")
    eve.sign_in("eve")
    eve.http.cookies.set("__Host-limen-signin", flow or "", domain="auth.limen.localhost", path="/")
    _refused(rig, eve.get(callback), "not signed in here")
    assert rig.links("ada") == rig.links("eve") == ()


def test_an_account_that_is_somebodys_is_not_linked_again(rig: UpstreamWorld) -> None:
    rig.sign_in("corp")
    browser = rig.world.browser()
    browser.sign_in("ada")
    callback = rig.corp.authorize(_onward(_link(rig, browser)))
    _refused(rig, browser.get(callback), "somebody's already")
    assert rig.links("ada") == () and rig.links("grace") == ("oidc:corp s-1",)


def test_u8_a_provider_of_partners_is_not_linked_to_an_employee(rig: UpstreamWorld) -> None:
    rig.configure("partner", people={"kind": Kind.PARTNER, "sponsor": "ada", "group_prefix": "p/"})
    browser = rig.world.browser()
    browser.sign_in("ada")
    assert _link(rig, browser, "partner").status_code == 404
    assert _link(rig, browser, "nothing").status_code == 404


def test_u9_the_last_way_in_stays(rig: UpstreamWorld) -> None:
    rig.corp.claims["auth_time"] = int(rig.world.clock.now())
    browser = rig.world.browser()
    rig.sign_in("corp", browser)
    page = browser.get("/account/providers")
    csrf = browser.form(page)["csrf"]
    form = {"csrf": csrf, "source": "oidc:corp", "subject": "s-1"}
    assert browser.post("/account/providers/unlink", form).status_code == 409
    assert rig.links("grace") == ("oidc:corp s-1",)
    assert browser.post("/account/providers/unlink", {**form, "subject": "s-2"}).status_code == 404


def test_unlinking_ends_what_came_through_it(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    browser.sign_in("ada")
    browser.get(rig.corp.authorize(_onward(_link(rig, browser))))
    rig.sign_in("corp")
    csrf = browser.form(browser.get("/account/providers"))["csrf"]
    form = {"csrf": csrf, "source": "oidc:corp", "subject": "s-1"}
    assert browser.post("/account/providers/unlink", form).status_code == 303
    assert rig.live("ada") == 1 and rig.links("ada") == ()


def test_a_suspended_persons_link_opens_nothing(rig: UpstreamWorld) -> None:
    from limen.core.entities import Status

    rig.sign_in("corp")
    with rig.world.store.transaction("t", "t") as tx:
        directory.update_person(tx, "grace", status=Status.SUSPENDED)
    browser = rig.world.browser("192.0.2.9")
    _refused(rig, browser.get(rig.callback(browser)), "inactive")

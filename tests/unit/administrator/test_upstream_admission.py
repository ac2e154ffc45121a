"""Admission: what people of a provider become here, and when their groups are known (laws U1 to U4)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from upstream_world import CORP, GRACE, UpstreamWorld, upstream_world

from limen.administrator.upstream_groups import settle_listed
from limen.administrator.upstream_names import (
    clean_email,
    clean_name,
    derive_username,
    is_reserved,
    map_groups,
)
from limen.core.entities import Kind, Status
from limen.core.identity_config import AssuranceRule, ClaimRule
from limen.core.ids import Instant
from limen.store import directory, identities
from limen.store.tables import change

DAY_S = 86_400.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[UpstreamWorld]:
    with upstream_world(tmp_path) as made:
        yield made


def _grace(rig: UpstreamWorld) -> directory.Person:
    found = rig.person("grace")
    assert found is not None
    return found


def _notes(rig: UpstreamWorld, kind: str) -> list[dict[str, Any]]:
    return [dict(event.data) for event in rig.world.events if event.kind == kind]


# --- just in time --------------------------------------------------------------------------------------


def test_people_are_made_as_the_providers_rules_say(rig: UpstreamWorld) -> None:
    people = {
        "kind": Kind.PARTNER,
        "sponsor": "ada",
        "expires_s": 30 * DAY_S,
        "group_prefix": "corp/",
        "rules": (
            ClaimRule("team", "red*", group="reds"),
            ClaimRule("dept", attribute="department"),
            ClaimRule("level", attribute="undeclared"),
        ),
    }
    rig.configure("corp", people=people)
    rig.corp.userinfo.update(team=["red-1", "blue"], dept="R&D", level=3)
    assert rig.sign_in() == 303
    grace = _grace(rig)
    assert (grace.kind, grace.sponsor, grace.source) == (Kind.PARTNER, "ada", "oidc:corp")
    assert grace.expires_at == rig.world.clock.now() + 30 * DAY_S
    assert grace.groups == ("corp/staff", "reds")
    assert grace.attributes == {"department": "R&D"}
    assert _notes(rig, "identity.linked") == [{"source": "oidc:corp", "by": "oidc:corp"}]


def test_a_provider_that_makes_nobody_lets_in_only_who_is_linked(rig: UpstreamWorld) -> None:
    rig.configure("corp", people={"create": False})
    assert rig.sign_in() == 403 and rig.why == "unknown"
    with rig.world.store.transaction("t", "t") as tx:
        identities.link_identity(tx, "oidc:corp", "s-1", "ada")
    assert rig.sign_in() == 303
    assert rig.live("ada") == 1


@pytest.mark.parametrize("gone", ["suspended", "nobody"])
def test_nobody_is_made_whose_sponsor_is_not_here(rig: UpstreamWorld, gone: str) -> None:
    sponsor = "ada" if gone == "suspended" else "zoe"
    rig.configure("corp", people={"kind": Kind.PARTNER, "sponsor": sponsor, "group_prefix": "c/"})
    with rig.world.store.transaction("t", "t") as tx:
        directory.update_person(tx, "ada", status=Status.SUSPENDED)
    assert rig.sign_in() == 403 and "sponsor" in rig.why
    assert rig.person("grace") is None


def test_what_the_provider_says_follows_it_and_what_others_keep_stays(rig: UpstreamWorld) -> None:
    rig.configure("corp", people={"rules": (ClaimRule("dept", attribute="department"),)})
    rig.corp.userinfo["dept"] = "R&D"
    rig.sign_in()
    with rig.world.store.transaction("t", "t") as tx:
        directory.update_person(tx, "grace", attributes={"department": "R&D", "title": "Admiral"})
    rig.corp.userinfo.update(name="Grace B. Hopper", email="gbh@corp.example")
    del rig.corp.userinfo["dept"]
    rig.sign_in()
    grace = _grace(rig)
    assert (grace.name, grace.email, grace.attributes) == (
        "Grace B. Hopper",
        "gbh@corp.example",
        {"title": "Admiral"},
    )
    with rig.world.store.transaction("t", "t") as tx:
        directory.update_person(tx, "grace", source="scim:hr", name="G. Hopper")
    rig.sign_in()
    assert _grace(rig).name == "G. Hopper"


def test_an_unchanged_person_makes_no_change_of_the_feed(rig: UpstreamWorld) -> None:
    def changes() -> int:
        with rig.world.store.read() as connection:
            about = (change.c.kind == "person") & (change.c.id == "grace")
            return connection.scalar(select(func.count()).select_from(change).where(about)) or 0

    rig.sign_in()
    before = changes()
    rig.sign_in()
    assert changes() == before


def test_u2_the_id_of_another_source_links_and_no_name_does(rig: UpstreamWorld) -> None:
    """SCIM has provisioned `g.hopper` under the id that the provider's tokens carry as `oid`."""
    rig.configure("corp", people={"create": False, "link_source": "scim:entra", "link_claim": "oid"})
    with rig.world.store.transaction("scim", "t") as tx:
        directory.create_person(tx, "g.hopper", name="Grace", source="scim:entra")
        identities.link_identity(tx, "scim:entra", "0f-17", "g.hopper")
    for oid in (None, "0f-18", "g.hopper", ["0f-17", "0f-18"], {"0f-17": 1}):
        rig.corp.claims["oid"] = oid
        assert rig.sign_in() == 403 and rig.why == "unknown"
    rig.corp.claims["oid"] = "0f-17"
    assert rig.sign_in() == 303
    assert rig.live("g.hopper") == 1
    assert rig.links("g.hopper") == ("oidc:corp s-1", "scim:entra 0f-17")
    rig.corp.claims["oid"] = None
    assert rig.sign_in() == 303, "from then on it is linked by its own subject"


# --- groups: listed, pointed to, unknown -----------------------------------------------------------------

OVERAGE: tuple[dict[str, Any], ...] = (
    {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://evil.example/g"}}},
    {"hasgroups": True},
    {"hasgroups": "true"},
    {"groups": {"staff": 1}},
)


def test_u4_groups_that_are_only_pointed_to_are_unknown(rig: UpstreamWorld) -> None:
    for said in OVERAGE:
        rig.corp.userinfo = {**GRACE, "groups": None, **said}
        assert rig.sign_in() == 303, "the person is in, and denied by the engine until the groups are known"
        assert _grace(rig).groups_unknown == "oidc:corp"
        assert _grace(rig).fact.groups_unknown == "oidc:corp", "gateways know it"
        assert _grace(rig).groups == (), "what was listed before does not stay"
        assert _notes(rig, "identity.groups_unknown")[-1]["why"]
        rig.corp.userinfo = dict(GRACE)
        assert rig.sign_in() == 303
        assert (_grace(rig).groups_unknown, _grace(rig).groups) == ("", ("staff",))


def test_a_pointer_is_never_followed_as_it_stands(rig: UpstreamWorld) -> None:
    """What the token names would be handed the access token."""
    rig.corp.userinfo.update(OVERAGE[0])
    del rig.corp.userinfo["groups"]
    asked = []
    network = rig.world.parts.upstream._transport
    assert network is not None
    handle = network.handle_request

    def watch(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return handle(request)

    network.handle_request = watch  # type: ignore[method-assign]
    rig.sign_in()
    assert set(asked) == {"idp.corp.example"}


def test_u4_scim_that_lists_the_person_makes_the_groups_known(rig: UpstreamWorld) -> None:
    rig.corp.userinfo["hasgroups"] = True
    rig.sign_in()
    ledger, catalogue = rig.world.parts.desk.ledger, rig.world.catalogue
    assert settle_listed(ledger, catalogue) == 0
    with rig.world.store.transaction("scim", "t") as tx:
        directory.sync_memberships(tx, "grace", "scim:entra", {"engineers"})
    assert settle_listed(ledger, catalogue) == 1
    assert (_grace(rig).groups_unknown, _grace(rig).groups) == ("", ("engineers",))
    rig.sign_in()
    assert _grace(rig).groups_unknown == "", "the same pointer, and somebody who lists"


def test_groups_that_another_source_lists_are_unknown_until_that_source_has(rig: UpstreamWorld) -> None:
    rig.configure(
        "corp", people={"groups_from": "ldap:hq", "rules": (ClaimRule("vip", "true", group="vips"),)}
    )
    rig.corp.userinfo["vip"] = True
    rig.sign_in()
    assert (_grace(rig).groups_unknown, _grace(rig).groups) == ("oidc:corp", ("vips",))
    assert "ldap:hq" in _notes(rig, "identity.groups_unknown")[-1]["why"]
    with rig.world.store.transaction("scim", "t") as tx:
        directory.sync_memberships(tx, "grace", "scim:other", {"x"})
    assert settle_listed(rig.world.parts.desk.ledger, rig.world.catalogue) == 0, (
        "not the source that is named"
    )
    with rig.world.store.transaction("ldap", "t") as tx:
        identities.link_identity(tx, "ldap:hq", "uuid-1", "grace")
    assert rig.world.parts.upstream_logout.sweep() == 0
    assert _grace(rig).groups_unknown == "", "listed, though in no group"


def _endpoint(rig: UpstreamWorld, **more: Any) -> None:
    rig.configure("corp", groups_endpoint=f"{CORP}/memberOf", **more)
    rig.corp.userinfo["hasgroups"] = True


def test_groups_come_from_the_endpoint_that_the_bundle_names(rig: UpstreamWorld) -> None:
    _endpoint(rig)
    first = {"value": [{"id": "g-1"}, {"id": "g-2"}, "g-3"], "@odata.nextLink": f"{CORP}/memberOf/2"}
    rig.corp.pages["/memberOf"] = httpx.Response(200, json=first)
    rig.corp.pages["/memberOf/2"] = httpx.Response(200, json={"value": [{"id": "g-4"}, {"other": 1}, 7]})
    rig.sign_in()
    assert (_grace(rig).groups, _grace(rig).groups_unknown) == (("g-1", "g-2", "g-3", "g-4"), "")
    _endpoint(rig, groups_field="displayName", people={"groups_from": "endpoint"})
    rig.corp.pages["/memberOf"] = httpx.Response(200, json={"value": [{"id": "g-1", "displayName": "Staff"}]})
    rig.sign_in()
    assert _grace(rig).groups == ("Staff",)


def test_an_endpoint_that_fails_lies_or_leads_elsewhere_leaves_them_unknown(rig: UpstreamWorld) -> None:
    _endpoint(rig)
    for page, why in (
        (httpx.Response(403), "does not answer"),
        (httpx.Response(200, json={"value": 7}), "no list"),
        (httpx.Response(200, json={"value": [], "@odata.nextLink": "https://evil.example/"}), "elsewhere"),
        (httpx.Response(200, json={"value": [], "@odata.nextLink": 7}), "elsewhere"),
        (httpx.Response(200, json={"value": [], "@odata.nextLink": f"{CORP}/memberOf"}), "no end"),
    ):
        rig.corp.pages["/memberOf"] = page
        assert rig.sign_in() == 303
        assert _grace(rig).groups_unknown == "oidc:corp"
        assert why in _notes(rig, "identity.groups_unknown")[-1]["why"]


def test_a_provider_that_is_gone_has_nothing_more_to_list(rig: UpstreamWorld) -> None:
    rig.corp.userinfo["hasgroups"] = True
    rig.sign_in()
    rig.remove("corp")
    rig.world.parts.upstream_logout.sweep()
    assert _grace(rig).groups_unknown == ""


def test_one_provider_does_not_answer_for_the_groups_of_another(rig: UpstreamWorld) -> None:
    rig.corp.userinfo["hasgroups"] = True
    rig.sign_in()
    with rig.world.store.transaction("t", "t") as tx:
        identities.link_identity(tx, "oidc:partner", "s-1", "grace")
    assert rig.sign_in("partner") == 303
    assert _grace(rig).groups_unknown == "oidc:corp"


# --- assurance --------------------------------------------------------------------------------------------


def _aal(rig: UpstreamWorld, **claims: Any) -> tuple[int, bool]:
    rig.corp.claims = claims
    rig.world.parts.sessions.end_person("grace", actor="t", why="t", event=_revoke())
    assert rig.sign_in() == 303
    session = rig.world.parts.sessions.list_live("grace")[0][0]
    return session.aal, session.phishing_resistant


def _revoke() -> Any:
    from limen.administrator.session_life import SessionEvent

    return SessionEvent.REVOKE


def test_what_amr_and_acr_are_worth_is_a_table_per_provider(rig: UpstreamWorld) -> None:
    rig.sign_in()
    rig.configure(
        "corp",
        amr={"hwk": AssuranceRule(3, phishing_resistant=True), "otp": AssuranceRule(2)},
        acr={"gold": AssuranceRule(2)},
    )
    assert _aal(rig, amr=["hwk"]) == (3, True)
    assert _aal(rig, amr=["pwd", "otp"]) == (2, False)
    assert _aal(rig, acr="gold") == (2, False)
    assert _aal(rig, amr=["mfa"], acr="phr") == (1, False), "its own table stands in place of the common one"
    assert _aal(rig, amr=["HWK", "unknown"], acr=["gold"]) == (1, False), "unknown means AAL 1"
    assert _aal(rig) == (1, False)


def test_a_step_up_asks_for_the_providers_own_acr_values(rig: UpstreamWorld) -> None:
    rig.configure("corp", step_up={"second-factor": ("gold", "silver")}, acr={"gold": AssuranceRule(2)})
    browser = rig.world.browser()
    assert "acr_values" not in rig.sent(browser)
    rig.sign_in("corp", browser)
    rig.world.clock.advance(100)
    page = browser.get(browser.get(browser.authorize_url(need="second-factor")).headers["location"])
    assert page.headers["location"].startswith("/oidc/corp/start")
    sent = browser.get(page.headers["location"]).headers["location"]
    assert "acr_values=gold+silver" in sent
    rig.corp.claims["acr"] = "gold"
    done = browser.get(rig.corp.authorize(sent))
    assert "/.limen/callback" in done.headers["location"]
    assert rig.world.parts.sessions.list_live("grace")[0][0].aal == 2


# --- the sign-in page -------------------------------------------------------------------------------------


def test_the_domain_of_a_name_leads_to_its_provider(rig: UpstreamWorld) -> None:
    rig.configure("corp", title="Corp <ID>", people={"domains": ("corp.example",)})
    browser = rig.world.browser()
    page = browser.get("/login")
    assert 'name="password"' not in page.text and "/oidc/partner/start" in page.text
    assert "/oidc/corp/start" not in page.text, "who has a domain is found by it"
    onward = browser.submit(page, {"username": "Grace@Corp.Example"})
    assert "Corp &lt;ID&gt;" in onward.text and "url=/oidc/corp/start?hint=" in onward.text
    sent = browser.get("/oidc/corp/start?hint=Grace%40Corp.Example").headers["location"]
    assert "login_hint=Grace%40Corp.Example" in sent
    for name in (
        "ada",
        "x@evil.example",
        "x@evil.example@corp.example",
        "x@sub.corp.example",
        "x@сorp.example",
    ):
        asked = browser.submit(browser.get("/login"), {"username": name})
        assert 'name="password"' in asked.text and 'content="0;url=' not in asked.text


def test_a_password_is_asked_for_on_demand_and_works_at_once(rig: UpstreamWorld) -> None:
    rig.configure("corp", people={"domains": ("corp.example",)})
    browser = rig.world.browser()
    page = browser.get("/login?ask=password")
    assert 'name="password"' in page.text
    browser.submit(page, {"username": "ada", "password": "orchid-lantern-quarry-7"})
    assert browser.get("/login/code").status_code == 200


# --- names, pure ------------------------------------------------------------------------------------------


def test_names_are_made_fit() -> None:
    assert derive_username("Grace Hopper") == "grace-hopper"
    assert derive_username("corp\\grace@corp.example") == "corp-grace@corp.example"
    assert derive_username("") == derive_username("…") == ""
    assert clean_name(" Grace\u202e\r\nHopper ") == "GraceHopper"
    assert clean_email("Grace@CORP.Example") == "Grace@corp.example"
    assert clean_email("x" * 65 + "@corp.example") == ""
    assert clean_email("a b@corp.example") == clean_email("a@-corp.example") == clean_email("a@b..c") == ""
    assert map_groups(["b", " a ", "b", "", "\x00"], "") == ("a", "b")
    assert is_reserved("ʟimen-admins") is False and is_reserved("LIMEN-x") is True


def test_a_subject_is_bound(rig: UpstreamWorld) -> None:
    rig.corp.claims["sub"] = rig.corp.userinfo["sub"] = "x" * 255
    assert rig.sign_in() == 303
    moment: Instant = rig.world.clock.now()
    assert _grace(rig).signed_in_at == moment

"""Attacks by a provider itself: it speaks for people and addresses that are not its own."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from upstream_world import UpstreamWorld, upstream_world

from limen.core.entities import Kind
from limen.store import directory, identities

PARTNER = {"kind": Kind.PARTNER, "sponsor": "ada", "group_prefix": "p/"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[UpstreamWorld]:
    with upstream_world(tmp_path) as made:
        yield made


def _email(rig: UpstreamWorld, username: str) -> str:
    found = rig.person(username)
    assert found is not None
    return found.email


def test_a_provider_of_some_domains_gives_no_address_of_others_once_its_people_are_in(
    rig: UpstreamWorld,
) -> None:
    rig.configure("partner", people={"domains": ("partner.example",)})
    assert rig.sign_in("partner") == 303
    assert _email(rig, "grace") == "grace@partner.example"
    rig.partner.userinfo["email"] = "ceo@corp.example"
    assert rig.sign_in("partner") == 303
    assert _email(rig, "grace") == "", "apps believe addresses: this one is nobody's to give here"


def test_an_address_of_a_domain_that_another_provider_has_is_that_providers_to_give(
    rig: UpstreamWorld,
) -> None:
    rig.configure("corp", people={"domains": ("corp.example",)})
    rig.partner.userinfo["email"] = "ceo@corp.example"
    assert rig.sign_in("partner") == 303
    assert _email(rig, "grace") == ""


def test_a_partners_provider_does_not_give_the_address_of_somebody_else_here(rig: UpstreamWorld) -> None:
    with rig.world.store.transaction("test", "ceo") as tx:
        directory.create_person(tx, "ceo", email="ceo@corp.example")
    rig.configure("partner", people=PARTNER)
    for address in ("ceo@corp.example", "CEO@corp.example"):
        rig.partner.userinfo["email"] = address
        assert rig.sign_in("partner") == 303
        assert _email(rig, "grace") == ""
    rig.partner.userinfo["email"] = "grace@partner.example"
    assert rig.sign_in("partner") == 303
    assert _email(rig, "grace") == "grace@partner.example"
    assert rig.sign_in("partner") == 303
    assert _email(rig, "grace") == "grace@partner.example", "their own is not somebody else's"


def test_a_partners_provider_signs_no_employee_in_by_the_id_of_a_directory(rig: UpstreamWorld) -> None:
    with rig.world.store.transaction("test", "listed") as tx:
        directory.create_person(tx, "boss", source="scim:hr")
        identities.link_identity(tx, "scim:hr", "e-1", "boss")
    rig.configure("partner", people={**PARTNER, "link_source": "scim:hr", "link_claim": "employee"})
    rig.partner.userinfo["employee"] = "e-1"
    assert rig.sign_in("partner") == 403
    assert rig.live("boss") == 0 and rig.links("boss") == ("scim:hr e-1",)
    assert "employee" in rig.why


def test_a_partner_who_was_hired_is_not_signed_in_by_the_partner_any_more(rig: UpstreamWorld) -> None:
    rig.configure("partner", people=PARTNER)
    assert rig.sign_in("partner") == 303
    with rig.world.store.transaction("test", "hired") as tx:
        directory.update_person(tx, "grace", kind=Kind.EMPLOYEE, sponsor=None)
    assert rig.sign_in("partner") == 403
    assert "employee" in rig.why


def test_an_account_that_is_unlinked_takes_what_it_gave_with_it(rig: UpstreamWorld) -> None:
    browser = rig.world.browser()
    browser.sign_in("ada")
    page = browser.get("/account/providers")
    sent = browser.post("/account/providers/link", {"csrf": browser.form(page)["csrf"], "provider": "corp"})
    found = re.search(r'url=(https://[^"]+)"', sent.text)
    assert found, sent.text
    browser.get(rig.corp.authorize(found.group(1).replace("&amp;", "&")))
    rig.sign_in("corp")
    ada = rig.person("ada")
    assert ada is not None and ada.groups == ("staff",)
    csrf = browser.form(browser.get("/account/providers"))["csrf"]
    form = {"csrf": csrf, "source": "oidc:corp", "subject": "s-1"}
    assert browser.post("/account/providers/unlink", form).status_code == 303
    ada = rig.person("ada")
    assert ada is not None and ada.groups == ()


ENDPOINTS = ("token_endpoint", "jwks_uri", "userinfo_endpoint")
HERE = ("http://127.0.0.1:9901", "https://localhost:9901", "https://[::1]:9901", "https://127.1", "https://[")


def test_a_provider_elsewhere_sends_limen_to_no_port_of_its_own_machine(rig: UpstreamWorld) -> None:
    for name, host in ((name, host) for name in ENDPOINTS for host in HERE):
        rig.partner.metadata = {name: f"{host}/quitquitquit"}
        rig.world.clock.advance(60)
        assert rig.world.browser().get("/oidc/partner/start").status_code == 503, (name, host)

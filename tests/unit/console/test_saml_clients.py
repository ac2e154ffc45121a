"""Apps that people sign in to through Limen by SAML: policy decides each, and each is told what its client says."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import saml_forger as forger
from defusedxml import ElementTree
from identity_world import Browser
from saml_forger import ACS, ASSERTION, PROTOCOL, SP
from saml_world import IDP, SSO, ClientWorld

pytestmark = pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed")


@pytest.fixture
def world(tmp_path: Path) -> ClientWorld:
    world = ClientWorld(tmp_path)
    for name in ("root", "ada", "bob"):
        world.add(name)
    world.join("ada", "staff")
    return world


def ask(world: ClientWorld, **more: Any) -> str:
    """Return where the app sends a browser."""
    return forger.redirect(SSO, forger.authn_request(world.clock.now(), SSO, **more), relay_state="deep/link")


def test_an_app_is_told_who_signed_in_and_no_more_than_its_client_says(world: ClientWorld) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    page = browser.follow(browser.get(ask(world)))
    url, fields, xml = world.answer(page)
    assert (url, fields["RelayState"]) == (ACS, "deep/link")
    assert "form-action" not in page.headers["content-security-policy"]
    root = ElementTree.fromstring(xml)
    assert root.attrib["InResponseTo"] == "_r1" and root.attrib["Destination"] == ACS
    one = root.find(f"{{{ASSERTION}}}Assertion")
    assert one is not None and one.findtext(f"{{{ASSERTION}}}Issuer") == IDP
    assert one.findtext(f".//{{{ASSERTION}}}NameID") == "ada"
    assert one.findtext(f".//{{{ASSERTION}}}Audience") == SP
    told = {
        attribute.attrib["Name"]: [value.text for value in attribute]
        for attribute in one.iter(f"{{{ASSERTION}}}Attribute")
    }
    assert told == {"mail": ["ada@limen.localhost"], "cn": ["Ada"], "groups": ["staff"]}


def test_a_stranger_signs_in_first_and_comes_back_to_the_app(world: ClientWorld) -> None:
    browser = world.browser()
    login = browser.follow(browser.get(ask(world)))
    assert "/login" in str(login.url)
    code = browser.follow(browser.submit(login, {"username": "ada", "password": "orchid-lantern-quarry-7"}))
    page = browser.follow(browser.submit(code, {"code": world.code("ada")}))
    assert world.answer(page)[0] == ACS
    again = browser.get(str(page.url))
    assert again.status_code == 403 and "SAMLResponse" not in again.text


def test_who_may_not_gets_a_page_that_explains_and_the_app_gets_nothing(world: ClientWorld) -> None:
    browser = world.browser()
    browser.sign_in("bob")
    page = browser.follow(browser.get(ask(world)))
    assert page.status_code == 403
    assert "The CRM" in page.text and "SAMLResponse" not in page.text
    decided = world.journal.records[-1]
    assert (decided.action, decided.resource, decided.allowed) == ("sign_in", 'Client::"crm"', False)


def test_a_second_factor_that_policy_asks_for_is_asked_for_on_the_way(world: ClientWorld) -> None:
    with world.store.transaction("test", "no second factor yet") as tx:
        del tx
    browser = world.browser()
    world.add("eve", with_totp=False)
    world.join("eve", "staff")
    browser.password("eve")
    page = browser.get(browser.get(ask(world)).headers["location"])
    assert page.headers["location"].startswith("/login/step-up?flow=")
    assert root_status(world, browser) is None


def root_status(world: ClientWorld, browser: Browser) -> str | None:
    """Return the status of a passive answer, or None when there was a page."""
    page = browser.follow(browser.get(ask(world)))
    if "SAMLResponse" not in page.text:
        return None
    found = ElementTree.fromstring(world.answer(page)[2]).find(f".//{{{PROTOCOL}}}StatusCode")
    return None if found is None else found.attrib["Value"]

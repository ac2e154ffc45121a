"""Apps that people sign in to through Limen by SAML: policy decides; each is told what its client says."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import saml_forger as forger
from defusedxml import ElementTree
from saml_forger import ACS, ASSERTION, PROTOCOL, SP
from saml_world import IDP, SSO, ClientWorld

from limen.core.saml_metadata import parse_idp
from limen.core.saml_xml import REDIRECT

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
    assert (decided.action, decided.resource) == ("sign_in", 'Client::"crm"')
    assert (decided.verdict, decided.point) == ("deny", "issue")


def test_a_second_factor_that_policy_asks_for_is_asked_for_on_the_way(world: ClientWorld) -> None:
    world.add("eve", with_totp=False)
    world.join("eve", "staff")
    browser = world.browser()
    browser.password("eve")
    on_the_way = browser.get(browser.get(ask(world)).headers["location"])
    assert on_the_way.headers["location"].startswith("/login/step-up?flow=")


PASSIVE, FORCE = 'IsPassive="true"', 'ForceAuthn="true"'


def policy(name: str) -> str:
    """Return what an app writes to be told a name of a format."""
    return f'<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:{name}"/>'


def wanted(context: str) -> str:
    """Return what an app writes to be sure."""
    return (
        "<samlp:RequestedAuthnContext><saml:AuthnContextClassRef>"
        f"{context}</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>"
    )


NONE: tuple[tuple[str, dict[str, str], str], ...] = (
    ("", {"more": PASSIVE}, "NoPassive"),
    ("ada", {"more": PASSIVE}, "Success"),
    ("bob", {"more": PASSIVE}, "RequestDenied"),
    ("ada", {"inside": wanted("urn:oasis:names:tc:SAML:2.0:ac:classes:X509")}, "NoAuthnContext"),
    ("ada", {"inside": wanted("https://refeds.org/profile/mfa")}, "Success"),
    ("ada", {"inside": policy("1.1:nameid-format:emailAddress")}, "InvalidNameIDPolicy"),
)


def test_an_app_is_told_why_there_is_no_assertion(world: ClientWorld) -> None:
    browsers = {person: world.browser() for person in ("", "ada", "bob")}
    for person in ("ada", "bob"):
        browsers[person].sign_in(person)
    for person, more, status in NONE:
        url, _, xml = world.answer(browsers[person].follow(browsers[person].get(ask(world, **more))))
        codes = list(ElementTree.fromstring(xml).iter(f"{{{PROTOCOL}}}StatusCode"))
        assert (url, codes[-1].attrib["Value"].rpartition(":")[2]) == (ACS, status)
        assert ("<saml:Assertion" in xml) == (status == "Success")


def test_si3_a_request_can_make_the_name_mean_less(world: ClientWorld) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    names = []
    for kind in ("persistent", "persistent", "transient", "transient"):
        more = policy(f"2.0:nameid-format:{kind}")
        xml = world.answer(browser.follow(browser.get(ask(world, inside=more))))[2]
        names.append(ElementTree.fromstring(xml).findtext(f".//{{{ASSERTION}}}NameID"))
    assert names[0] == names[1] and len(set(names)) == 3
    assert not any("ada" in str(name) for name in names)


def test_an_app_can_ask_for_a_fresh_sign_in(world: ClientWorld) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    world.clock.advance(120)
    step_up = browser.follow(browser.get(ask(world, more=FORCE)))
    assert "/login/step-up" in str(step_up.url)
    typed = {"password": "orchid-lantern-quarry-7", "code": world.code("ada"), "method": "totp"}
    page = browser.follow(browser.submit(step_up, typed))
    assert world.answer(page)[0] == ACS


def test_an_app_signs_people_out_of_all_that_the_session_opened(tmp_path: Path) -> None:
    app = forger.party("app")
    world = ClientWorld(tmp_path, forger.sp_metadata(app))
    for name in ("root", "ada"):
        world.add(name)
    world.join("ada", "staff")
    browser = world.browser()
    browser.sign_in("ada")
    xml = world.answer(browser.follow(browser.get(ask(world))))[2]
    statement = ElementTree.fromstring(xml).find(f".//{{{ASSERTION}}}AuthnStatement")
    assert statement is not None
    logout = f"{SSO.removesuffix('sso')}logout"
    request = forger.logout_request(
        world.clock.now(), logout, issuer=SP, name_id="ada", index=statement.attrib["SessionIndex"]
    )
    answer = world.browser().get(forger.redirect(logout, request, who=app))
    assert answer.headers["location"].startswith(f"{ACS}/slo?SAMLResponse=")
    assert browser.get("/account").is_redirect


def test_the_metadata_is_for_systems_that_have_such_apps(world: ClientWorld) -> None:
    found = parse_idp(world.browser().get("/saml-idp/metadata").text)
    assert (found.entity_id, found.sso[REDIRECT]) == (IDP, SSO)
    files = {name: text for name, text in world.files.items() if name != "crm.xml"}
    world.apply({**files, "limen.yaml": "domain: limen.localhost\n"})
    assert world.browser().get("/saml-idp/metadata").status_code == 404

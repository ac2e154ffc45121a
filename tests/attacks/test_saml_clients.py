"""Attacks on Limen as a SAML identity provider: nothing leaves for anybody but the app, and once."""

import shutil
import zlib
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import saml_forger as forger
from identity_world import AUTH
from saml_forger import ACS
from saml_world import SSO, ClientWorld

pytestmark = pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed")

APP = forger.party("app")
LOGOUT = f"{AUTH}/saml-idp/logout"


@pytest.fixture
def world(tmp_path: Path) -> ClientWorld:
    world = ClientWorld(tmp_path, forger.sp_metadata(APP, signed=True))
    for name in ("root", "ada"):
        world.add(name)
    world.join("ada", "staff")
    return world


def ask(world: ClientWorld, *, who: forger.Party | None = APP, algorithm: str = forger.RSA_SHA256,
        late_s: float = 0.0, destination: str = SSO, **more: str) -> str:  # fmt: skip
    request = forger.authn_request(world.clock.now() - late_s, destination, **more)
    return forger.redirect(SSO, request, relay_state="r", who=who, algorithm=algorithm)


def why(world: ClientWorld) -> str:
    return str(next(event for event in reversed(world.events) if event.kind == "saml.refused").data["why"])


def test_a_request_that_the_app_has_signed_is_taken(world: ClientWorld) -> None:
    assert world.browser().get(ask(world)).is_redirect


NOT_LISTED = "it wants the answer at an address that is not in its metadata"
WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"who": None}, "it is not signed"),
    ({"who": forger.party("mallory")}, "its signature is by none of the keys of the metadata"),
    ({"algorithm": forger.RSA_SHA1}, "it is signed by an algorithm that does not count"),
    ({"issuer": "https://mallory.example"}, "it is from an app that is not in the bundle"),
    ({"destination": "https://other.example/sso"}, "it is meant for another address"),
    ({"late_s": 900.0}, "it was not made within the last minutes"),
    ({"late_s": -90.0}, "it was not made within the last minutes"),
    ({"more": 'AssertionConsumerServiceURL="https://mallory.example/acs"'}, NOT_LISTED),
    ({"more": f'AssertionConsumerServiceURL="{ACS}/../evil"'}, NOT_LISTED),
    ({"more": 'AssertionConsumerServiceIndex="7"'}, NOT_LISTED),
    ({"inside": "<saml:Subject/>"}, "it asks for a person by name"),
)


def test_v1_a_request_that_does_not_hold_is_refused_before_anybody_signs_in(world: ClientWorld) -> None:
    for changes, said in WRONG:
        refused = world.browser().get(ask(world, **changes))
        assert (refused.status_code, why(world)) == (403, said)
        assert said not in refused.text


def test_a_bomb_is_not_inflated(world: ClientWorld) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"<a>" + b" " * 20_000_000) + packer.flush()
    answer = world.browser().get(f"{SSO}?SAMLRequest={quote(b64encode(packed).decode())}")
    assert answer.status_code == 403


def test_rubbish_is_refused(world: ClientWorld) -> None:
    for query in ("", "SAMLRequest=", "SAMLRequest=!!", "SAMLRequest=AAAA", "SAMLResponse=AAAA",
                  "SAMLRequest=AA&SAMLRequest=BB"):  # fmt: skip
        assert world.browser().get(f"{SSO}?{query}").status_code == 403


def test_entities_in_a_request_reach_nothing(world: ClientWorld) -> None:
    request = forger.authn_request(world.clock.now(), SSO, issuer="&x;")
    hostile = f'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>{request}'
    assert world.browser().get(forger.redirect(SSO, hostile, who=APP)).status_code == 403
    assert why(world) == "it has a document type or an entity"


def test_a_request_is_answered_once_and_not_for_a_bundle_that_forgot_the_app(world: ClientWorld) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    waiting = browser.get(ask(world)).headers["location"]
    assert "SAMLResponse" in browser.get(waiting).text
    assert browser.get(waiting).status_code == 403
    later = browser.get(ask(world)).headers["location"]
    moved = forger.sp_metadata(APP, signed=True, acs="https://elsewhere.example/acs")
    world.apply({**world.files, "crm.xml": moved})
    assert "SAMLResponse" not in browser.get(later).text


def test_si1_a_session_that_ended_gets_nothing_any_more(world: ClientWorld) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    waiting = browser.get(ask(world)).headers["location"]
    page = browser.get("/logout")
    browser.submit(page, {})
    assert browser.get(waiting).headers["location"].startswith("/login?flow=")


def test_a_forged_logout_ends_no_session(world: ClientWorld) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    browser.follow(browser.get(ask(world)))
    for who, name in ((None, "ada"), (forger.party("mallory"), "ada"), (APP, "root")):
        request = forger.logout_request(world.clock.now(), LOGOUT, issuer=forger.SP, name_id=name)
        world.browser().get(forger.redirect(LOGOUT, request, who=who))
        assert browser.get("/account").status_code == 200

"""Signing in through a SAML provider: there, back, out."""

import shutil
from pathlib import Path

import msgspec
import pytest
import saml_forger as forger
from identity_world import AUTH
from saml_world import CORP, SamlWorld

from limen.core.identity_config import AssuranceRule
from limen.core.saml_metadata import parse_sp
from limen.store import directory

pytestmark = pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed")

LOGOUT = f"{AUTH}/saml/corp/logout"


@pytest.fixture
def world(tmp_path: Path) -> SamlWorld:
    world = SamlWorld(tmp_path)
    world.add("root")
    return world


def test_a_person_is_made_at_the_first_sign_in_and_found_at_the_second(world: SamlWorld) -> None:
    said = {
        "name_id": "Ada.Lovelace",
        "attributes": {"displayName": ("Ada",), "groups": ("staff", "limen-admins")},
    }
    answer = world.sign_in(world.browser(), **said)
    assert answer.headers["location"] == "/", world.why()
    with world.store.read() as connection:
        person = directory.get_person(connection, "ada.lovelace")
    assert (person.name, person.source, person.groups) == ("Ada", "saml:corp", ("staff",))
    world.sign_in(world.browser(), **said, ident="_another")
    with world.store.read() as connection:
        assert len(directory.list_people(connection)) == 2


def test_the_login_page_offers_the_provider_by_its_title(world: SamlWorld) -> None:
    page = world.browser().get("/login").text
    assert "/saml/corp/start" in page and "Corp" in page


def test_a_table_says_what_a_context_is_worth_and_what_it_does_not_name_is_worth_aal_1(
    world: SamlWorld,
) -> None:
    world.use(msgspec.structs.replace(CORP, contexts={"urn:corp:smartcard": AssuranceRule(3, True)}))
    for number, context in enumerate(("urn:corp:smartcard", "https://refeds.org/profile/mfa")):
        world.sign_in(world.browser(), context=context, ident=f"_a{number}")
    signed_in = [event.data["aal"] for event in world.events if event.kind == "sign_in.succeeded"]
    assert signed_in == [3, 1]


def test_a_step_up_asks_the_provider_for_what_would_do_and_for_a_fresh_sign_in(world: SamlWorld) -> None:
    browser = world.browser()
    world.sign_in(browser)
    world.clock.advance(61)  # what the provider has just said it would say again
    page = browser.follow(browser.get(browser.authorize_url(need="second-factor")))
    sent = forger.read_request(page.headers["location"])
    assert sent.contexts == (
        "http://schemas.microsoft.com/claims/multipleauthn",
        "https://refeds.org/profile/mfa",
    )
    world.clock.advance(3600 - 60)
    page = browser.follow(browser.get(browser.authorize_url(need="fresh-sign-in", max_age="60")))
    sent = forger.read_request(page.headers["location"])
    assert sent.force
    old = world.say(sent, signed_in_s=900.0, ident="_old")
    assert world.bring(browser, sent, forger.response(old, forger.party())).status_code == 403
    assert world.why() == "the sign-in there is too old"


def test_a_transient_name_is_nobody_unless_an_attribute_names_them(world: SamlWorld) -> None:
    transient = {"name_format": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient", "name_id": "_x1"}
    assert world.sign_in(world.browser(), **transient).status_code == 403
    assert world.why().startswith("its NameID is transient")
    world.use(msgspec.structs.replace(CORP, subject="uid", username="uid"))
    more = {**transient, "attributes": {"uid": ("eve",)}, "ident": "_b"}
    assert world.sign_in(world.browser(), **more).headers["location"] == "/"
    with world.store.read() as connection:
        assert directory.get_person(connection, "eve").source == "saml:corp"


def test_the_provider_signs_somebody_out_of_the_sessions_that_came_from_it(world: SamlWorld) -> None:
    browser, other = world.browser(), world.browser()
    world.sign_in(browser, session_index="s-1")
    world.sign_in(other, session_index="s-2", ident="_b")
    request = forger.logout_request(
        world.clock.now(), LOGOUT, issuer=forger.IDP, name_id="ada-7", index="s-1"
    )
    url = forger.redirect(LOGOUT, request, relay_state="back", who=forger.party())
    answer = world.browser().get(url)
    assert answer.headers["location"].startswith(f"{forger.SLO}?SAMLResponse=")
    assert "RelayState=back" in answer.headers["location"]
    assert browser.get("/account").is_redirect
    assert other.get("/account").status_code == 200


def test_sessions_of_a_provider_that_is_removed_end(world: SamlWorld) -> None:
    browser = world.browser()
    world.sign_in(browser)
    world.use()
    world.parts.upstream_logout.sweep()
    assert browser.get("/account").is_redirect


def test_the_metadata_says_who_limen_is_to_this_provider_alone(world: SamlWorld) -> None:
    found = parse_sp(world.browser().get("/saml/corp/metadata").text)
    assert found.entity_id == f"{AUTH}/saml/corp/metadata"
    assert [one.url for one in found.consumers] == [f"{AUTH}/saml/corp/acs"]
    assert found.requests_signed and len(found.certificates) == 1
    assert world.browser().get("/saml/other/metadata").status_code == 404


def test_k5_a_successor_key_is_in_the_metadata_before_it_signs(world: SamlWorld) -> None:
    keys = world.parts.saml_keys
    before = keys.signing().certificate
    made = keys.rotate("root", reason="yearly", after_s=86_400.0)
    assert keys.certificates() == (before, made.certificate) and keys.signing().certificate == before
    world.clock.advance(86_400)
    assert keys.certificates() == (made.certificate,) == (keys.signing().certificate,)

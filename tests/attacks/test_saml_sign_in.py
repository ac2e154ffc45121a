"""Attacks on the way through a SAML provider: replayed, swapped, unasked. Each fails closed, with a cause."""

import shutil
from pathlib import Path

import msgspec
import pytest
import saml_forger as forger
from identity_world import AUTH
from saml_world import CORP, SamlWorld

pytestmark = pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed")

IDP = forger.party()
LOGOUT = f"{AUTH}/saml/corp/logout"


@pytest.fixture
def world(tmp_path: Path) -> SamlWorld:
    world = SamlWorld(tmp_path)
    world.add("root")
    return world


def test_w1_an_answer_that_nobody_asked_for_is_not_looked_at(world: SamlWorld) -> None:
    asked = world.ask(world.browser())
    xml = forger.response(world.say(asked), IDP)
    for relay in ("", "guessed", asked.relay_state + "x"):
        posted = world.browser().http.post("/saml/corp/acs", data=forger.form(xml, relay))
        assert posted.status_code == 403
        assert world.why() == "an answer came that no browser has asked for"


def test_w1_an_answer_counts_in_the_browser_that_asked_and_in_no_other(world: SamlWorld) -> None:
    """Login CSRF: a victim is to be signed in as the attacker."""
    attacker, victim = world.browser("192.0.2.66"), world.browser()
    asked = world.ask(attacker)
    xml = forger.response(world.say(asked, name_id="mallory"), IDP)
    world.ask(victim)
    assert world.bring(victim, asked, xml).status_code == 403
    assert victim.get("/account").is_redirect


def test_an_answer_is_fetched_once(world: SamlWorld) -> None:
    browser = world.browser()
    asked = world.ask(browser)
    xml = forger.response(world.say(asked), IDP)
    assert world.bring(browser, asked, xml).headers["location"] == "/"
    assert world.bring(browser, asked, xml).status_code == 403
    assert browser.get(f"/saml/corp/finish?relay={asked.relay_state}").status_code == 403


def test_w2_an_assertion_counts_once_whatever_it_answers(world: SamlWorld) -> None:
    assert world.sign_in(world.browser(), ident="_same").headers["location"] == "/"
    assert world.sign_in(world.browser(), ident="_same").status_code == 403
    assert world.why() == "its assertion was used before"


def test_an_old_answer_does_not_do_for_a_new_request(world: SamlWorld) -> None:
    browser = world.browser()
    stolen = forger.response(world.say(world.ask(browser)), IDP)
    assert world.bring(browser, world.ask(browser), stolen).status_code == 403
    assert world.why() == "it does not answer the request of this browser"


def test_a_provider_cannot_speak_for_another(world: SamlWorld) -> None:
    """Two providers side by side: the one that is asked must answer, by its own key, for itself."""
    mallory = forger.party("mallory")
    other = msgspec.structs.replace(
        CORP, name="other", metadata=forger.idp_metadata(mallory, "https://mallory.example")
    )
    world.use(CORP, other)
    browser = world.browser()
    asked = world.ask(browser)
    for said in (world.say(asked), world.say(asked, issuer="https://mallory.example")):
        browser = world.browser()
        asked = world.ask(browser)
        said = msgspec.structs.replace(said, request=asked.ident, now=world.clock.now())
        assert world.bring(browser, asked, forger.response(said, mallory)).status_code == 403
    assert world.why() == "it is from another provider"
    form = forger.form(forger.response(world.say(asked), IDP), asked.relay_state)
    assert world.browser().http.post("/saml/other/acs", data=form).status_code == 403


def test_w3_a_stranger_reads_the_same_whatever_did_not_hold(world: SamlWorld) -> None:
    texts: set[str] = set()
    for number, changes in enumerate(
        ({"audience": "x"}, {"issuer": "y"}, {"valid_s": -99.0}, {"name_id": "root"})
    ):
        page = world.sign_in(world.browser(), ident=f"_n{number}", **changes)
        assert page.status_code == 403
        texts.add(page.text.split("<h1>")[1].split("</main>")[0])
    assert len(texts) == 1
    assert world.why() == "its username is somebody's here: an identity is never linked by name"


def test_a_forged_logout_signs_nobody_out(world: SamlWorld) -> None:
    browser = world.browser()
    world.sign_in(browser, session_index="s-1")
    now = world.clock.now()
    good = forger.logout_request(now, LOGOUT, issuer=forger.IDP, name_id="ada-7")
    elsewhere = forger.logout_request(now, "https://other.example/slo", issuer=forger.IDP, name_id="ada-7")
    old = forger.logout_request(now - 900, LOGOUT, issuer=forger.IDP, name_id="ada-7")
    other = forger.logout_request(now, LOGOUT, issuer=forger.IDP, name_id="eve", ident="_once")
    once = forger.redirect(LOGOUT, other, who=IDP)
    assert world.browser().get(once).is_redirect
    forged = {
        forger.redirect(LOGOUT, good): "it is not signed",
        forger.redirect(LOGOUT, good, who=forger.party("mallory")): "its signature is by none of the keys",
        forger.redirect(LOGOUT, good, who=IDP, algorithm=forger.RSA_SHA1): "it is signed by an algorithm",
        forger.redirect(LOGOUT, elsewhere, who=IDP): "it is meant for another address",
        forger.redirect(LOGOUT, old, who=IDP): "it was not made within the last minutes",
        once: "it came before",
    }
    for url, said in forged.items():
        refused = world.browser().get(url)
        assert (refused.status_code, world.why()[: len(said)]) == (403, said)
        assert world.why() not in refused.text
    assert browser.get("/account").status_code == 200


def test_a_signature_over_other_parameters_is_refused(world: SamlWorld) -> None:
    request = forger.logout_request(world.clock.now(), LOGOUT, issuer=forger.IDP, name_id="ada-7")
    url = forger.redirect(LOGOUT, request, relay_state="a", who=IDP)
    for changed in (
        url.replace("RelayState=a", "RelayState=b"),
        url.replace("&RelayState=a", ""),
        url + "&RelayState=c",
    ):
        assert world.browser().get(changed).status_code == 403

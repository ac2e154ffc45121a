"""Attacks on both roles of SAML: successors of providers, requests that fill the database, long sessions."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import saml_forger as forger
from saml_world import CORP, SSO, ClientWorld, SamlWorld

from limen.core.entities import Kind
from limen.information.identity.saml_response import instant_of
from limen.store import directory

pytestmark = pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ClientWorld]:
    world = ClientWorld(tmp_path, forger.sp_metadata())
    for name in ("root", "ada"):
        world.add(name)
    world.join("ada", "staff")
    yield world
    world.store.close()


def test_u7_a_successor_of_the_same_name_does_not_inherit_the_sessions_of_a_provider(tmp_path: Path) -> None:
    world = SamlWorld(tmp_path)
    world.add("root")
    assert world.sign_in(world.browser()).status_code == 303
    assert world.parts.upstream_logout.sweep() == 0
    other = forger.idp_metadata(forger.party(), "https://successor.example/idp")
    world.use(msgspec.structs.replace(CORP, metadata=other))
    assert world.parts.upstream_logout.sweep() == 1
    world.store.close()


@pytest.mark.parametrize("what", ["ident", "context", "format"])
def test_a_stranger_cannot_lay_long_requests_aside(client: ClientWorld, what: str) -> None:
    long = "_" + "a" * 60_000
    context = (
        "<samlp:RequestedAuthnContext><saml:AuthnContextClassRef>"
        f"{long}</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>"
    )
    more = {
        "ident": {"ident": long},
        "context": {"inside": context},
        "format": {"inside": f'<samlp:NameIDPolicy Format="{long}"/>'},
    }[what]
    request = forger.authn_request(client.clock.now(), SSO, **more)
    answer = client.browser().get(forger.redirect(SSO, request))
    assert answer.status_code == 403


def test_a_session_at_an_app_does_not_outlive_the_end_that_is_known_of_its_person(
    client: ClientWorld,
) -> None:
    ends_at = client.clock.now() + 90.0
    with client.store.transaction("test", "partner") as tx:
        directory.update_person(tx, "ada", kind=Kind.PARTNER, expires_at=ends_at)
    browser = client.browser()
    browser.sign_in("ada")
    asked = browser.get(forger.redirect(SSO, forger.authn_request(client.clock.now(), SSO)))
    page = browser.get(asked.headers["location"])
    _, _, xml = client.answer(page)
    until = xml.partition('SessionNotOnOrAfter="')[2].partition('"')[0]
    assert instant_of(until) <= ends_at

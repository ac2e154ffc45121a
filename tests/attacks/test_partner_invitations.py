"""An invitation to a partner's own provider: taken up, stolen, used twice, misused for a password."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_provider import ISSUER, FakeProvider
from identity_world import AUTH, Browser, World, forms

from limen.administrator.partners import DAY_S, INVITED_S, Partners
from limen.core.clock import FakeClock
from limen.core.entities import Kind
from limen.core.errors import Invalid
from limen.core.identity_config import OidcConfig, SourceRules
from limen.core.secret import Secret
from limen.store import directory, identities

RULES = SourceRules(create=False, kind=Kind.PARTNER)
ACME = OidcConfig("acme", ISSUER, "limen", client_secret="acme-secret", title="Acme", people=RULES)
OTHER = OidcConfig("other", ISSUER, "limen", client_secret="other-secret", people=RULES)


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider(FakeClock())


@pytest.fixture
def world(tmp_path: Path, provider: FakeProvider) -> Iterator[World]:
    made = World(tmp_path, oidc=(ACME, OTHER), transport=provider, secret=lambda name: Secret(f"<{name}>"))
    provider.clock = made.clock
    made.add("ada")
    with made.store.transaction("test", "partner") as tx:
        ends_at = made.clock.now() + 30 * DAY_S
        directory.create_person(tx, "pat", kind=Kind.PARTNER, sponsor="ada", expires_at=ends_at)
    yield made
    made.store.close()


def invite(world: World, provider: str = "acme") -> str:
    with world.parts.desk.ledger.entry("ada", "project") as entry:
        link, sent = Partners(world.parts.desk).invite(entry, "pat", "ada", provider)
    assert sent == ()
    return link.reveal()


def take_up(browser: Browser, link: str) -> Any:
    page = browser.get(link)
    assert page.status_code == 200, page.text
    return browser.submit(page, {})


def owner(world: World, subject: str = "s-1", source: str = "oidc:acme") -> str | None:
    with world.store.read() as connection:
        return identities.find_owner(connection, source, subject)


def test_it_is_taken_up_at_the_provider_and_works_once(world: World, provider: FakeProvider) -> None:
    link, browser = invite(world), world.browser()
    sent = take_up(browser, link)
    answer = browser.get(provider.authorize(sent.headers["location"]))
    assert answer.headers["location"] == "/"
    assert owner(world) == "pat"
    session = world.parts.sessions.list_live("pat")[0][0]
    assert session.methods == ("oidc:acme",)
    assert world.browser().get(link).status_code == 404
    again = world.browser()
    started = again.get("/oidc/acme/start")
    back = again.get(provider.authorize(started.headers["location"]))
    assert back.headers["location"] == "/", "from now on they just sign in there"


def test_without_an_invitation_nobody_of_that_provider_comes_in(world: World, provider: FakeProvider) -> None:
    provider.claims = {"sub": "stranger"}
    browser = world.browser()
    started = browser.get("/oidc/acme/start")
    answer = browser.get(provider.authorize(started.headers["location"]))
    assert answer.status_code == 403
    assert owner(world, "stranger") is None


def test_the_link_sets_no_password(world: World) -> None:
    link = invite(world)
    token = link.rpartition("/")[2]
    for wrong in (token, f"invitation%00{token}", f"invite:{token}"):
        page = world.browser().get(f"{AUTH}/enrol/{wrong}")
        assert page.status_code == 404


def test_taking_it_up_twice_at_once_lets_one_in(world: World, provider: FakeProvider) -> None:
    link = invite(world)
    first, second = world.browser(), world.browser("192.0.2.2")
    one, two = take_up(first, link), take_up(second, link)
    provider.claims = {"sub": "s-1"}
    assert first.get(provider.authorize(one.headers["location"])).headers["location"] == "/"
    provider.claims = {"sub": "thief"}
    assert second.get(provider.authorize(two.headers["location"])).status_code == 403
    assert (owner(world), owner(world, "thief")) == ("pat", None)


def test_an_answer_in_another_browser_takes_nothing_up(world: World, provider: FakeProvider) -> None:
    sent = take_up(world.browser(), invite(world))
    other = world.browser("192.0.2.9")
    answer = other.get(provider.authorize(sent.headers["location"]))
    assert answer.status_code == 403
    assert owner(world) is None


def test_a_page_of_another_site_takes_nothing_up(world: World) -> None:
    link, browser = invite(world), world.browser()
    hidden = forms(browser.get(link).text)[0][1]
    foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert browser.post(link, hidden, **foreign).status_code == 403
    assert browser.post(link, {}).status_code == 403


def test_somebody_elses_account_is_not_taken_over(world: World, provider: FakeProvider) -> None:
    with world.store.transaction("test", "linked") as tx:
        identities.link_identity(tx, "oidc:acme", "s-1", "ada")
    browser = world.browser()
    sent = take_up(browser, invite(world))
    assert browser.get(provider.authorize(sent.headers["location"])).status_code == 403
    assert owner(world) == "ada"
    assert world.parts.sessions.list_live("ada") == ()
    assert "sign_in.failed" in world.kinds()


@pytest.mark.parametrize("over", ["week", "person", "suspended", "replaced", "provider"])
def test_an_invitation_that_is_over_leads_nowhere(world: World, provider: FakeProvider, over: str) -> None:
    link, browser = invite(world), world.browser()
    sent = take_up(browser, link)
    back = provider.authorize(sent.headers["location"])
    if over == "week":
        world.clock.advance(INVITED_S)
    elif over == "replaced":
        invite(world)
    elif over == "provider":
        world.catalogue = type(world.catalogue)(domain=world.catalogue.domain, oidc=(OTHER,))
    else:
        change: dict[str, Any] = {"status": "suspended"} if over == "suspended" else {"expires_at": 1.0}
        with world.store.transaction("test", "over") as tx:
            directory.update_person(tx, "pat", **change)
    assert world.browser().get(link).status_code == 404
    assert browser.get(back).status_code in (403, 404)
    assert owner(world) is None


def test_a_provider_that_the_bundle_lacks_is_named(world: World) -> None:
    with pytest.raises(Invalid, match="no provider 'nope'"):
        invite(world, "nope")

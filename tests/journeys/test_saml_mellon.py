"""Debian's mod_auth_mellon, an app that is not ours, signs people in through Limen by SAML, and out again."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from identity_world import AUTH
from mellon_rig import Mellon, find_mellon, mellon_folder
from saml_world import BUNDLE, ClientWorld

from limen.core.clock import FakeClock

pytestmark = pytest.mark.skipif(find_mellon() != "", reason=find_mellon())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[ClientWorld, Mellon]]:
    with mellon_folder() as folder:
        mellon = Mellon(folder)
        world = ClientWorld(tmp_path, mellon.metadata, BUNDLE, clock=FakeClock(time.time()))
        for name in ("root", "ada", "bob"):
            world.add(name)
        world.join("ada", "staff")
        with mellon.run(world.parts.saml_names.metadata()):
            yield world, mellon


def away(answer: httpx.Response) -> str:
    """Return where the app sends the browser, to Limen."""
    assert answer.is_redirect, answer.text
    found = urljoin(str(answer.url), answer.headers["location"])
    while not found.startswith(AUTH):
        raise AssertionError(found)
    return found


def test_mellon_lets_in_whom_policy_lets_in_and_signs_them_out_of_limen(
    world: tuple[ClientWorld, Mellon],
) -> None:
    control, mellon = world
    browser = control.browser()
    browser.sign_in("ada")
    with httpx.Client() as app:
        first = app.get(f"{mellon.origin}/secret")
        login = app.get(urljoin(str(first.url), first.headers["location"]))
        page = browser.follow(browser.get(away(login)))
        url, fields, _ = control.answer(page)
        taken = app.post(url, data=fields)
        assert taken.status_code == 303, mellon.log()
        inside = app.get(urljoin(url, taken.headers["location"]))
        assert (inside.status_code, inside.text) == (200, "open"), mellon.log()
        assert (inside.headers["x-mail"], inside.headers["x-groups"]) == ("ada@limen.localhost", "staff")
        assert inside.headers["x-name-id"] not in ("ada", "(null)")  # persistent, as mellon asks for
        replayed = httpx.post(url, data=fields)
        assert replayed.status_code >= 400  # the app's own matter, and it is one use here too
        out = app.get(f"{mellon.origin}/mellon/logout?ReturnTo={mellon.origin}/")
        done = browser.get(away(out))
        assert browser.get("/account").is_redirect  # Limen's own session is over
        assert done.headers["location"].startswith(f"{mellon.origin}/mellon/logout?SAMLResponse=")
        home = app.get(done.headers["location"])
        assert home.headers["location"] == f"{mellon.origin}/", mellon.log()
        assert app.get(f"{mellon.origin}/secret").is_redirect


def test_mellon_gets_nothing_for_somebody_whom_policy_denies(world: tuple[ClientWorld, Mellon]) -> None:
    control, mellon = world
    browser = control.browser()
    browser.sign_in("bob")
    first = httpx.get(f"{mellon.origin}/secret")
    login = httpx.get(urljoin(str(first.url), first.headers["location"]))
    page = browser.follow(browser.get(away(login)))
    assert page.status_code == 403
    assert "SAMLResponse" not in page.text

"""Codes used twice, names and passwords guessed: what a patient attacker tries at the sign-in page."""

import re
import statistics
import time
from collections.abc import Callable

import pytest
from attack_rig import ADDRESSES, Person, Target, browser
from attack_wire import KNOWN, SESSION, host

from limen.services.form_client import Form

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("target")]

SAMPLES = 12
FLOOD = 60  # above the burst of one address


def test_replay_a_totp_code_counts_once(target: Target) -> None:
    person = Person.enrolled(target.demo, "staff")
    code = person.code(1)
    pages = []
    for _ in range(2):
        person.browser = browser(target.demo)
        page = person.submit("/login", {"username": person.username, "password": person.password})
        pages.append(person.browser.submit(page, {"code": code}))
    assert [page.status_code for page in pages] == [200, 403]
    assert not person.cookie("auth")


def test_replay_a_recovery_code_counts_once(target: Target) -> None:
    person = Person.enrolled(target.demo, "staff")
    code = re.findall(r"<li><code>([^<]+)</code>", person.get(f"{target.demo.auth_url}/enrol/codes").text)[0]
    statuses = []
    for _ in range(2):
        person.browser = browser(target.demo)
        page = person.submit("/login", {"username": person.username, "password": person.password})
        statuses.append(person.browser.submit(page, {"code": code}).status_code)
    assert statuses == [200, 403]


def test_replay_an_enrolment_link_works_once(target: Target) -> None:
    person = Person.enrolled(target.demo, "staff")
    link = target.demo.admin.post(f"/v1/people/{person.username}/enrolment-link")["enrolment_link"]
    newer = target.demo.admin.post(f"/v1/people/{person.username}/enrolment-link")["enrolment_link"]
    assert browser(target.demo).get(link).status_code == 404, "a newer one ends it"
    thief = browser(target.demo)
    page = thief.submit(thief.get(newer), {"password": "not-their-password"})
    assert page.status_code == 403, "the link alone does not do: the password stands"
    assert f"{SESSION}" not in {c.name for c in thief.http.cookies.jar}


def test_a_flood_from_the_victims_own_address_does_not_lock_out_a_browser_that_they_use(
    target: Target,
) -> None:
    """An office, or all the world behind a proxy that nobody declared, is one address."""
    person = Person.enrolled(target.demo, "staff")
    address, known = next(ADDRESSES), person.http.cookies
    flood = browser(target.demo, address)
    page = flood.get(f"{target.demo.auth_url}/login")
    bogus = {"csrf": Form(str(page.url), page.text).hidden["csrf"]}
    for number in range(FLOOD):  # an attempt that costs no hash empties the bucket as well
        flood.http.post(f"{target.demo.auth_url}/enrol/{number:0>43}", data=bogus)
    assert flood.submit(page, {"username": "somebody", "password": "x"}).status_code == 429
    person.browser = browser(target.demo, address)
    for cookie in known.jar:
        if cookie.name == KNOWN:
            person.http.cookies.set(KNOWN, cookie.value or "", domain=host("auth"), path="/")
    page = person.submit("/login", {"username": person.username, "password": person.password})
    assert person.browser.submit(page, {"code": person.code(1)}).status_code == 200
    assert person.cookie("auth")


def test_an_unknown_name_is_answered_like_a_known_one_and_takes_as_long(
    target: Target, record_property: Callable[[str, object], None]
) -> None:
    known = ["ada", "grace", "joan", "linus"]
    took: dict[bool, list[float]] = {True: [], False: []}
    bodies: dict[bool, set[str]] = {True: set(), False: set()}
    for number in range(SAMPLES):
        for is_known in (True, False):
            name = known[number % len(known)] if is_known else f"nobody{number}"
            stranger = browser(target.demo)
            page = stranger.get(f"{target.demo.auth_url}/login")
            began = time.perf_counter()
            answer = stranger.submit(page, {"username": name, "password": "wrong-wrong-wrong"})
            took[is_known].append(time.perf_counter() - began)
            assert answer.status_code == 403
            plain = re.sub(r'name="csrf" value="[0-9a-f]+"', "", answer.text).replace(name, "NAME")
            bodies[is_known].add(plain)
    assert bodies[True] == bodies[False]
    assert len(bodies[True]) == 1
    ratio = statistics.median(took[False]) / statistics.median(took[True])
    record_property("unknown_over_known", round(ratio, 3))
    assert 0.5 < ratio < 2, "a hash that is left out would take a tenth"

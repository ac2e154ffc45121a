"""Attacks on the sign-in of programs: guessing, filling up, and speaking in the question's own voice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import Browser, World

from limen.administrator.connect import WAITING_PER_ADDRESS_MAX

CLIENT = {"client_id": "limen-connect"}
GUESSES = 30


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.add("ada")
    yield made
    made.store.close()


def start(world: World, ip: str = "192.0.2.9", name: str = "") -> dict[str, str]:
    """Begin a device flow, as a program does: no cookie, no origin."""
    form = {**CLIENT, "client_name": name}
    answer = world.browser(ip).http.post(
        "/connect/device_authorization", data=form, headers={"x-limen-peer": ip}
    )
    said: dict[str, str] = answer.json()
    return said


def signed_in(world: World) -> Browser:
    browser = world.browser()
    browser.sign_in("ada")
    return browser


def test_a_user_code_is_not_guessed_by_answering_without_asking_first(world: World) -> None:
    """The answer's form is as good an oracle as the question's."""
    victim, browser = start(world), signed_in(world)
    csrf = browser.form(browser.get("/device"))["csrf"]

    def answer(code: str) -> str:
        form = {"user_code": code, "answer": "deny", "csrf": csrf}
        return browser.post("/device/answer", form).text

    said = [answer(f"BBBBBB{a}{b}") for a in "BCDFG" for b in "BCDFGH"]
    assert len(said) == GUESSES and all("No program waits" in one for one in said)
    assert "stays out" not in answer(victim["user_code"]), "the right one, after too many wrong ones"
    world.clock.advance(60)
    assert "stays out" in answer(victim["user_code"])


def test_a_good_code_of_ones_own_does_not_buy_more_guesses(world: World) -> None:
    own, browser = start(world)["user_code"], signed_in(world)
    said = []
    for guess in range(GUESSES):
        browser.get(f"/device?user_code={own}")
        said.append(browser.get(f"/device?user_code=BBBB-BB{'BCDFG'[guess % 5]}{'BCDFGH'[guess // 5]}").text)
    assert sum("No program waits" in one for one in said) < 5
    assert "Too many codes" in said[-1]


def test_one_network_does_not_take_all_places_where_programs_wait(world: World) -> None:
    """Whoever has one IPv6 address has 2^64 of them."""
    said = [start(world, f"2001:db8::{n:x}") for n in range(WAITING_PER_ADDRESS_MAX + 1)]
    assert "device_code" in said[-2] and said[-1]["error"] == "slow_down"
    assert "device_code" in start(world, "2001:db8:0:1::1")


@pytest.mark.parametrize(
    "name", ["x\u201d, asks from the address 10.0.0.1", 'x", asks from the address 10.0.0.1', "\u202ex\n<b>"]
)
def test_a_programs_name_cannot_pass_for_the_question_around_it(world: World, name: str) -> None:
    browser = signed_in(world)
    page = browser.get(f"/device?user_code={start(world, name=name)['user_code']}").text
    said = page.partition("It calls itself ")[2].partition("and wants")[0]
    assert said.count("\u201d") == 1 and said.endswith("\u201d, asks from the address 192.0.2.9, ")
    assert "<b>" not in said and "\u202e" not in said and "&#34;" not in said

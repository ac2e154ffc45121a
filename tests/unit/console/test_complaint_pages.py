"""Law Q1 and the pages of "this is wrong": whose decision, how often, what may be written, who answers."""

import string
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from identity_world import AUTH, Browser, World

from limen.administrator.complaints import RECENT_S, TEXT_MAX, parse_text
from limen.core.errors import Invalid, NotFound
from limen.core.ids import new_decision_id
from limen.core.record import DecisionRecord


class Wrongs(World):
    """A control that has recorded what the test puts there. Bob looks after the wiki."""

    def __init__(self, folder: Path) -> None:
        self.recorded: dict[str, DecisionRecord] = {}
        super().__init__(folder, decision=self.recorded.get)
        wiki = msgspec.structs.replace(self.catalogue.apps["wiki"], owner="bob")
        self.catalogue = msgspec.structs.replace(self.catalogue, apps={**self.catalogue.apps, "wiki": wiki})
        self.add("ada")
        self.add("bob")

    def denied(self, who: str = "ada", *, would: bool = False, allowed: bool = False) -> str:
        now = self.clock.now()
        record = DecisionRecord(
            id=new_decision_id(now),
            at=now,
            node="gw",
            point="gateway",
            verdict="allow" if would or allowed else "deny",
            would_be="deny" if would else None,
            code="FORBIDDEN",
            bundle="b",
            inputs="",
            action="read",
            resource='Route::"wiki/board"',
            subject=f'User::"{who}"',
        )
        self.recorded[record.id] = record
        return record.id

    def at(self, who: str) -> Browser:
        browser = self.browser()
        browser.sign_in(who)
        return browser


@pytest.fixture
def wrongs(tmp_path: Path) -> Iterator[Wrongs]:
    world = Wrongs(tmp_path)
    yield world
    world.store.close()


def new(decision: str) -> str:
    return f"/complaints/new?decision={decision}"


def test_a_complaint_reaches_the_owner_and_its_answer_the_person(wrongs: Wrongs) -> None:
    ada, bob = wrongs.at("ada"), wrongs.at("bob")
    decision = wrongs.denied(would=True)
    page = ada.get(new(decision))
    assert (page.status_code, "goes to bob" in page.text, "wiki/board" in page.text) == (200, True, True)
    assert "Thank you" in ada.submit(page, {"text": "I write <here>.\r\nDaily."}).text
    [filed] = wrongs.parts.complaints.listed(owner="bob", waiting=True)
    assert (filed.person, filed.resource, filed.text) == ("ada", "wiki/board", "I write <here>.\nDaily.")
    account = bob.get("/account")
    assert "I write &lt;here&gt;." in account.text
    number = next(n for n in range(20) if bob.form(account, n).get("id") == filed.id)
    assert bob.submit(account, {"text": "Go on."}, number).headers["location"] == "/account#asked-of-me"
    assert "Go on." in ada.get("/account").text
    again = bob.submit(account, {"text": "No."}, number)
    assert again.status_code == 409
    assert [event.kind for event in wrongs.events if event.kind.startswith("complaint")] == [
        "complaint.filed",
        "complaint.answered",
    ]
    assert not [event for event in wrongs.events if "I write" in str(event.data)]


def test_who_is_not_signed_in_comes_back_after_signing_in(wrongs: Wrongs) -> None:
    decision = wrongs.denied()
    browser = wrongs.browser()
    assert browser.get(new(decision)).headers["location"].startswith("/login?flow=")
    assert browser.sign_in("ada", new(decision)).headers["location"] == new(decision)


def test_q1_of_another_s_decision_one_learns_as_much_as_of_none(wrongs: Wrongs) -> None:
    ada = wrongs.at("ada")
    others, allowed = wrongs.denied("bob"), wrongs.denied(allowed=True)
    known = wrongs.denied()
    unknown = new_decision_id(wrongs.clock.now())
    pages = {ada.get(new(one)).text for one in (others, allowed, unknown, "x", "0" * 32)}
    assert len({text.partition("<main")[2] for text in pages}) == 1
    hidden = ada.form(ada.get(new(known)))
    assert ada.post("/complaints", {**hidden, "decision": others, "text": "x"}).status_code == 404
    wrongs.clock.advance(RECENT_S)
    with pytest.raises(NotFound):
        wrongs.parts.complaints.about("ada", known)


def test_a_form_from_elsewhere_changes_nothing(wrongs: Wrongs) -> None:
    ada, decision = wrongs.at("ada"), wrongs.denied()
    hidden = ada.form(ada.get(new(decision)))
    foreign = {"origin": "https://wiki.limen.localhost:8443", "sec-fetch-site": "same-site"}
    assert ada.post("/complaints", {**hidden, "text": "x"}, **foreign).status_code == 403
    assert ada.post("/complaints", {**hidden, "csrf": "", "text": "x"}).status_code == 403
    assert wrongs.parts.complaints.listed() == ()


def test_only_the_owner_answers(wrongs: Wrongs) -> None:
    ada, decision = wrongs.at("ada"), wrongs.denied()
    ada.submit(ada.get(new(decision)), {"text": "x"})
    [filed] = wrongs.parts.complaints.listed()
    csrf = ada.form(ada.get("/account"))["csrf"]
    answer = ada.post("/complaints/answer", {"csrf": csrf, "id": filed.id, "text": "Granted!"})
    assert answer.status_code == 404
    wrongs.parts.complaints.answer(filed.id, "An operator says so.", actor="Workload:host")
    assert wrongs.parts.complaints.listed(waiting=True) == ()


def test_one_decision_once_and_few_in_a_short_time(wrongs: Wrongs) -> None:
    ada = wrongs.at("ada")
    first = wrongs.denied()
    page = ada.get(new(first))
    assert ada.submit(page, {"text": "x"}).status_code == 200
    assert ada.submit(page, {"text": "x"}).status_code == 409
    codes = []
    for _ in range(6):
        hidden = {**ada.form(page), "decision": wrongs.denied()}
        codes.append(ada.post("/complaints", {**hidden, "text": "y"}).status_code)
    assert codes == [200] * 4 + [403] * 2
    codes = [ada.get(new("0" * 32)).status_code for _ in range(20)]
    assert codes[-1] == 403


def test_what_cannot_be_read_is_not_taken_and_the_page_keeps_it(wrongs: Wrongs) -> None:
    ada, decision = wrongs.at("ada"), wrongs.denied()
    page = ada.get(new(decision))
    answer = ada.submit(page, {"text": "a" * (TEXT_MAX + 1)})
    assert (answer.status_code, "1,000 characters" in answer.text) == (400, True)
    assert ada.submit(page, {"text": "  "}).status_code == 400
    assert f"{AUTH}" not in answer.headers.get("location", "")


@given(st.text(max_size=40))
def test_text_that_is_taken_moves_no_terminal_and_turns_no_page(text: str) -> None:
    try:
        said = parse_text(text)
    except Invalid:
        return
    shown = said.replace("\n", "")
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    assert not set("\u202e\u2066\u2028") & set(said)


@given(st.text(string.ascii_letters + string.digits + string.punctuation + " \näß你🦊", max_size=99))
def test_plain_text_is_taken_as_it_is(text: str) -> None:
    if text.strip():
        assert parse_text(text) == text.strip()

"""One-time links that an administrator makes: announced, sent or handed over, never for oneself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from recovery_world import RecoveryWorld

from limen.administrator.links import make_link, send_link
from limen.core.errors import Conflict, Refused
from limen.core.identity_config import NoticeConfig


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RecoveryWorld]:
    world = RecoveryWorld(tmp_path)
    yield world
    world.store.close()


def test_who_is_made_a_link_is_told_so_and_not_the_link(world: RecoveryWorld) -> None:
    url = make_link(world.parts.desk, "ada", actor="hugo", reset=True)
    told = world.told("ada", "enrolment")
    assert [one["what"] for one in told] == [
        "hugo made a one-time link with which your sign-in can be set up"
    ]
    assert url.reveal() not in repr(told)


def test_a_link_that_is_sent_is_told_to_nobody_else(world: RecoveryWorld) -> None:
    assert send_link(world.parts.desk, "ada", actor="hugo") == ("smtp",)
    link = str(world.told("ada", "invitation")[0]["link"])
    browser = world.browser()
    assert browser.get(link).status_code == 200
    assert link not in repr(world.events)


def test_with_nothing_to_send_it_by_no_link_is_made(world: RecoveryWorld) -> None:
    world.configure(notices=NoticeConfig())
    with pytest.raises(Conflict, match="Nothing would carry"):
        send_link(world.parts.desk, "ada", actor="hugo")
    assert "enrolment.link_made" not in world.kinds()


@pytest.mark.parametrize("make", [make_link, send_link])
def test_nobody_makes_their_own_link(world: RecoveryWorld, make: object) -> None:
    with pytest.raises(Refused) as refused:
        make(world.parts.desk, "root", actor="root", reset=True)  # type: ignore[operator]
    assert refused.value.code == "OWN_RECOVERY"


def test_who_has_just_come_back_makes_none(world: RecoveryWorld) -> None:
    with world.parts.desk.ledger.entry("test", "hugo came back") as entry:
        world.parts.desk.lower_trust(entry, "hugo", "reset")
    with pytest.raises(Refused) as refused:
        make_link(world.parts.desk, "ada", actor="hugo")
    assert refused.value.code == "APPROVER_RECOVERED"

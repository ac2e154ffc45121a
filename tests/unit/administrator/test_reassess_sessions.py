"""Law R6: whoever may not come in any more has no sessions, by whatever path that came about."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import World

from limen.administrator.reassess_sessions import end_sessions, locked_out, sweep_sessions
from limen.administrator.session_values import Browser, Proof
from limen.core.changes import Change
from limen.core.entities import Status
from limen.information.identity.assurance import Assurance
from limen.store import directory


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    for name in ("ada", "bob"):
        made.add(name, password=None, with_totp=False)
        sign_in(made, name)
    yield made
    made.store.close()


def sign_in(world: World, name: str) -> str:
    sessions = world.parts.sessions
    proof = Proof(("passkey",), Assurance(2, True), world.clock.now())
    with sessions.ledger.entry(name, "sign in") as entry:
        return sessions.start(entry, name, proof, Browser("::1")).session.id


def live(world: World) -> list[str]:
    return sorted(session.person for session, _ in world.parts.sessions.list_live())


def test_r6_an_import_that_suspends_ends_sessions_too(world: World) -> None:
    seen: list[tuple[Change, ...]] = []
    world.store.subscribe(seen.append)
    with world.store.transaction("import", "csv") as tx:
        assert directory.import_csv(tx, "username,status\nada,suspended\nbob,active\n").applied
    now = world.clock.now()
    people = locked_out((change for changes in seen for change in changes), now)
    assert people == ("ada",)
    assert end_sessions(world.parts.sessions, people, now) == 1
    assert live(world) == ["bob"]
    assert world.kinds().count("session.ended") == 1
    assert end_sessions(world.parts.sessions, people, now) == 0


def test_r6_time_ends_the_sessions_of_an_account(world: World) -> None:
    with world.store.transaction("test", "a contractor leaves") as tx:
        directory.update_person(tx, "bob", expires_at=world.clock.now() + 60)
    sessions = world.parts.sessions
    assert sweep_sessions(sessions, world.clock.now()) == 0
    world.clock.advance(60)
    assert sweep_sessions(sessions, world.clock.now()) == 1
    assert live(world) == ["ada"]
    assert sweep_sessions(sessions, world.clock.now()) == 0


def test_r6_a_suspension_that_was_taken_back_meanwhile_ends_nothing(world: World) -> None:
    for status in (Status.SUSPENDED, Status.ACTIVE):
        with world.store.transaction("test", "twice") as tx:
            directory.update_person(tx, "ada", status=status)
    assert end_sessions(world.parts.sessions, ("ada", "nobody"), world.clock.now()) == 0
    assert live(world) == ["ada", "bob"]


def test_quarantine_is_a_hold_and_ends_no_session(world: World) -> None:
    with world.store.transaction("test", "look into it") as tx:
        directory.update_person(tx, "ada", quarantined=True)
    assert sweep_sessions(world.parts.sessions, world.clock.now()) == 0

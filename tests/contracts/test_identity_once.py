"""Law C1 under threads: of many who bring the same one-time thing at once, one wins."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from identity_world import World

from limen.administrator.session_values import Browser, Destination, Proof, SecondStep, SignedIn, Visit
from limen.core.secret import Secret
from limen.information.identity.assurance import assess_methods
from limen.information.identity.passwords import PasswordHasher
from limen.store import credentials
from limen.store.sessions import Session

AT_ONCE = 6


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.add("ada")
    yield world
    world.store.close()


def _session(world: World) -> Session:
    proof = Proof(("password",), assess_methods(("password",)), world.clock.now())
    with world.parts.sessions.ledger.entry("ada", "test") as entry:
        return world.parts.sessions.start(entry, "ada", proof, Browser("192.0.2.1")).session


def _all_at_once(act: Callable[[int], bool]) -> int:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(act, range(AT_ONCE)))


def test_an_exchange_code_is_redeemed_by_one(world: World) -> None:
    import hashlib

    nonce = "n" * 32
    bound = hashlib.sha256(nonce.encode()).hexdigest()
    code = world.parts.sessions.issue_code(_session(world), Destination("wiki", "/", bound))
    redeem = world.parts.sessions.redeem_code
    assert _all_at_once(lambda _: redeem(code.reveal(), app="wiki", nonce=nonce) is not None) == 1


def test_a_totp_code_signs_one_in(world: World) -> None:
    visits = []
    for number in range(AT_ONCE):
        visit = Visit(Browser(f"192.0.2.{number}"))
        step = world.parts.sign_in.password("ada", Secret("orchid-lantern-quarry-7"), visit)
        assert isinstance(step, SecondStep)
        visits.append(Visit(visit.browser, flow_token=step.token.reveal()))
    code = world.code("ada")
    won = _all_at_once(lambda n: isinstance(world.parts.sign_in.code(code, visits[n]), SignedIn))
    assert won == 1


def test_a_recovery_code_is_spent_by_one(world: World) -> None:
    with world.store.transaction("test", "a code") as tx:
        credentials.replace_recovery_codes(tx.connection, "ada", ["h" * 64])

    def spend(_: int) -> bool:
        with world.store.transaction("test", "spend") as tx:
            return credentials.spend_recovery_code(tx.connection, "ada", "h" * 64, tx.now)

    assert _all_at_once(spend) == 1


def test_guessing_in_parallel_gets_no_more_attempts(world: World) -> None:
    def guess(_: int) -> bool:
        visit = Visit(Browser("192.0.2.1"))
        before = world.parts.sign_in.password("ada", Secret("guess-guess-guess"), visit)
        return type(before).__name__ == "Wrong"

    assert _all_at_once(guess) == 5


def test_a_flood_of_passwords_is_turned_away_and_not_queued_for_ever() -> None:
    from limen.core.errors import Unavailable
    from limen.information.identity import passwords

    hasher = PasswordHasher()
    room = passwords.HASHING_AT_ONCE_MAX + passwords.HASHING_WAITING_MAX
    for _ in range(room):
        hasher._room.acquire()
    with pytest.raises(Unavailable):
        hasher.check(None, Secret("x"))
    hasher._room.release()
    assert hasher.check(None, Secret("x")) == "wrong"

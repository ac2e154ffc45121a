"""Sign-ins at clients on every backend: used once, ended once, told once, forgotten with their person."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from store_backends import PRODUCTS, new_database

from limen.core.clock import FakeClock
from limen.store import directory, oauth, sessions
from limen.store.database import Store
from limen.store.erasure import forget_person
from limen.store.oauth import CODE, REFRESH, Authorization, LogoutNotice, OauthToken
from limen.store.sessions import Session

AT_ONCE = 5
CLOCK = FakeClock()
NOW = CLOCK.now()


@pytest.fixture(params=PRODUCTS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with new_database(request.param) as url, Store.open(url, CLOCK) as opened:
        with opened.transaction("test", "a sign-in") as tx:
            directory.create_person(tx, "ada")
            sessions.add_session(tx, _session())
            oauth.add_authorization(tx, _authorization())
            for hashed, kind in (("c" * 64, CODE), ("r" * 64, REFRESH)):
                oauth.add_token(tx, OauthToken(hashed, kind, "aut_1", {"a": ["b"]}, NOW, NOW + 60))
            oauth.add_notice(tx, LogoutNotice("lgo_1", "app", "ada", "sid", NOW, NOW))
        yield opened


def test_what_is_stored_comes_back(store: Store) -> None:
    with store.read() as connection:
        assert oauth.load_authorization(connection, "aut_1") == _authorization()
        found = oauth.load_token(connection, "r" * 64, REFRESH)
        assert found is not None and found.data == {"a": ["b"]}
        assert oauth.load_token(connection, "r" * 64, CODE) is None
        assert oauth.list_bereft(connection, NOW, NOW - 1) == ()
        assert len(oauth.list_bereft(connection, NOW, NOW + 1)) == 1  # nobody has redeemed it
        assert len(oauth.list_bereft(connection, NOW + 1_000, NOW - 1)) == 1
        assert oauth.next_due(connection) == NOW and oauth.count_notices(connection, ["app"]) == {"app": 1}


def test_once_means_once(store: Store) -> None:
    def spend(_: int) -> bool:
        with store.transaction("test", "use") as tx:
            return oauth.spend_token(tx, "r" * 64)

    def end(_: int) -> bool:
        with store.transaction("test", "end") as tx:
            return oauth.end_authorization(tx, "aut_1", "over")

    def claim(_: int) -> bool:
        with store.transaction("test", "claim") as tx:
            return oauth.claim_notice(tx, LogoutNotice("lgo_1", "app", "ada", "sid", NOW, NOW), NOW + 5)

    for act in (spend, end, claim):
        assert _all_at_once(act) == 1, act.__name__
    with store.read() as connection:
        used = oauth.load_token(connection, "r" * 64, REFRESH)
        assert used is not None and used.used_at == NOW  # told from rubbish until it is too old
        assert oauth.load_token(connection, "c" * 64, CODE) is None
        assert oauth.list_authorizations(connection, client="app") == ()


def test_a_person_who_is_forgotten_is_forgotten_here(store: Store) -> None:
    with store.transaction("test", "erased") as tx:
        forget_person(tx, "ada")
    with store.read() as connection:
        assert oauth.load_authorization(connection, "aut_1") is None
        assert oauth.next_due(connection) is None


def _all_at_once(act: Callable[[int], bool]) -> int:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(act, range(AT_ONCE)))


def _session() -> Session:
    return Session(
        id="ses_1", token_hash="h" * 64, person="ada", state="active", aal=2, phishing_resistant=False,
        methods=("password",), started_at=NOW, auth_at=NOW, seen_at=NOW, expires_at=NOW + 900, ip="",
        user_agent="",
    )  # fmt: skip


def _authorization() -> Authorization:
    return Authorization(
        id="aut_1", client="app", session="ses_1", person="ada", sid="sid", scopes=("openid",), audiences=(),
        nonce="n", jkt="", created_at=NOW, expires_at=NOW + 900,
    )  # fmt: skip

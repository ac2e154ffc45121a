"""Sealing and app secrets: what is stored does not open elsewhere, and is never listed."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limen.core.changes import SecretFact
from limen.core.clock import FakeClock
from limen.core.errors import Invalid, NotFound, Unavailable
from limen.core.secret import Secret
from limen.store import secrets
from limen.store.database import Store, Transaction
from limen.store.sealing import (
    APP_SECRETS,
    CREDENTIALS,
    Sealer,
    create_state_key,
    derive_key,
    load_state_key,
)

STATE_KEY = Secret(bytes(range(32)))
SEALER = Sealer(derive_key(STATE_KEY, APP_SECRETS))


@pytest.fixture
def tx(database: str) -> Iterator[Transaction]:
    with (
        Store.open(database, FakeClock()) as store,
        store.transaction("user:ada", "new") as opened,
    ):
        yield opened


@given(st.text(), st.text())
def test_what_is_sealed_opens_again(value: str, context: str) -> None:
    assert SEALER.open(SEALER.seal(Secret(value), context), context).reveal() == value


def test_the_same_value_is_never_sealed_alike() -> None:
    assert SEALER.seal(Secret("x"), "c") != SEALER.seal(Secret("x"), "c")


@pytest.mark.parametrize("sealer", [SEALER, Sealer(derive_key(STATE_KEY, CREDENTIALS)), Sealer(STATE_KEY)])
def test_another_context_or_key_does_not_open(sealer: Sealer) -> None:
    sealed = SEALER.seal(Secret("hunter2"), "totp:ada")
    with pytest.raises(Invalid) as refusal:
        sealer.open(sealed, "totp:eve")
    assert refusal.value.code == "SEAL_BROKEN"
    assert "hunter2" not in str(refusal.value)


def test_each_changed_byte_is_noticed() -> None:
    raw = bytearray(base64.urlsafe_b64decode(SEALER.seal(Secret("x"), "c").removeprefix("s1.")))
    for index in range(len(raw)):
        raw[index] ^= 1
        with pytest.raises(Invalid):
            SEALER.open("s1." + base64.urlsafe_b64encode(raw).decode(), "c")
        raw[index] ^= 1


@pytest.mark.parametrize("sealed", ["", "s1.", "s1.!!!!", "s1.AAAA", "ümlaut"])
def test_rubbish_does_not_open(sealed: str) -> None:
    with pytest.raises(Invalid):
        SEALER.open(sealed, "c")


def test_the_state_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "state.key"
    key = create_state_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_state_key(path) == key
    with pytest.raises(FileExistsError):
        create_state_key(path)
    assert [file.name for file in tmp_path.iterdir()] == ["state.key"]
    assert load_state_key(path) == key


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_a_state_key_that_is_missing_or_cut_is_unavailable(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "state.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"state\.key"):
        load_state_key(path)


def test_a_secret_is_listed_without_its_value(tx: Transaction) -> None:
    secrets.set_secret(tx, "payroll-basic", Secret("hunter2"), SEALER, gateway=True)
    listed = secrets.list_secrets(tx.connection)
    assert [(info.name, info.actor) for info in listed] == [("payroll-basic", "user:ada")]
    assert "hunter2" not in repr(listed)
    assert secrets.load_secret(tx.connection, "payroll-basic", SEALER).reveal() == "hunter2"


def test_a_gateway_gets_what_it_can_open_and_no_plain_text(tx: Transaction) -> None:
    secrets.set_secret(tx, "payroll-basic", Secret("hunter2"), SEALER, gateway=True)
    fact = tx._changes["secret", "payroll-basic"]
    assert isinstance(fact, SecretFact)
    assert "hunter2" not in fact.sealed
    assert SEALER.open(fact.sealed, secrets.secret_context("payroll-basic")).reveal() == "hunter2"


def test_a_secret_of_control_never_leaves_it(tx: Transaction) -> None:
    secrets.set_secret(tx, "oidc-corp", Secret("x"), SEALER, gateway=False)
    assert not tx._changes


def test_a_secret_that_is_deleted_or_withdrawn_leaves_the_gateways(database: str) -> None:
    with Store.open(database, FakeClock()) as store:

        def published() -> list[str]:
            return [value.id for _, value in store.snapshot().values]

        with store.transaction("a", "b") as tx:
            for name in ("one", "two", "three"):
                secrets.set_secret(tx, name, Secret("x"), SEALER, gateway=True)
        with store.transaction("a", "b") as tx:
            secrets.delete_secret(tx, "one")
            secrets.set_secret(tx, "two", Secret("y"), SEALER, gateway=False)
        assert published() == ["three"]
        with store.transaction("a", "b") as tx:
            secrets.publish_secrets(tx, frozenset({"two", "not-set-yet"}))
        assert published() == ["two"]


@pytest.mark.parametrize("name", ["", "Upper", "a b", "-a", "a" * 65])
def test_a_secret_name_that_is_no_label_is_refused(tx: Transaction, name: str) -> None:
    with pytest.raises(Invalid):
        secrets.set_secret(tx, name, Secret("x"), SEALER, gateway=True)


@pytest.mark.parametrize("value", ["", "x\r\nX-Injected: 1", "x\x00", "x" * 9000])
def test_a_secret_that_no_header_can_carry_is_refused_unshown(tx: Transaction, value: str) -> None:
    with pytest.raises(Invalid) as refusal:
        secrets.set_secret(tx, "name", Secret(value), SEALER, gateway=True)
    assert not value or value not in str(refusal.value)


def test_a_secret_that_is_not_there_is_not_found(tx: Transaction) -> None:
    with pytest.raises(NotFound):
        secrets.load_secret(tx.connection, "ghost", SEALER)
    with pytest.raises(NotFound):
        secrets.delete_secret(tx, "ghost")


def test_a_secret_withdrawn_in_the_transaction_that_published_it_never_leaves(
    tx: Transaction,
) -> None:
    secrets.set_secret(tx, "basic", Secret("x"), SEALER, gateway=True)
    secrets.set_secret(tx, "basic", Secret("x"), SEALER, gateway=False)
    assert tx.recorded("secret") == {"basic": None}
    secrets.set_secret(tx, "other", Secret("x"), SEALER, gateway=True)
    secrets.delete_secret(tx, "other")
    assert tx.recorded("secret") == {"basic": None, "other": None}

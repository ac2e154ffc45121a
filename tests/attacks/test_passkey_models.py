"""Which passkeys count: models by proof, AAL 3 by hardware alone; and attacks on both."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from identity_world import AUTH, DOMAIN, Browser, World
from passkey_maker import BIO, KEY_5, HardwareKey, Maker
from soft_passkey import BE, BS, UP, UV, SoftPasskey

from limen.core.identity_config import PasskeyConfig, SourcesConfig
from limen.store import credentials as keys
from limen.store.credentials import StoredPasskey

_ADDRESSES = itertools.count(1)  # each sign-in from elsewhere: none is throttled


@pytest.fixture(scope="module")
def maker() -> Maker:
    return Maker()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.add("ada")
    yield world
    world.store.close()


def _rules(world: World, **rules: Any) -> None:
    sources = SourcesConfig(passkeys=PasskeyConfig(**rules))
    world.catalogue = msgspec.structs.replace(world.catalogue, sources=sources)


def _strict(world: World, maker: Maker, **rules: Any) -> None:
    _rules(world, attestation="direct", roots_pem=maker.pem, **rules)


def _register(world: World, key: SoftPasskey) -> tuple[Browser, httpx.Response]:
    browser = world.browser(f"198.51.100.{next(_ADDRESSES)}")
    browser.sign_in("ada")
    csrf = browser.form(browser.get("/account"))["csrf"]
    options = browser.script("/account/passkey/options", csrf, {}).json()
    answer = browser.script("/account/passkey", csrf, {"credential": key.create(options), "name": "My key"})
    return browser, answer


def _sign_in(world: World, key: SoftPasskey) -> tuple[int, tuple[str, ...]] | None:
    """Return AAL and methods of the session that a passkey opens; None if it opens none."""
    browser = world.browser("192.0.2.5")
    csrf = browser.form(browser.get("/login"))["csrf"]
    options = browser.script("/login/passkey/options", csrf, {}).json()
    if browser.script("/login/passkey", csrf, {"credential": key.get(options)}).status_code != 200:
        return None
    session = world.parts.sessions.find(browser.cookie("__Host-limen") or "")
    assert session is not None
    return session.aal, session.methods


def _stored(world: World) -> tuple[StoredPasskey, ...]:
    with world.store.read() as connection:
        return keys.list_passkeys(connection, "ada")


def _hardware(maker: Maker, **batch: Any) -> HardwareKey:
    return HardwareKey(DOMAIN, AUTH, maker.batch(**batch))


def test_a_proven_key_of_a_listed_model_is_worth_aal_3(world: World, maker: Maker) -> None:
    _strict(world, maker, allow=(KEY_5,), hardware=(KEY_5,))
    key = _hardware(maker)
    browser, answer = _register(world, key)
    assert answer.status_code == 200, answer.text
    assert [(one.aaguid, one.attested, one.bound) for one in _stored(world)] == [(KEY_5, True, True)]
    assert _sign_in(world, key) == (3, ("hardware-key", "passkey"))
    page = browser.get("/account").text
    assert "hardware, proven" in page and KEY_5 in page


def test_a_proven_key_of_a_model_that_is_not_listed_as_hardware_is_worth_aal_2(
    world: World, maker: Maker
) -> None:
    _strict(world, maker, hardware=(BIO,))
    key = _hardware(maker)
    _register(world, key)
    assert _sign_in(world, key) == (2, ("passkey",))


@pytest.mark.parametrize("allow", [(), (KEY_5,)])
def test_what_a_passkey_says_of_itself_proves_nothing(
    world: World, maker: Maker, allow: tuple[str, ...]
) -> None:
    """Without `direct` it is taken, and worth AAL 2; nothing makes it hardware."""
    _rules(world, roots_pem=maker.pem, hardware=(KEY_5,), allow=allow)
    liars = [
        HardwareKey(DOMAIN, AUTH, None),  # self attestation
        HardwareKey(DOMAIN, AUTH, Maker("Maker Root").batch()),  # a root of the same name
        _hardware(maker, named=BIO),  # a certificate of another model
        _hardware(maker, unit="Marketing"),
        _hardware(maker, ca=True),
    ]
    for key in liars:
        _, answer = _register(world, key)
        assert answer.status_code == 200
        assert _sign_in(world, key) == (2, ("passkey",))
    assert not any(one.attested for one in _stored(world))


def test_where_models_must_be_proven_liars_are_refused(world: World, maker: Maker) -> None:
    _strict(world, maker, allow=(KEY_5,), hardware=(KEY_5,))
    liars = [
        SoftPasskey(DOMAIN, AUTH),  # no statement
        HardwareKey(DOMAIN, AUTH, None),
        HardwareKey(DOMAIN, AUTH, Maker("Maker Root").batch()),
        _hardware(maker, named=BIO),
        _hardware(maker, unit="Marketing"),
        _hardware(maker, ca=True),
    ]
    for key in liars:
        _, answer = _register(world, key)
        assert (answer.status_code, answer.json()["code"]) == (403, "PASSKEY_UNPROVEN")
    assert _stored(world) == ()


def test_a_model_that_is_not_on_the_list_is_refused(world: World, maker: Maker) -> None:
    _strict(world, maker, allow=(BIO,))
    _, answer = _register(world, _hardware(maker))
    assert (answer.status_code, answer.json()["code"]) == (403, "PASSKEY_MODEL")


def test_a_statement_that_was_changed_is_refused_under_any_rules(world: World, maker: Maker) -> None:
    key = _hardware(maker)
    key.tampered = True
    for rules in ({}, {"roots_pem": maker.pem}):
        _rules(world, **rules)
        _, answer = _register(world, key)
        assert (answer.status_code, answer.json()["code"]) == (403, "PASSKEY_REFUSED")


def test_a_key_that_may_be_copied_is_no_hardware_however_proven(world: World, maker: Maker) -> None:
    _strict(world, maker, hardware=(KEY_5,))
    key = _hardware(maker)
    key.flags = UP | UV | BE | BS
    _register(world, key)
    assert [(one.attested, one.bound) for one in _stored(world)] == [(True, False)]
    assert _sign_in(world, key) == (2, ("passkey",))


def test_a_bound_key_that_now_says_it_may_be_copied_is_not_aal_3(world: World, maker: Maker) -> None:
    _strict(world, maker, hardware=(KEY_5,))
    key = _hardware(maker)
    _register(world, key)
    key.flags = UP | UV | BE
    assert _sign_in(world, key) in (None, (2, ("passkey",)))


def test_rules_of_today_count_for_keys_of_yesterday(world: World, maker: Maker) -> None:
    key, plain = _hardware(maker), SoftPasskey(DOMAIN, AUTH)
    _rules(world, roots_pem=maker.pem, hardware=(KEY_5,))
    _register(world, key)
    browser, _ = _register(world, plain)
    assert _sign_in(world, key) == (3, ("hardware-key", "passkey"))
    _rules(world, roots_pem=maker.pem)
    assert _sign_in(world, key) == (2, ("passkey",)), "not listed as hardware any more"
    _strict(world, maker, allow=(BIO,))
    assert _sign_in(world, key) is None, "the model was taken off the list"
    assert _sign_in(world, plain) is None
    assert "passkey: model" in {event.data.get("why") for event in world.events}
    assert browser.get("/account").text.count("not accepted any more") == 2


def test_a_model_is_asked_for_only_where_it_is_read(world: World, maker: Maker) -> None:
    browser = world.browser()
    browser.sign_in("ada")
    csrf = browser.form(browser.get("/account"))["csrf"]
    asked = [browser.script("/account/passkey/options", csrf, {}).json()["attestation"]]
    _strict(world, maker)
    asked.append(browser.script("/account/passkey/options", csrf, {}).json()["attestation"])
    assert asked == ["none", "direct"]


def test_passkeys_have_names_that_their_owner_changes(world: World) -> None:
    browser, _ = _register(world, SoftPasskey(DOMAIN, AUTH))
    world.add("mallory")
    other = world.browser("192.0.2.8")
    other.sign_in("mallory")
    key = _stored(world)[0].id
    sent = {"id": key, "name": "Blue key"}
    csrf = other.form(other.get("/account"))["csrf"]
    assert other.post("/account/passkey/rename", {"csrf": csrf, **sent}).status_code == 404
    csrf = browser.form(browser.get("/account"))["csrf"]
    assert browser.post("/account/passkey/rename", {"csrf": csrf, **sent}).status_code == 303
    assert "Blue key" in browser.get("/account").text
    evil = {"csrf": csrf, "id": key, "name": "<b>x</b>"}
    browser.post("/account/passkey/rename", evil)
    assert "<b>x</b>" not in browser.get("/account").text
    bad = browser.post("/account/passkey/rename", {"csrf": csrf, "id": key, "name": "a\nb"})
    assert bad.status_code == 400

"""Attacks on what the authorization server gives: tokens that outlast their reason, work of strangers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import AUTH
from joserfc.jwk import ECKey
from machine_world import MachineWorld
from oauth_world import OauthWorld, dpop_proof, oauth_world
from sqlalchemy import func, select

from limen.core.entities import Kind
from limen.core.ids import Instant
from limen.store import directory
from limen.store.tables import spent

TOKEN = f"{AUTH}/oauth2/token"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
LEFT_S = 60.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OauthWorld]:
    with oauth_world(tmp_path) as made:
        yield made


def _ends(world: OauthWorld, person: str = "ada") -> Instant:
    """Have somebody be a partner whose time is up in a minute."""
    ends_at = world.clock.now() + LEFT_S
    with world.store.transaction("test", "partner") as tx:
        directory.update_person(tx, person, kind=Kind.PARTNER, expires_at=ends_at)
    return ends_at


def test_no_token_outlives_the_end_that_is_known_of_its_person(world: OauthWorld) -> None:
    ends_at = _ends(world)
    given = world.tokens(world.browse("ada"))
    again = world.refresh(given["refresh_token"]).json()
    for answer in (given, again):
        assert answer["expires_in"] <= LEFT_S
        for name in ("access_token", "id_token"):
            assert world.read(answer[name]).claims["exp"] <= ends_at, name


def test_a_device_token_does_not_outlive_it_either(world: OauthWorld) -> None:
    ends_at = _ends(world)
    begun = world.post("/oauth2/device", {"client_id": "app", "scope": "openid"}).json()
    browser = world.browse("ada")
    page = browser.get(begun["verification_uri_complete"])
    browser.submit(page, {"answer": "allow"})
    world.clock.advance(6)
    form = {
        "grant_type": DEVICE,
        "device_code": begun["device_code"],
        "client_id": "app",
    }
    answer = world.token(form).json()
    assert world.read(answer["access_token"]).claims["exp"] <= ends_at


def _spent(world: OauthWorld) -> int:
    with world.store.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(spent)) or 0)


def test_a_stranger_who_only_shows_keys_has_nothing_stored(world: OauthWorld) -> None:
    key = ECKey.generate_key("P-256", private=True)
    before = _spent(world)
    for form in (
        {"grant_type": "authorization_code", "code": "guess", "client_id": "app"},
        {"grant_type": "refresh_token", "refresh_token": "guess", "client_id": "app"},
        {"grant_type": DEVICE, "device_code": "x", "client_id": "app"},
    ):
        answer = world.token(form, dpop=dpop_proof(world, key, "POST", TOKEN))
        assert answer.status_code == 400
    assert _spent(world) == before


def test_a_machines_token_for_an_api_does_not_outlive_the_machine(tmp_path: Path) -> None:
    world = MachineWorld(tmp_path)
    key = ECKey.generate_key("P-256", private=True)
    world.give_key("billing")
    ends_at = world.clock.now() + LEFT_S
    world.workloads.change("billing", {"expires_at": ends_at}, actor="test", reason="soon over")
    proof = world.proof(key, "POST", TOKEN)
    answer = world.ask("billing", dpop=proof, resource="https://api.example/payments").json()
    assert answer["expires_in"] <= LEFT_S
    world.store.close()

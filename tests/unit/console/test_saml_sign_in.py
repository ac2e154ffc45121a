"""Signing in through a SAML provider: there, back, out."""

import shutil
from pathlib import Path

import pytest
from saml_world import SamlWorld

from limen.store import directory

pytestmark = pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed")


@pytest.fixture
def world(tmp_path: Path) -> SamlWorld:
    world = SamlWorld(tmp_path)
    world.add("root")
    return world


def test_a_person_is_made_at_the_first_sign_in_and_found_at_the_second(world: SamlWorld) -> None:
    said = {
        "name_id": "Ada.Lovelace",
        "attributes": {"displayName": ("Ada",), "groups": ("staff", "limen-admins")},
    }
    answer = world.sign_in(world.browser(), **said)
    assert answer.headers["location"] == "/", world.why()
    with world.store.read() as connection:
        person = directory.get_person(connection, "ada.lovelace")
    assert (person.name, person.source, person.groups) == ("Ada", "saml:corp", ("staff",))
    world.sign_in(world.browser(), **said, ident="_another")
    with world.store.read() as connection:
        assert len(directory.list_people(connection)) == 2

"""Fixtures of the sign-in tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Control with Ada, who has a password and TOTP."""
    world = World(tmp_path)
    world.add("ada")
    yield world
    world.store.close()

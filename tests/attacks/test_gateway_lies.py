"""What a gateway that was taken over, or whose clock is wrong, tells control."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import World

IDLE_S = 24 * 3600.0
NEVER = 1e15


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.add("ada")
    yield made
    made.store.close()


def test_a_gateway_cannot_keep_a_session_from_going_idle_by_a_time_to_come(world: World) -> None:
    world.browser().sign_in("ada")
    sessions = world.parts.sessions
    ((session, _),) = sessions.list_live()
    sessions.note_seen({session.id: NEVER})
    ((session, _),) = sessions.list_live()
    assert session.seen_at == world.clock.now()
    world.clock.advance(IDLE_S)
    sessions.sweep()
    assert not sessions.list_live()

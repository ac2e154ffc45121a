"""Control's care for clients: a change is followed by decisions, an end by a logout token."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from oauth_world import OauthWorld, cheap_rsa

from limen.administrator.session_life import SessionEvent
from limen.services.client_care import ClientCare
from limen.store import directory


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is awaited happens in threads
            await asyncio.sleep(0.01)


def test_what_changes_is_followed_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap_rsa(monkeypatch)
    world = OauthWorld(tmp_path)
    world.tokens(world.browse("ada"))
    world.tokens(world.browse("bob"))
    care = ClientCare(world.oauth)

    def leave() -> None:
        with world.store.transaction("test", "leaves") as tx:
            directory.remove_member(tx, "staff", "ada")

    def end() -> None:
        world.parts.sessions.end_person("bob", actor="t", why="t", event=SessionEvent.REVOKE)

    async def live() -> None:
        care.start()
        await asyncio.to_thread(leave)
        await until(lambda: len(world.clients.taken) == 1)
        world.clients.answers = [httpx.ConnectError("down")]
        await asyncio.to_thread(end)
        await until(lambda: world.oauth.backchannel.next_at() is not None and not world.clients.answers)
        world.clock.advance(2)
        await until(lambda: len(world.clients.taken) == 2)
        await care.stop()

    world.hear = care.hear
    asyncio.run(live())
    world.store.close()

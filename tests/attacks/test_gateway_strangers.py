"""Strangers at the ports that gateways of other machines use: who only connects takes nothing for long."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from gateways_rig import Rig, drive, until

CROWD = 20


def is_dropped(connection: socket.socket) -> bool:
    with suppress(BlockingIOError):
        try:
            return connection.recv(1) == b""
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize("port", ["feed", "console"])
def test_who_connects_and_never_shakes_hands_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    monkeypatch.setattr("limen.services.feed_tls.HANDSHAKE_TIMEOUT_S", 0.5)
    monkeypatch.setattr("limen.services.console_tls.HANDSHAKE_TIMEOUT_S", 0.5)

    async def story(rig: Rig) -> None:
        where = {"feed": rig.server.port, "console": rig.console.port}[port]
        idle = [socket.create_connection(("127.0.0.1", where)) for _ in range(CROWD)]
        for half, one in enumerate(idle):
            if half % 2:
                one.sendall(bytes((0x16, 3, 1, 2, 0, 1)))  # the beginning of a hello, and no more
            one.setblocking(False)
        async with asyncio.timeout(10):
            await until(lambda: all(map(is_dropped, idle)))
        for one in idle:
            one.close()

    drive(tmp_path, story)

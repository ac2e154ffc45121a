"""Starting and stopping the check on its Unix socket."""

import asyncio
from pathlib import Path

from limen.enforcement.check.check import Check
from limen.enforcement.check.metrics import Tally
from limen.enforcement.check.ports import ControlPort, Explainer
from limen.enforcement.check.protocol import CheckProtocol, Shell

BACKLOG = 1_024  # connections that Envoy's workers open at once after a restart
DRAIN_S = 2.0  # how long answers that wait for control or an explanation have to leave


class CheckServer:
    """The check, served at a path."""

    def __init__(self, server: asyncio.Server, shell: Shell) -> None:
        self._server = server
        self._shell = shell

    async def close(self) -> None:
        """Take no more connections, let answers leave, end the connections that are left."""
        self._server.close()
        deadline = asyncio.get_running_loop().time() + DRAIN_S
        while self._shell.waiting and asyncio.get_running_loop().time() < deadline:
            await asyncio.wait(self._shell.waiting, timeout=DRAIN_S)
        self._shell.flush()
        for connection in tuple(self._shell.connections):
            connection.close()


async def start_check(
    path: Path, check: Check, *, control: ControlPort, explainer: Explainer, tally: Tally
) -> CheckServer:
    """Serve `check` at `path` on the running loop (uvloop's, in a gateway)."""
    shell = Shell(check, control, explainer, tally)
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: CheckProtocol(shell), path=str(path), backlog=BACKLOG
    )
    _make_private(path)
    return CheckServer(server, shell)


def _make_private(path: Path) -> None:
    path.chmod(0o600)

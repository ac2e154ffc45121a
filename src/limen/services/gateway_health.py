"""What answers for a gateway: health and metrics, on its Unix socket and where Prometheus asks."""

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from limen.services.health import health_app
from limen.services.serving import UnixServer


class GatewayHealth:
    """Health of the brain that is active. The next one takes its place at the same path.

    Args:
        path: of the Unix socket.
        metrics: the host's listening socket; None where Prometheus has none.
    """

    def __init__(
        self,
        path: Path,
        metrics: socket.socket | None,
        *,
        ready: Callable[[], bool],
        describe: Callable[[], Mapping[str, object]],
        registry: CollectorRegistry,
    ) -> None:
        self._path = path
        self._metrics = metrics
        self._app = health_app(ready, describe, registry)
        self._shown: list[UnixServer] = []

    async def show(self) -> None:
        """Answer, in the place of whoever did; does nothing where this one does already."""
        if self._shown:
            return
        self._shown = [UnixServer(self._app, self._path)]
        if self._metrics is not None:
            self._shown.append(UnixServer(self._app, self._metrics.dup()))
        for server in self._shown:
            await server.start()

    async def hide(self) -> None:
        """Answer no more. The path is left alone: it may be another's by now."""
        shown, self._shown = self._shown, []
        for server in shown:
            await server.stop()

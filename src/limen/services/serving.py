"""uvicorn on Unix sockets, several applications in one loop, without its own handling of signals."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import uvicorn
import uvloop
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server

from limen.core.errors import Invalid
from limen.services.logs import configure_logs
from limen.services.processes import obey_parent, raise_file_limit
from limen.services.state import StateDir

BACKLOG = 1024
STOP_S = 3


class QuietServer(uvicorn.Server):
    """A server whose process, not itself, listens to signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class UnixServer:
    """One ASGI application on one private Unix socket, or on a socket that listens already."""

    def __init__(
        self,
        app: Any,
        where: Path | socket.socket,
        *,
        protocol: type[asyncio.Protocol] | str = "httptools",
    ) -> None:
        self._where = where
        self._server = QuietServer(
            uvicorn.Config(
                app,
                http=protocol,
                loop="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=STOP_S,
            )
        )
        self._task: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        """Listen, and serve until `stop`."""
        where = self._where
        listening = listen_unix(where) if isinstance(where, Path) else where
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name=f"serve-{where}")
        await asyncio.wait((self._task,), timeout=0)  # it listens already; what fails at once shows here
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Finish what is under way, and stop."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


def listen_unix(path: Path) -> socket.socket:
    """Return a listening Unix socket that only this user can reach, in place of a dead one."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def new_registry() -> CollectorRegistry:
    """Return a registry with the metrics that every process has."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def serve_metrics(registry: CollectorRegistry, address: str | None) -> None:
    """Serve Prometheus over TCP too, if an address was given.

    Raises:
        Invalid: not HOST:PORT, or it cannot be listened on.
    """
    if address is None:
        return
    host, _, port = address.rpartition(":")
    try:
        start_http_server(int(port), addr=host or "127.0.0.1", registry=registry)
    except (ValueError, OSError) as error:
        raise Invalid(
            f"--metrics: cannot serve on '{address}': {error}.", remedy="Write HOST:PORT of a free port."
        ) from None


class Service(Protocol):
    """A process's work: started, left alone until a signal, stopped."""

    registry: CollectorRegistry

    async def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """End, whether or not it had begun."""
        ...


def run_service(name: str, root: Path, metrics: str | None, make: Callable[[StateDir], Service]) -> None:
    """Run one service on a state folder, alone of its kind there, until SIGTERM or SIGINT."""
    obey_parent()
    configure_logs(process=name)
    raise_file_limit()
    state = StateDir.create(root)
    with state.lock(name):
        service = make(state)
        serve_metrics(service.registry, metrics)
        uvloop.run(_serve(service))


async def _serve(service: Service) -> None:
    try:
        await service.start()
        await until_signal()
    finally:
        await service.stop()


async def until_signal() -> None:
    """Return at SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    await stopping.wait()

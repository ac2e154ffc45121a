"""Starting and stopping the leash on its Unix socket."""

from pathlib import Path

import grpc

from limen.core.errors import Unavailable
from limen.enforcement.leash.leash import Leash
from limen.enforcement.leash.watchdog import Watchdog
from limen.enforcement.leash.wire import METHOD, SERVICE

STREAMS_MAX = 1_000_000  # on one connection of Envoy's; how many may live is a matter of policy
PENDING_MAX = 100_000  # calls that wait for their turn: a burst of reconnections is not an attack
MESSAGE_MAX_BYTES = 1024 * 1024  # headers, of which Envoy takes 64 kB
PING_INTERVAL_MIN_MS = 500  # Envoy pings each second; grpcio takes that for an attack unless told
STOP_S = 2.0

OPTIONS = (
    ("grpc.max_concurrent_streams", STREAMS_MAX),
    ("grpc.server.max_pending_requests", PENDING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_MAX),
    ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
    ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MIN_MS),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
)


class LeashServer:
    """The leash, served at a path."""

    def __init__(self, server: grpc.aio.Server, leash: Leash, watchdog: Watchdog | None) -> None:
        self._server = server
        self._leash = leash
        self._watchdog = watchdog

    def retire(self) -> None:
        """Take no new streams; those that are held stay, and can still be ended."""
        self._leash.retired = True

    async def empty(self) -> None:
        """Return once nothing is held any more. Called after `retire`."""
        await self._leash.empty()

    async def close(self) -> None:
        """End every stream, so that none lives on without its leash, and stop."""
        self.retire()
        self._leash.end_all()
        await self._server.stop(STOP_S)
        if self._watchdog is not None:
            self._watchdog.stop()


async def start_leash(path: Path, leash: Leash, *, watchdog: Watchdog | None = None) -> LeashServer:
    """Serve `leash` at `path` on the running loop.

    Raises:
        Unavailable: nobody can listen there.
    """
    server = grpc.aio.server(options=OPTIONS)
    method = grpc.stream_stream_rpc_method_handler(leash.serve)  # type: ignore[no-untyped-call]
    service = grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})  # type: ignore[no-untyped-call]
    server.add_generic_rpc_handlers((service,))
    _remove(path)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError:
        raise Unavailable(
            f"The leash cannot listen at {path}.",
            remedy="Give the gateway a folder of its own that it may write to.",
            code="SOCKET",
        ) from None
    await server.start()
    _make_private(path)
    if watchdog is not None:
        watchdog.start()
    return LeashServer(server, leash, watchdog)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _make_private(path: Path) -> None:
    path.chmod(0o600)

"""A local port, or this program's standard input and output, as the near end of tunnels."""

import asyncio
import contextlib
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from limen.connect.outcomes import Finished, Outcome
from limen.connect.tunnel import Tunnel
from limen.core.errors import Conflict, Invalid, Refused

TUNNELS_MAX = 1_000  # local connections at once
PUMP_BYTES = 262_144
LAST_BYTES_S = 5.0  # what a program that reads no more is waited for after a cut

Carry = Callable[[Tunnel], Awaitable[Outcome]]


class ListenAddress(NamedTuple):
    """Where to listen."""

    host: str
    port: int


class Ends(Protocol):
    """Who is told of each tunnel's end. True stops the whole."""

    async def __call__(self, outcome: Outcome) -> bool:
        """Take note."""


def parse_listen(text: str, *, anyone: bool) -> ListenAddress:
    """Return where `--listen` means.

    Raises:
        Invalid: it is no HOST:PORT.
        Refused: others on the network could use it, and `anyone` was not said.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise Invalid(f"--listen: '{text}' is not HOST:PORT.", remedy="Write 127.0.0.1:5433.")
    host = "127.0.0.1" if host in ("", "localhost") else host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise Invalid(f"--listen: '{host}' is not an IP address.", remedy="Write 127.0.0.1:5433.") from None
    if not loopback and not anyone:
        raise Refused(
            f"--listen: everybody who reaches {host} could use this connection in your name.",
            remedy="Listen on 127.0.0.1, or add --anyone-on-this-network.",
        )
    return ListenAddress(host, int(port))


async def serve_port(
    address: ListenAddress, carry: Carry, on_end: Ends, on_ready: Callable[[ListenAddress], None]
) -> None:
    """Carry every local connection until `on_end` says stop, or the task is cancelled.

    Raises:
        Conflict: the port is taken, or may not be used.
    """
    running: set[asyncio.Task[None]] = set()
    stop = asyncio.Event()

    async def one(tunnel: Tunnel) -> None:
        outcome = await carry(tunnel)
        finish(tunnel, outcome)
        if await on_end(outcome):
            stop.set()

    def begin(tunnel: Tunnel) -> None:
        if len(running) >= TUNNELS_MAX:
            tunnel.break_off()
            return
        task = asyncio.ensure_future(one(tunnel))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await _listen(address, begin)
    on_ready(ListenAddress(*server.sockets[0].getsockname()[:2]))
    try:
        await stop.wait()
    finally:
        server.close()
        for task in running:
            task.cancel()


def finish(tunnel: Tunnel, outcome: Outcome) -> None:
    """Close the local side as its outcome demands (law N4)."""
    if isinstance(outcome, Finished):
        tunnel.close()
    else:
        tunnel.break_off()


async def _listen(address: ListenAddress, begin: Callable[[Tunnel], None]) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        if sys.platform == "win32":  # there, SO_REUSEADDR would let another program take the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        return await loop.create_server(lambda: Tunnel(begin), sock=sock)
    except OSError as error:
        sock.close()
        raise Conflict(
            f"--listen: {address.host}:{address.port} cannot be used: {error.strerror}.",
            remedy="Choose another port.",
        ) from None


async def serve_stdio(carry: Carry) -> Outcome:
    """Carry this program's standard input and output, and return how it ended.

    Two threads copy between them and a pair of sockets, because pipes and terminals cannot be waited for
    on every system; a thread that waits for its pipe takes nothing from the other side (law N3).
    """
    near, far = socket.socketpair()
    made: asyncio.Future[Tunnel] = asyncio.get_running_loop().create_future()
    _, tunnel = await asyncio.get_running_loop().create_connection(lambda: Tunnel(made.set_result), sock=near)
    _binary(0, 1)
    reader = threading.Thread(target=pump_in, args=(0, far), name="stdin", daemon=True)
    writer = threading.Thread(target=pump_out, args=(far, 1), name="stdout", daemon=True)
    reader.start()
    writer.start()
    outcome = await carry(tunnel)
    finish(tunnel, outcome)
    await asyncio.to_thread(writer.join, None if isinstance(outcome, Finished) else LAST_BYTES_S)
    return outcome


def pump_in(source: int, far: socket.socket) -> None:
    """Copy a file descriptor into a socket; its end is the socket's end."""
    with contextlib.suppress(OSError):  # the other side is gone: nothing is left to do
        while data := os.read(source, PUMP_BYTES):
            far.sendall(data)
    with contextlib.suppress(OSError):
        far.shutdown(socket.SHUT_WR)


def pump_out(far: socket.socket, target: int) -> None:
    """Copy a socket into a file descriptor, and close that at the end, so that its reader sees it."""
    try:
        while data := far.recv(PUMP_BYTES):
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
    except OSError:  # nobody reads any more, or the tunnel was cut
        far.close()
    with contextlib.suppress(OSError):
        os.close(target)


def _binary(*descriptors: int) -> None:
    """Switch off Windows' translation of line ends."""
    if sys.platform == "win32":
        import msvcrt

        for descriptor in descriptors:
            msvcrt.setmode(descriptor, os.O_BINARY)

"""A whole system on one machine: control and gateway as supervised children. `up` and `demo` share it."""

import asyncio
import contextlib
import errno
import random
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from limen.core.errors import Conflict, Invalid, Unavailable
from limen.services.processes import Child, limen_command
from limen.services.state import StateDir

READY_S = 60.0
FREE_PORTS = range(20_000, 32_000)
POLL_S = 0.05
GATEWAY_STOP_S = 20.0  # from SIGTERM to SIGKILL: requests finish, Envoy ends, then the brains
LOG_TAIL_LINES = 12


class SystemOptions(msgspec.Struct, frozen=True):
    """What a system on one machine is made of.

    Attributes:
        bundle: applied if none is active yet.
        metrics: HOST:PORT of control's; the gateway's is the next port.
        gateways: HOST:PORT for gateways of other machines.
        control: a module to run in place of `limen control`.
    """

    state: Path
    bundle: Path
    port: int
    listen: str = "127.0.0.1"
    metrics: str | None = None
    gateways: str | None = None
    control: str = ""


class System:
    """Control and gateway, started together, ended together."""

    def __init__(self, options: SystemOptions) -> None:
        self.options = options
        self.state = StateDir.create(options.state)
        self._lock = self.state.lock("up")
        self.port = options.port or free_port(options.listen)
        demand_free(options.listen, self.port)
        self._children = (self._control(), self._gateway())

    async def start(self) -> None:
        """Start both, and wait until a request would be served.

        Raises:
            Unavailable: not ready in time; the message names the part and the end of its log.
        """
        for child in self._children:
            child.start()
        deadline = asyncio.get_running_loop().time() + READY_S
        for name, path in (("control", "admin"), ("gateway", "gateway")):
            await self._wait_ready(name, self.state.socket(path), deadline)

    async def stop(self) -> None:
        """Stop the gateway, then control."""
        for child in reversed(self._children):
            await child.stop()
        self._lock.close()

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the admin API without blocking the loop."""
        from limen.api.client import AdminClient

        client = AdminClient(self.state.socket("admin"))
        return await asyncio.to_thread(lambda: client.send(method, path, json=body or {}))

    def _control(self) -> Child:
        metrics = ("--metrics", self.options.metrics) if self.options.metrics else ()
        gateways = ("--gateways", self.options.gateways) if self.options.gateways else ()
        program = (
            (sys.executable, "-m", self.options.control) if self.options.control else limen_command("control")
        )
        arguments = (
            *program,
            "--state",
            str(self.state.root),
            "--bundle",
            str(self.options.bundle),
            "--public-port",
            str(self.port),
            *metrics,
            *gateways,
        )
        return Child("control", arguments, self.state.root / "log" / "control.log")

    def _gateway(self) -> Child:
        metrics = ("--metrics", _next_port(self.options.metrics)) if self.options.metrics else ()
        arguments = limen_command(
            "gateway",
            "--state",
            str(self.state.root),
            "--port",
            str(self.port),
            "--listen",
            self.options.listen,
            *metrics,
        )
        log = self.state.root / "log" / "gateway.log"
        return Child("gateway", arguments, log, terminate_s=GATEWAY_STOP_S)

    async def _wait_ready(self, name: str, path: Path, deadline: float) -> None:
        import httpx  # now that the children are on their way

        loop = asyncio.get_running_loop()
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://limen", timeout=2.0) as client:
            while loop.time() < deadline:
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                await asyncio.sleep(POLL_S)
        log = self.state.root / "log" / f"{name}.log"
        tail = (
            "\n".join(log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:])
            if log.exists()
            else ""
        )
        raise Unavailable(
            f"Limen's {name} was not ready within {READY_S:.0f} s. The end of {log}:\n{tail}",
            remedy="Mend what the log says, and start again.",
        )


def free_port(listen: str) -> int:
    """Return a TCP port that nobody listens on now.

    From below the range that the kernel gives to outgoing connections, or one of those could take it
    before whoever asked listens there.
    """
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        with socket.socket(family) as probe:
            if probe.connect_ex((listen, port)) == 0:
                continue
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((listen, port))
            return port
    raise Conflict(f"No TCP port of {listen} is free.", remedy="Choose one with --port.")


def demand_free(listen: str, port: int) -> None:
    """Raise unless a gateway could listen there.

    Raises:
        Conflict: somebody listens already.
        Invalid: not an address of this machine, or a port that needs rights.
    """
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Conflict(
                    f"Port {port} on {listen} is taken.",
                    remedy="Choose another with --port.",
                    code="PORT_IN_USE",
                ) from None
            raise Invalid(
                f"Cannot listen on {listen}:{port}: {error.strerror}.",
                remedy="Choose an address of this machine with --listen, and a port above 1023.",
            ) from None


def _next_port(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}"

"""`limen up`: serve a bundle on this machine until Ctrl-C."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from rich.console import Console

from limen.core.errors import Conflict
from limen.services.logs import configure_logs
from limen.services.state import DEFAULT_FOLDER
from limen.services.system import System, SystemOptions

out = Console(highlight=False, emoji=False, soft_wrap=True)


class UpOptions(msgspec.Struct, frozen=True):
    """What `limen up` was told."""

    bundle: Path
    state: Path | None
    port: int
    listen: str
    metrics: str | None
    gateways: str | None = None


def run_up(options: UpOptions) -> None:
    """Start, say where things are, and stay until SIGINT or SIGTERM."""
    configure_logs(process="up", json=False)
    state = options.state or options.bundle / DEFAULT_FOLDER
    system = System(
        SystemOptions(
            state=state,
            bundle=options.bundle,
            port=options.port,
            listen=options.listen,
            metrics=options.metrics,
            gateways=options.gateways,
        )
    )
    asyncio.run(serve(system, greet))


async def serve(system: System, greet: Callable[[System], Awaitable[None]]) -> None:
    """Run a system until a signal; `greet` speaks once it is ready."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    starting = asyncio.create_task(_start(system, greet))
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await waiting
    finally:
        for task in (starting, waiting):
            task.cancel()
        await system.stop()


async def greet(system: System) -> None:
    """Say where sign-in and apps are, and how the first administrator gets in."""
    status = await system.ask("GET", "/v1/status")
    out.print(f"Limen serves {status['domain']} on {system.options.listen}:{system.port}", markup=False)
    for app in status["apps"]:
        out.print(f"  {app['name']:<16} {app['url']}", markup=False)
    for service in status["services"]:
        out.print(f"  {service['name']:<16} limen connect {service['name']}", markup=False)
    out.print(f"  {'sign-in':<16} {status['auth_url']}", markup=False)
    if status["development_ca"]:
        out.print("Its certificates are of a development CA. To trust it: limen trust", markup=False)
    if status["folder_differs"]:
        out.print(
            "The bundle in this folder is not the active one. To make it so: limen policy apply", markup=False
        )
    try:
        answer = await system.ask("POST", "/v1/system/first-admin-link")
    except Conflict:
        return
    out.print("\nNobody is enrolled yet. Open this link within an hour to become the first administrator:")
    out.print(answer["link"], markup=False)


async def _start(system: System, greet: Callable[[System], Awaitable[None]]) -> None:
    await system.start()
    await greet(system)

"""`limen conformance revoke`, on a system made for it or on one that runs."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from limen.api.client import AdminClient
from limen.core.errors import Invalid
from limen.engine.starter import starter_files
from limen.services.conformance import bundle
from limen.services.conformance.cells import CELLS
from limen.services.conformance.people import Enroller
from limen.services.conformance.report import Report
from limen.services.conformance.run import Options, Run, Say, Task
from limen.services.conformance.streams import Door
from limen.services.conformance.system import Origin, PrivateSystem, RunningWorld, make_door
from limen.services.state import StateDir
from limen.services.system import free_port

DOMAIN = f"{bundle.NAME}.localhost"
ROTATION_WAIT_S = 12.0  # the gateway looks at its certificate files each 10 s


def revoke_private(gateways: int, streams: int, say: Say) -> Report:
    """Make a system of control and `gateways` gateways, run on it, and throw it away."""
    with tempfile.TemporaryDirectory(prefix="limen-conformance-") as folder, contextlib.ExitStack() as stack:
        origin = Origin()
        stack.callback(origin.close)
        ports = tuple(free_port("127.0.0.1") for _ in range(gateways + 1))
        system = stack.enter_context(PrivateSystem(Path(folder), gateways, ports))
        admin = system.start(starter_files(DOMAIN))
        say(f"Control and {gateways} gateway{'s' if gateways > 1 else ''} serve.")
        world = RunningWorld(admin, origin)
        tasks = (*_tasks(world, origin), *_private_tasks(system, say, gateways))
        doors = _doors(admin, ports[:gateways], system.ca_file)
        return _run(world, doors, system.ca_file, streams=streams, tasks=tasks, say=say)


def revoke_running(state: Path, streams: int, say: Say) -> Report:
    """Run on a system on this machine, and put everything back.

    Raises:
        Invalid: its certificate is not of the development CA, and its gateway is elsewhere.
    """
    found = StateDir.find(state)
    admin = AdminClient(found.socket("admin"))
    status = admin.get("/v1/status")
    ca_file = Path(status["ca_file"]) if status["ca_file"] else None
    port = int(str(status["auth_url"]).rpartition(":")[2]) if str(status["auth_url"]).count(":") > 1 else 443
    if ca_file is None:
        raise Invalid(
            "This system shows a certificate of its own.",
            remedy="Run `limen conformance revoke` without --state, on a private system of this release.",
        )
    with contextlib.ExitStack() as stack:
        origin = Origin()
        stack.callback(origin.close)
        world = RunningWorld(admin, origin)
        stack.callback(world.restore)
        doors = _doors(admin, (port,), ca_file)
        return _run(world, doors, ca_file, streams=streams, tasks=_tasks(world, origin), say=say)


def _run(
    world: RunningWorld,
    doors: tuple[Door, ...],
    ca_file: Path,
    *,
    streams: int,
    tasks: tuple[Task, ...],
    say: Say,
) -> Report:
    world.apply(more="".join(cell.more for cell in CELLS))
    _settle(world)
    auth_host = str(world.admin.get("/v1/status")["auth_url"]).removeprefix("https://").partition(":")[0]
    enroller = Enroller(world.admin, doors[0], auth_host, ca_file)
    run = Run(world, doors, enroller, Options(streams=streams, tasks=tasks), say)
    return asyncio.run(run.go())


def _settle(world: RunningWorld) -> None:
    """Wait until every gateway has the newest change."""
    deadline = time.monotonic() + 30
    while any(row.get("lag") for row in world.admin.get("/v1/gateways")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)  # Envoy takes the new routes


def _doors(admin: AdminClient, ports: tuple[int, ...], ca_file: Path) -> tuple[Door, ...]:
    domain = admin.get("/v1/status")["domain"]
    hosts = {"app_host": f"{bundle.NAME}.{domain}", "service_host": f"{bundle.SERVICE}.{domain}"}
    return tuple(make_door(f"gateway-{n}", port, hosts, ca_file) for n, port in enumerate(ports))


def _tasks(world: RunningWorld, origin: Origin) -> tuple[Task, ...]:
    """Housekeeping of any system."""
    more = f"http://127.0.0.1:{origin.http_port}"
    changed = f"http://localhost:{origin.http_port}"

    def applied(upstream: str) -> Callable[[], None]:
        def do() -> None:
            world.apply(extra_app=upstream)
            _settle(world)

        return do

    return (Task("an app is added", applied(more)), Task("an app is changed", applied(changed)))


def _private_tasks(system: PrivateSystem, say: Say, gateways: int) -> tuple[Task, ...]:
    """Housekeeping that only its owner does."""

    def rotate() -> None:
        system.rotate_certificate()
        time.sleep(ROTATION_WAIT_S)

    def upgrade() -> None:
        for number in range(gateways):
            system.upgrade_gateway(number)

    return (
        Task("the certificate is rotated", rotate),
        Task("the gateway is upgraded", upgrade),
        Task("control is restarted", system.restart_control),
    )

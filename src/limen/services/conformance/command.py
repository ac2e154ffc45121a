"""`limen conformance revoke`, on a system made for it or on one that runs."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from limen.api.client import AdminClient
from limen.core.errors import Invalid
from limen.engine.starter import starter_files
from limen.services.conformance import bundle
from limen.services.conformance.bundle import Twist
from limen.services.conformance.cells import CELLS, Cell, Since, World, since
from limen.services.conformance.doors import answer, certificate, make_door, wait_for, wait_served
from limen.services.conformance.people import Enroller, Holder
from limen.services.conformance.report import Report
from limen.services.conformance.run import Options, Run, Say, Task
from limen.services.conformance.scim import ScimClient
from limen.services.conformance.streams import Door
from limen.services.conformance.system import Origin, PrivateSystem, RunningWorld
from limen.services.state import StateDir
from limen.services.system import free_port

DOMAIN = f"{bundle.NAME}.localhost"
AGE_S = 1.25  # what is known is as old as the last ping, one a second


class Served(msgspec.Struct, frozen=True):
    """A system made for a run, with the run's bundle in force."""

    system: PrivateSystem
    world: RunningWorld
    origin: Origin
    doors: tuple[Door, ...]

    def enroller(self) -> Enroller:
        """Return what makes people."""
        return _enroller(self.world, self.doors, self.system.ca_file)


@contextlib.contextmanager
def private_system(
    gateways: int,
    *,
    environ: Mapping[str, str] | None = None,
    gateway_environ: Mapping[str, str] | None = None,
    lines: Callable[[int], Sequence[str]] = lambda _port: (),
    prepare: Callable[[Path], object] = lambda _root: None,
) -> Iterator[Served]:
    """Make a system of control and `gateways` gateways, and throw it away.

    Args:
        environ: of control, beside this process's own.
        gateway_environ: of the gateways.
        lines: from control's port for gateways, HOST:PORT at which those that join reach it.
        prepare: is called with the system's folder before anything is started.
    """
    with tempfile.TemporaryDirectory(prefix="limen-conformance-") as folder, contextlib.ExitStack() as stack:
        origin = Origin()
        stack.callback(origin.close)
        ports = tuple(free_port("127.0.0.1") for _ in range(gateways))
        line_port = free_port("127.0.0.1")
        prepare(Path(folder))
        system = stack.enter_context(
            PrivateSystem(
                Path(folder),
                ports,
                line_port,
                environ=environ,
                gateway_environ=gateway_environ,
                lines=lines(line_port),
            )
        )
        admin = system.start(starter_files(DOMAIN))
        world = RunningWorld(admin, origin)
        yield Served(system, world, origin, _doors(admin, ports, system.ca_file))


def revoke_private(
    gateways: int, streams: int, say: Say, *, adjust: Callable[[Served, Options], Options] | None = None
) -> Report:
    """Run on a system made for it. `adjust` makes another run of the usual one."""
    with private_system(gateways) as served:
        say(f"Control and {gateways} gateway{'s' if gateways > 1 else ''} serve.")
        system, world, doors = served.system, served.world, served.doors
        options = Options(
            streams=streams,
            cells=(*CELLS, _scim(world, doors, system.ca_file), _staleness(system)),
            tasks=(*_tasks(world, served.origin, doors), *_private_tasks(system, doors)),
        )
        if adjust is not None:
            options = adjust(served, options)
        return _run(world, doors, system.ca_file, options, say)


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
        cells = (*CELLS, _scim(world, doors, ca_file))
        options = Options(streams=streams, cells=cells, tasks=_tasks(world, origin, doors))
        return _run(world, doors, ca_file, options, say)


def _run(world: RunningWorld, doors: tuple[Door, ...], ca_file: Path, options: Options, say: Say) -> Report:
    world.apply(Twist(more="".join(cell.more for cell in options.cells)))
    wait_served(doors, tuple(bundle.PLACES))
    enroller = _enroller(world, doors, ca_file)
    return asyncio.run(Run(world, doors, enroller, options, say).go())


def _enroller(world: RunningWorld, doors: tuple[Door, ...], ca_file: Path) -> Enroller:
    return Enroller(world.admin, doors[0], _auth_host(world), ca_file)


def _scim(world: RunningWorld, doors: tuple[Door, ...], ca_file: Path) -> Cell:
    """Return the change that a SCIM client makes, through the last gateway."""
    return ScimClient(doors[-1], _auth_host(world), ca_file).cell()


def _auth_host(world: RunningWorld) -> str:
    return str(world.admin.get("/v1/status")["auth_url"]).removeprefix("https://").partition(":")[0]


def _doors(admin: AdminClient, ports: tuple[int, ...], ca_file: Path) -> tuple[Door, ...]:
    domain = str(admin.get("/v1/status")["domain"])
    return tuple(make_door(f"gateway-{n}", port, domain, ca_file) for n, port in enumerate(ports))


def _tasks(world: RunningWorld, origin: Origin, doors: tuple[Door, ...]) -> tuple[Task, ...]:
    """Housekeeping of any system."""

    def add() -> None:
        world.apply(Twist(extra=f"http://127.0.0.1:{origin.http_port}"))
        wait_served(doors, ("more",))

    def change() -> None:
        world.apply(Twist(extra=f"http://localhost:{origin.http_port}", opened=True))
        for door in doors:
            there = door.at("more")
            wait_for(lambda there=there: answer(there) == 200, f"the change at {door.name}")  # type: ignore[misc]

    return (Task("an app is added", add), Task("an app is changed", change))


def _private_tasks(system: PrivateSystem, doors: tuple[Door, ...]) -> tuple[Task, ...]:
    """Housekeeping that only its owner does."""

    def rotate() -> None:
        before = [certificate(door) for door in doors]
        system.rotate_certificate()
        for door, old in zip(doors, before, strict=True):
            wait_for(
                lambda door=door, old=old: certificate(door) not in ("", old),  # type: ignore[misc]
                f"a fresh certificate at {door.name}",
            )

    def upgrade() -> None:
        for number in range(len(doors)):
            system.upgrade_gateway(number)

    return (
        Task("the certificate is rotated", rotate),
        Task("the gateway is upgraded", upgrade),
        Task("control is restarted", system.restart_control),
    )


def _staleness(system: PrivateSystem) -> Cell:
    """Return the change that nobody makes: control falls silent, and what is known grows old."""

    def fall_silent(_world: World, _holder: Holder) -> Since:
        system.pause_control()
        return since(time.time() + bundle.STALENESS_S)

    return Cell("staleness", fall_silent, place=bundle.BRIEF, early_s=AGE_S, undo=system.resume_control)

"""`limen demo`: the sample apps, the people, and a whole system around them; `--tour` plays and leaves."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from limen.services.demo.apps import SampleApps
from limen.services.demo.guide import ready_content, render_guide
from limen.services.demo.people import DemoPerson, load_people, people_file
from limen.services.demo.sample_bundle import DOMAIN, write_bundle
from limen.services.logs import configure_logs
from limen.services.state import read_bundle
from limen.services.system import System, SystemOptions
from limen.services.up import serve

if TYPE_CHECKING:
    from limen.services.demo.tour import Scene


SCIM_CLIENT = "demo"
SCIM_TOKEN_S = 30 * 86_400.0


class DemoOptions(msgspec.Struct, frozen=True):
    """What `limen demo` was told."""

    port: int
    state: Path | None
    ready_file: Path | None
    tour: bool
    as_json: bool


def run_demo(options: DemoOptions) -> None:
    """Start everything, say where it is, and stay until Ctrl-C, or until the tour is over."""
    configure_logs(process="demo", json=False)
    began_at = time.monotonic()
    root = (options.state or default_state()).resolve()
    system = System(
        SystemOptions(
            state=root, bundle=root / "bundle", port=options.port, control="limen.services.demo.control"
        )
    )
    people = load_people(people_file(root))
    auth_url = f"https://auth.{DOMAIN}:{system.port}"
    ca_file = root / "ca" / "ca.pem"
    apps = SampleApps(root, auth_url=auth_url, ca_file=ca_file)
    write_bundle(root / "bundle", {**apps.urls, **apps.services})
    apps.start()
    ready = ready_content(
        domain=DOMAIN,
        port=system.port,
        ca_file=str(ca_file),
        auth_url=auth_url,
        apps={name: f"https://{name}.{DOMAIN}:{system.port}" for name in apps.urls},
        services={name: f"{name}.{DOMAIN}:{system.port}" for name in apps.services},
        people=people,
        pid=os.getpid(),
        state_dir=str(root),
    )
    try:
        asyncio.run(_run(system, ready, people, options, began_at))
    finally:
        apps.stop()


def default_state() -> Path:
    """Return the folder of a demo that was given none: kept, so that its CA need be trusted only once."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "limen-demo"


async def _run(
    system: System,
    ready: dict[str, Any],
    people: tuple[DemoPerson, ...],
    options: DemoOptions,
    began_at: float,
) -> None:
    if options.tour:
        await _play(system, ready, options)
        return

    async def greet(system: System) -> None:
        took_s = time.monotonic() - began_at
        await _apply_own_bundle(system)
        ready["scim"] = await _open_scim(system)
        if options.ready_file is not None:
            _write_ready(options.ready_file, ready)
        if options.as_json:
            typer.echo(msgspec.json.encode(ready).decode())
        else:
            typer.echo(render_guide(ready, people))
            typer.echo(f"\nReady in {took_s:.1f} s.")

    await serve(system, greet)


async def _play(system: System, ready: dict[str, Any], options: DemoOptions) -> None:
    from limen.services.demo.tour import play_tour  # pulls in much that a plain start does not need

    say = (lambda line: None) if options.as_json else typer.echo

    async def play() -> "tuple[Scene, ...]":
        await system.start()
        await _apply_own_bundle(system)
        ready["scim"] = await _open_scim(system)
        if options.ready_file is not None:
            _write_ready(options.ready_file, ready)
        return await asyncio.to_thread(play_tour, ready, say)

    playing = asyncio.create_task(play())
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):  # they end the play, never the stop that follows it
        loop.add_signal_handler(name, playing.cancel)
    try:
        scenes = await playing
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        await system.stop()
    if options.as_json:
        typer.echo(msgspec.json.encode(scenes).decode())
    else:
        typer.echo("\nAll six scenes went as they should.")


async def _apply_own_bundle(system: System) -> None:
    """Bring the bundle of this start into force: the apps' ports differ from the last one's."""
    files = read_bundle(system.options.bundle)
    await system.ask("POST", "/v1/policy/apply", {"files": files, "reason": "demo"})


async def _open_scim(system: System) -> dict[str, str]:
    """Return where the demo's SCIM client finds Limen, and a token; those of earlier starts end."""
    body = {"name": "ready file", "expires_s": SCIM_TOKEN_S, "overlap_s": 0, "reason": "demo"}
    made = await system.ask("POST", f"/v1/scim/{SCIM_CLIENT}/tokens", body)
    return {"url": made["url"], "token": made["token"]}


def _write_ready(path: Path, ready: dict[str, Any]) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(ready), indent=2))
    fresh.rename(path)

"""The commands that begin: init, protect, up, demo; and the processes they are made of."""

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limen.cli import remote
from limen.cli.output import JsonOption, StateOption, connect, err, out, print_fields
from limen.core.errors import BundleRefused, Conflict, Invalid, NotFound
from limen.services.gateway_options import NODE, UPGRADE_DEADLINE_S, GatewayOptions

if TYPE_CHECKING:
    from limen.core.catalogue import Catalogue

DEFAULT_PORT = 8443

PortOption = Annotated[
    int, typer.Option(envvar="LIMEN_PORT", help="The gateway's port; 0 takes a free one.", min=0, max=65535)
]
ListenOption = Annotated[str, typer.Option(help="The address that the gateway listens on.")]
MetricsOption = Annotated[
    str | None, typer.Option("--metrics", help="HOST:PORT for Prometheus, besides the Unix socket.")
]
GatewaysOption = Annotated[
    str | None,
    typer.Option(help="HOST:PORT for gateways of other machines; they use the next port too."),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.callback()(root)
    for command in (init, protect, up, demo, trust, control):
        app.command()(command)
    app.add_typer(gateway_app, name="gateway")


def print_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from limen import __version__

        typer.echo(__version__)
        raise typer.Exit


def root(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version.")
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(
            help="Administer the system at https://auth.DOMAIN, with the workload's token of LIMEN_TOKEN "
            "(or of the file LIMEN_TOKEN_FILE). Else LIMEN_SERVER, else a system on this machine."
        ),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="A private CA to trust there. Else LIMEN_CA_FILE.")
    ] = None,
) -> None:
    """Zero-trust access: every request decided, every decision explained."""
    remote.choose(server, ca_file)


def init(
    folder: Annotated[Path, typer.Argument(help="Where the bundle goes.")] = Path(),
    domain: Annotated[
        str, typer.Option(help="Apps are at NAME.DOMAIN, sign-in at auth.DOMAIN.")
    ] = "limen.localhost",
) -> None:
    """Write a commented bundle: the domain, starter guardrails, a test."""
    from limen.engine.starter import starter_files

    files = {
        **starter_files(domain),
        ".gitignore": "# keys and database of a system that runs here\n.limen/\n",
    }
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise Conflict(f"{folder / there[0]} exists already.", remedy="Choose an empty folder.")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        out.print(f"wrote {path}", markup=False)
    out.print("Next: limen protect URL --name NAME --allow group:GROUP, then limen up", markup=False)


def protect(
    url: Annotated[
        str | None, typer.Argument(help="Where the app listens, such as http://127.0.0.1:9001.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The app's name: it will be at NAME.DOMAIN.")] = None,
    service: Annotated[str | None, typer.Option(help="Instead of an app: the TCP service's name.")] = None,
    address: Annotated[str | None, typer.Option(help="Where the service listens: HOST:PORT.")] = None,
    protocol: Annotated[str, typer.Option(help="What the service speaks: ssh, postgres, redis …")] = "",
    allow: Annotated[list[str] | None, typer.Option(help="group:NAME or user:NAME; repeat for more.")] = None,
    folder: Annotated[Path | None, typer.Option(help="The bundle's folder. Else this one, or above.")] = None,
) -> None:
    """Add an app or a TCP service and who may use it to the bundle, and show the difference."""
    from limen.engine.protect import add_app, add_service

    who = tuple(allow or ())
    if service is not None and address is not None and url is None and name is None:
        catalogue = edit_bundle(
            folder,
            lambda text: add_service(text, name=service, address=address, protocol=protocol, allow=who),
        )
        host = catalogue.services[service].host
        told = f"\n{service} will be at {host}, through `limen connect {service}`. "
    elif url is not None and name is not None and service is None and address is None and not protocol:
        catalogue = edit_bundle(folder, lambda text: add_app(text, name=name, upstream=url, allow=who))
        told = f"\n{name} will be at https://{catalogue.apps[name].host}{_port_suffix()}. "
    else:
        raise Invalid(
            "protect: say either a URL and --name, or --service and --address.",
            remedy="`limen protect http://127.0.0.1:9001 --name wiki`, "
            "or `limen protect --service db --address 127.0.0.1:5432 --protocol postgres`.",
        )
    out.print(f"{told}Serve it: `limen up`, or `limen policy apply`.", markup=False)
    if not allow:
        out.print("Nobody may use it yet: add --allow, or write a policy.", markup=False)


def edit_bundle(
    folder: Path | None, edit: Callable[[str], str], more: Mapping[str, str] | None = None
) -> "Catalogue":
    """Change the text of limen.yaml, refuse what would not parse, and show the difference.

    Args:
        folder: of the bundle; None is this one, or above.
        edit: returns the new text.
        more: further files that the new text names, by name.
    """
    from limen.engine.bundle import parse_bundle
    from limen.services.state import BUNDLE_FILE, bundle_folder, read_bundle

    found = folder or bundle_folder(Path.cwd())
    if found is None:
        raise NotFound("No limen.yaml here or above.", remedy="Make a bundle with `limen init`.")
    files = read_bundle(found)
    before = files[BUNDLE_FILE]
    after = edit(before)
    parse_bundle(files)  # what is wrong already is told with its place, before anything is added to it
    try:
        bundle = parse_bundle({**files, **(more or {}), BUNDLE_FILE: after})
    except BundleRefused as refused:  # its places would be of a file that nobody has seen
        first = refused.findings[0]
        raise Invalid(first.message, remedy=first.remedy) from None
    for name, text in (more or {}).items():
        (found / name).write_text(text, "utf-8")
    (found / BUNDLE_FILE).write_text(after, "utf-8")
    for line in difflib.unified_diff(
        before.splitlines(), after.splitlines(), BUNDLE_FILE, BUNDLE_FILE, lineterm=""
    ):
        style = {"+": "green", "-": "red"}.get(line[:1])
        out.print(line, style=style, markup=False)
    return bundle.catalogue


def _port_suffix() -> str:
    """Return the port that `limen up` will take, as it stands in an address."""
    port = os.environ.get("LIMEN_PORT") or str(DEFAULT_PORT)
    return "" if port == "443" else f":{port}"


def up(
    folder: Annotated[
        Path | None, typer.Argument(help="The bundle's folder. Else this one, or above.")
    ] = None,
    state: StateOption = None,
    port: PortOption = DEFAULT_PORT,
    listen: ListenOption = "127.0.0.1",
    metrics: MetricsOption = None,
    gateways: GatewaysOption = None,
) -> None:
    """Serve a bundle: control and gateway on this machine, until Ctrl-C."""
    from limen.services.state import bundle_folder
    from limen.services.up import UpOptions, run_up

    found = folder or bundle_folder(Path.cwd())
    if found is None:
        raise NotFound("No limen.yaml here or above.", remedy="Make a bundle with `limen init`.")
    run_up(UpOptions(bundle=found, state=state, port=port, listen=listen, metrics=metrics, gateways=gateways))


def demo(
    port: PortOption = DEFAULT_PORT,
    state: StateOption = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write where everything is, as JSON, once it serves.")
    ] = None,
    tour: Annotated[
        bool, typer.Option("--tour", help="Play six scenes with real requests, then stop.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a throw-away system: sign-in, three apps, four people, things to try."""
    from limen.services.demo.run import DemoOptions, run_demo

    run_demo(DemoOptions(port=port, state=state, ready_file=ready_file, tour=tour, as_json=as_json))


def status(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show whether the system is whole: control, gateway, bundle, ages."""
    print_fields(connect(state).get("/v1/status"), as_json=as_json)


def trust(state: StateOption = None) -> None:
    """Say how to make this machine and its browsers trust the development certificates."""
    from limen.enforcement.certificates import trust_instructions
    from limen.services.state import StateDir

    root = StateDir.find(state).root / "ca"
    out.print(trust_instructions(root), markup=False)


def control(
    state: Annotated[Path, typer.Option(help="The state folder; made if it is new.")],
    bundle: Annotated[Path | None, typer.Option(help="The bundle to apply if none is active.")] = None,
    public_port: Annotated[
        int, typer.Option(help="The port under which browsers reach the gateway.")
    ] = DEFAULT_PORT,
    metrics: MetricsOption = None,
    gateways: GatewaysOption = None,
) -> None:
    """Run control: sign-in, directory, policy administration, the change feed."""
    from limen.services.control import ControlOptions, run_control

    run_control(
        ControlOptions(
            state=state, bundle=bundle, public_port=public_port, metrics=metrics, gateways=gateways
        )
    )


gateway_app = typer.Typer(invoke_without_command=True, help="Run a gateway, or look after one.")


@gateway_app.callback()
def gateway(
    context: typer.Context,
    state: StateOption = None,
    port: PortOption = DEFAULT_PORT,
    listen: ListenOption = "127.0.0.1",
    metrics: MetricsOption = None,
    node: Annotated[str, typer.Option(help="Its name in records: a-z, 0-9 and -.")] = NODE,
    drain_s: Annotated[
        float, typer.Option(min=0, help="Seconds that live streams may go on after SIGTERM.")
    ] = 0.0,
    upgrade_deadline_s: Annotated[
        float, typer.Option(min=0, help="Seconds that live streams may go on after an upgrade.")
    ] = UPGRADE_DEADLINE_S,
    brain: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a gateway: Envoy, the decision service, a replica of the facts."""
    if context.invoked_subcommand is not None:
        return
    if state is None:
        raise Invalid("--state: a gateway needs a state folder.", remedy="Name the one that control made.")
    if port == 0:
        raise Invalid("--port: a gateway needs a port of its own.", remedy="Name one, such as 8443.")
    options = GatewayOptions(
        state=state,
        port=port,
        listen=listen,
        metrics=metrics,
        node=node,
        drain_s=drain_s,
        upgrade_deadline_s=upgrade_deadline_s,
    )
    if brain is not None:
        from limen.services.gateway import run_brain

        run_brain(options, brain)
        return
    from limen.services.gateway_start import become_host

    err.print(f"limen gateway on {listen}:{port}", markup=False)
    become_host(options)


@gateway_app.command()
def upgrade(state: StateOption = None) -> None:
    """Replace the gateway's program by the one on the disk now. No live stream is cut."""
    from limen.services.gateway_start import upgrade_gateway

    status = upgrade_gateway(state)
    slot = status.slots[status.active]
    held = sum(other.streams for name, other in status.slots.items() if name != status.active)
    out.print(f"Release {slot.release} serves (process {slot.pid}).", markup=False)
    if held:
        out.print(f"{held} live streams stay with the process before it until they end.", markup=False)

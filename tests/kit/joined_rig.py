"""Control in one process, a gateway that joined it in another, in folders of their own, and a real Envoy."""

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from attack_wire import eventually
from envoy_rig import free_port, read_reply
from gateway_rig import Ticker

from limen.api.client import AdminClient
from limen.core.errors import LimenError
from limen.engine.starter import starter_files
from limen.services.gateway_status import read_status
from limen.services.state import StateDir

DOMAIN = "limen.localhost"
NODE = "edge"
KEYS = "/.well-known/limen/jwks.json"
READY_S = 60.0
CONTROL = """
import sys
from pathlib import Path
from limen.services.control import ControlOptions, run_control
state, bundle, port, gateways = sys.argv[1:]
run_control(ControlOptions(state=Path(state), bundle=Path(bundle), public_port=int(port), metrics=None,
                           gateways=f"127.0.0.1:{gateways}"))
"""


class Site(NamedTuple):
    """Control in one folder, a gateway in another, and nothing shared but the line between them."""

    control: StateDir
    gateway: StateDir
    port: int
    line_port: int
    folder: Path

    @property
    def brain(self) -> int:
        status = read_status(self.gateway.run / "gateway.json")
        slot = status.slots[status.active]
        return (slot.pid or 0) if slot.phase == "serving" else 0

    def ready(self) -> bool:
        transport = httpx.HTTPTransport(uds=str(self.gateway.socket("gateway")))
        try:
            with httpx.Client(transport=transport) as client:
                return client.get("http://limen/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, host: str, path: str = "/") -> int:
        context = ssl.create_default_context(cafile=str(self.gateway.root / "ca" / "ca.pem"))
        with (
            socket.create_connection(("127.0.0.1", self.port), 20) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            head = f"GET {path} HTTP/1.1\r\nHost: {host}:{self.port}\r\nAccept: application/json\r\n\r\n"
            connection.sendall(head.encode())
            return read_reply(connection).status

    def limen(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "limen", *arguments],
            capture_output=True,
            text=True,
            check=False,
            input=more.get("typed"),
            env={**os.environ, "COLUMNS": "200"},
        )

    def run_control(self) -> subprocess.Popen[bytes]:
        arguments = (str(self.control.root), str(self.folder / "bundle"), str(self.port), str(self.line_port))
        return self._run("control", "-c", CONTROL, *arguments)

    def run_gateway(self) -> subprocess.Popen[bytes]:
        options = ("--state", str(self.gateway.root), "--port", str(self.port))
        return self._run("gateway", "-m", "limen", "gateway", *options)

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log)

    def administers(self) -> bool:
        try:
            return bool(AdminClient(self.control.socket("admin")).get("/v1/status"))
        except LimenError:
            return False


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def write_bundle(folder: Path, ticker: Ticker) -> None:
    for name, text in starter_files(DOMAIN).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    app = {"upstream": ticker.url, "routes": [{"name": "open", "path": "/open/**", "public": True}]}
    content = {"domain": DOMAIN, "apps": {"ticker": app}}
    (folder / "limen.yaml").write_text(json.dumps(content))  # which is YAML


@contextmanager
def joined() -> Iterator[tuple[Site, subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """Give a gateway that serves, and the processes of control and of the gateway."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lj")))
        ticker = Ticker()
        stack.callback(ticker.stop)
        write_bundle(folder / "bundle", ticker)
        states = [folder / name for name in ("c", "g")]
        site = Site(StateDir(states[0]), StateDir(states[1]), free_port(), free_port(), folder)
        control = stack.enter_context(ending(site.run_control()))
        assert eventually(site.administers, READY_S), (folder / "control.log").read_text()
        AdminClient(site.control.socket("admin")).post("/v1/people", {"id": "ada", "groups": []})
        made = site.limen("gateway", "token", NODE, "--reason", "test", "--state", str(states[0]))
        assert made.returncode == 0, made.stderr
        taken = site.limen("gateway", "join", "--state", str(states[1]), typed=made.stdout)
        assert taken.returncode == 0, taken.stderr
        gateway = stack.enter_context(ending(site.run_gateway()))
        assert eventually(site.ready, READY_S), (folder / "gateway.log").read_text()
        yield site, control, gateway

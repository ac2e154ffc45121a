"""The systems a conformance run works on: one that runs, or one made for it and thrown away."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from limen.api.client import AdminClient
from limen.core.errors import LimenError, Unavailable
from limen.services.conformance import bundle
from limen.services.processes import limen_command
from limen.services.state import StateDir

COMMITTED_AT = "x-limen-committed-at"
START_S = 60.0
STOP_S = 30.0
UPGRADE_S = 160.0  # more than the gateway takes to give up
LOG_TAIL_LINES = 30
POLL_S = 0.05
REASON = "end of conformance"


class Origin:
    """The app and the service behind the gateway, in a process of their own."""

    def __init__(self) -> None:
        program = (sys.executable, "-m", "limen.services.conformance.origin")
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        ports = json.loads(self._process.stdout.readline())
        self.http_port, self.tcp_port = int(ports["http"]), int(ports["tcp"])

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(STOP_S)


class RunningWorld:
    """A system that runs, with the run's bundle in force; `restore` puts back what was."""

    def __init__(self, admin: AdminClient, origin: Origin) -> None:
        self.admin = admin
        self._origin = origin
        self._before: dict[str, str] = admin.get("/v1/policy")["files"]

    def call(self, method: str, path: str, **options: Any) -> tuple[Any, float]:
        """Call the admin API; return the answer and the instant of the commit."""
        answer, headers = self.admin.send_for_headers(method, path, **options)
        return answer, float(headers.get(COMMITTED_AT, time.time()))

    def apply(self, twist: bundle.Twist | None = None) -> float:
        """Apply the run's bundle with a twist; return the instant of the commit."""
        files = bundle.with_conformance(
            self._before, http_port=self._origin.http_port, tcp_port=self._origin.tcp_port, twist=twist
        )
        return self.call("POST", "/v1/policy/apply", json={"files": files, "reason": "conformance"})[1]

    def restore(self) -> None:
        """Put back the bundle that was, end the accounts of the run's people, and remove its groups."""
        self.admin.post("/v1/policy/apply", {"files": self._before, "reason": REASON})
        for person in self.admin.get("/v1/people"):
            if str(person["id"]).startswith(f"{bundle.EVERYBODY}-"):
                self.admin.patch(f"/v1/people/{person['id']}", {"status": "ended", "reason": REASON})
        for group in self.admin.get("/v1/groups"):
            if str(group["id"]).startswith(bundle.EVERYBODY):
                self.admin.delete(f"/v1/groups/{group['id']}", reason=REASON)


class Program:
    """One of Limen's processes, run as a user would: started, signalled, ended.

    It ends with the thread that has started it (prctl(2), PR_SET_PDEATHSIG).
    """

    def __init__(self, *arguments: str, log: Path, environ: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._log = log
        self._environ = environ
        self.process = self._run()

    def _run(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own program
                limen_command(*self._arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self._environ, "LIMEN_PARENT": str(os.getpid())},
                start_new_session=True,
            )

    def start(self) -> None:
        """Start it again."""
        self.process = self._run()

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(STOP_S)

    def end(self) -> None:
        """End it: SIGTERM, then SIGKILL."""
        self.process.send_signal(signal.SIGCONT)  # it may have been paused
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class PrivateSystem:
    """Control and gateways of one's own, each a process, in a folder that is thrown away.

    Args:
        ports: of the gateways. The first sits on control's machine, the others join.
        line_port: of control for them.
        environ: of control, beside this process's own.
        gateway_environ: of the gateways.
        lines: HOST:PORT on which gateways that join reach control, where it is not that port.
    """

    def __init__(
        self,
        root: Path,
        ports: tuple[int, ...],
        line_port: int,
        *,
        environ: Mapping[str, str] | None = None,
        gateway_environ: Mapping[str, str] | None = None,
        lines: Sequence[str] = (),
    ) -> None:
        self._root = root
        self._environ = environ or {}
        self._gateway_environ = gateway_environ or {}
        self._lines = lines
        self._control_state = root / "control"
        self._ports = ports
        self._gateways = len(ports)
        self._line_port = line_port
        self.control: Program | None = None
        self.gateways: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in reversed([program for program in (self.control, *self.gateways) if program]):
            program.end()

    def start(self, files: Mapping[str, str]) -> AdminClient:
        """Start everything, and return once all gateways serve."""
        folder = self._root / "bundle"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        state = StateDir.create(self._control_state)
        self.control = Program(
            "control",
            *("--state", str(self._control_state), "--bundle", str(folder)),
            *("--public-port", str(self._ports[0])),
            *(("--gateways", f"127.0.0.1:{self._line_port}") if self._gateways > 1 else ()),
            log=self._root / "control.log",
            environ=self._environ,
        )
        admin = AdminClient(state.socket("admin"))
        self.wait(lambda: bool(admin.get("/v1/status")), "control")
        self._run_gateway(self._control_state, 0)
        for number in range(1, self._gateways):
            self._join(admin, number)
        self.wait(lambda: len(admin.get("/v1/gateways")) >= self._gateways, "gateways")
        for number in range(self._gateways):
            self.wait_ready(number)
        return admin

    def wait_ready(self, number: int) -> None:
        """Wait until a gateway serves."""
        health = AdminClient(StateDir(self.state(number)).socket("gateway"))
        self.wait(lambda: health.get("/readyz")["status"] == "ok", f"gateway {number}")

    def upgrade_gateway(self, number: int) -> None:
        """Upgrade a gateway's brain, and wait until the next one serves.

        Raises:
            Unavailable: it was not upgraded.
        """
        command = limen_command("gateway", "upgrade", "--state", str(self.state(number)))
        done = subprocess.run(  # noqa: S603 - our own program
            command, check=False, capture_output=True, text=True, timeout=UPGRADE_S
        )
        if done.returncode:
            log = (self._root / f"gateway-{number}.log").read_text("utf-8", "replace").splitlines()
            tail = "\n".join(log[-LOG_TAIL_LINES:])
            raise Unavailable(f"gateway-{number} was not upgraded: {done.stderr.strip()}\n{tail}")

    def pause_control(self) -> None:
        """Let control stand still."""
        assert self.control is not None
        self.control.process.send_signal(signal.SIGSTOP)

    def resume_control(self) -> None:
        """Let it go on."""
        assert self.control is not None
        self.control.process.send_signal(signal.SIGCONT)

    def restart_control(self) -> None:
        """Restart control, and wait until it answers."""
        assert self.control is not None
        self.control.end()
        self.start_control()

    def kill_control(self) -> None:
        """Kill control, without a word."""
        assert self.control is not None
        self.control.kill()

    def start_control(self) -> None:
        """Start control again, and wait until it answers."""
        assert self.control is not None
        self.control.start()
        self.wait_control()

    def wait_control(self) -> None:
        """Wait until control answers."""
        admin = AdminClient(StateDir(self._control_state).socket("admin"))
        self.wait(lambda: bool(admin.get("/v1/status")), "control")

    def rotate_certificate(self) -> None:
        """Take the leaf of every gateway away; each makes or asks for a new one when it looks next."""
        for number in range(self._gateways):
            (self.state(number) / "ca" / "leaf.pem").unlink(missing_ok=True)

    @property
    def ca_file(self) -> Path:
        """The development CA of the system."""
        return self._control_state / "ca" / "ca.pem"

    def wait(self, true: Callable[[], bool], what: str) -> None:
        """Wait for something of another process.

        Raises:
            Unavailable: it did not come about in time.
        """
        deadline = time.monotonic() + START_S
        while True:
            try:
                if true():
                    return
                why = "it is not so yet"
            except LimenError as error:
                why = error.message
            ended = [p for p in (self.control, *self.gateways) if p and p.process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise Unavailable(f"{what} was not ready in {START_S:.0f} s: {why} See {self._root}.")
            threading.Event().wait(POLL_S)

    def state(self, number: int) -> Path:
        """Return the state folder of a gateway."""
        return self._control_state if number == 0 else self._root / f"gateway-{number}"

    def _run_gateway(self, state: Path, number: int) -> None:
        self.gateways.append(
            Program(
                *("gateway", "--state", str(state), "--port", str(self._ports[number])),
                log=self._root / f"gateway-{number}.log",
                environ=self._gateway_environ,
            )
        )

    def _join(self, admin: AdminClient, number: int) -> None:
        body = {"node": f"gateway-{number}", "for_s": 600, "addresses": list(self._lines), "reason": REASON}
        token = admin.post("/v1/gateways/tokens", body)["token"]
        state = self.state(number)
        subprocess.run(  # noqa: S603 - our own program
            limen_command("gateway", "join", "--state", str(state)),
            input=str(token).encode(),
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=START_S,
        )
        self._run_gateway(state, number)

"""The whole demo as a child process, for journeys and attacks, and a browser that trusts its CA."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyotp
import pytest

from limen.api.client import AdminClient
from limen.core.secret import Secret
from limen.services.demo.traveller import Traveller
from limen.services.form_client import FormClient
from limen.services.state import StateDir

CHROMIUM = Path("/usr/bin/chromium")
READY_S = 120.0
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Demo:
    """A running demo: where things are, who there is, and ways in."""

    def __init__(self, ready: Mapping[str, Any]) -> None:
        self.ready = ready
        self.port = int(ready["port"])
        self.auth_url = str(ready["auth_url"])
        self.ca_file = Path(ready["ca_file"])
        self.state_dir = Path(ready["state_dir"])
        self.admin = AdminClient(StateDir(self.state_dir).socket("admin"))

    def url(self, app: str, path: str = "/") -> str:
        return f"{self.ready['apps'][app]}{path}"

    def traveller(self, username: str = "") -> Traveller:
        return Traveller(self.ready, username)

    def client(self) -> FormClient:
        return FormClient(self.ca_file)

    def password(self, username: str) -> str:
        return str(self.ready["people"][username]["password"])

    def new_person(self, username: str, *groups: str) -> str:
        """Add a person of a test's own; return their enrolment link."""
        person = self.admin.post("/v1/people", {"id": username, "groups": list(groups)})
        return str(person["enrolment_link"])

    def limen(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line on this system."""
        return subprocess.run(
            [sys.executable, "-m", "limen", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LIMEN_STATE": str(self.state_dir), "COLUMNS": "200"},
            **options,
        )

    def decisions(self, **query: Any) -> list[dict[str, Any]]:
        return list(self.admin.get("/v1/decisions", since_s=600, **query))


def code_of(secret: str) -> Secret[str]:
    return Secret(pyotp.TOTP(secret).now())


@contextmanager
def running_demo(*extra: str) -> Iterator[Demo]:
    """Start the demo on a free port; end it and all its processes."""
    folder = Path(tempfile.mkdtemp(prefix="ld-"))
    ready_file = folder / "ready.json"
    arguments = ["demo", "--port", "0", "--state", str(folder / "s"), "--ready-file", str(ready_file), *extra]
    with (folder / "out").open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "limen", *arguments], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + READY_S
        while not ready_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"The demo did not start:\n{(folder / 'out').read_text()}")
            process_wait(process, 0.1)
        yield Demo(json.loads(ready_file.read_text()))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def process_wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a process to end, for a moment at most."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


@contextmanager
def browser_home(ca_file: Path) -> Iterator[dict[str, str]]:
    """Yield an environment in whose NSS database the CA is trusted, as a person would have it."""
    if not CHROMIUM.exists() or shutil.which("certutil") is None:
        pytest.skip("needs Debian's chromium and libnss3-tools")
    with tempfile.TemporaryDirectory(prefix="lh-") as home:
        database = Path(home) / ".pki" / "nssdb"
        database.mkdir(parents=True)
        certutil = ["certutil", "-d", f"sql:{database}"]
        subprocess.run([*certutil, "-N", "--empty-password"], check=True)
        subprocess.run([*certutil, "-A", "-t", "C,,", "-n", "limen", "-i", str(ca_file)], check=True)
        yield {**os.environ, "HOME": home}

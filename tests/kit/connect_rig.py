"""Real servers (sshd, PostgreSQL, Redis) behind a real system, and a laptop that logged in to it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from demo_rig import Demo, running_demo
from journey_rig import Person, apply_bundle, new_person, sign_in, wait_until
from postgres import require_postgres

START_S = 30.0
PEOPLE_GROUP = "tunnellers"


class Server(NamedTuple):
    """A real server: where it listens."""

    name: str
    port: int


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def need(program: str, package: str) -> str:
    """Return where a program is, or skip the test."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: apt-get install {package})")
    return found


def answers(port: int) -> bool:
    """Whether something listens."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def _serving(arguments: Sequence[str | Path], port: int, folder: Path, **options: Any) -> Iterator[Server]:
    output = folder / "out"
    with output.open("wb") as sink:
        process = subprocess.Popen(arguments, stdout=sink, stderr=sink, **options)
    try:
        wait_until(f"{arguments[0]} listens: {output.read_text()}", lambda: answers(port), START_S)
        yield Server(Path(arguments[0]).name, port)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


@contextmanager
def sshd(folder: Path) -> Iterator[Server]:
    """Run OpenSSH's server for this user, with keys of its own; `folder/client` is the client's key."""
    program, keygen = need("sshd", "openssh-server"), need("ssh-keygen", "openssh-client")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "client"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "client.pub", folder / "authorized")
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "PermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    with _serving([program, "-D", "-e", "-f", str(folder / "sshd_config")], port, folder) as server:
        yield server


@contextmanager
def postgresql() -> Iterator[Server]:
    """Run PostgreSQL on loopback, for anybody who reaches it."""
    programs = require_postgres()
    user = "postgres" if os.geteuid() == 0 else None
    more: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    with tempfile.TemporaryDirectory(prefix="lp-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user, user)
        data, port = folder / "data", free_port()
        initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "ada", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **more)
        run = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
        with _serving(run, port, folder, cwd=folder, **more) as server:
            yield server


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    """Run Redis on loopback."""
    port = free_port()
    run = [need("redis-server", "redis"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with _serving([*run, "--dir", str(folder)], port, folder) as server:
        yield server


class Laptop:
    """Somebody's own machine: the client, and a configuration folder of its own."""

    def __init__(self, demo: Demo, person: Person, folder: Path) -> None:
        self.demo = demo
        self.person = person
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LIMEN_")},
            "LIMEN_CONFIG_DIR": str(folder / "config"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "COLUMNS": "200",
        }

    def command(self, *arguments: str) -> list[str]:
        """Return how to run the client."""
        return [sys.executable, "-m", "limen", *arguments]

    def limen(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the client to its end."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=self.environment,
            cwd=self.folder,
            **options,
        )

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start the client; its stderr is a pipe."""
        return subprocess.Popen(
            self.command(*arguments),
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
            **options,
        )

    def log_in(self) -> str:
        """Log in as a person does, in a browser; return what the terminal said."""
        arguments = ["login", self.demo.auth_url, "--no-browser", "--ca", str(self.demo.ca_file)]
        with self.start(*arguments) as process:
            assert process.stderr is not None
            said = [process.stderr.readline() for _ in range(2)]
            with self.demo.client() as browser:
                page = sign_in(browser, said[1].strip(), self.person)
                page = browser.submit(page, {"answer": "allow"})
                assert page.status_code == 200 and "terminal" in page.text, page.text
            said += process.stderr.readlines()
            assert process.wait(30) == 0, said
        return "".join(said)

    @contextmanager
    def listening(self, service: str, *more: str) -> Iterator["Listening"]:
        """Run `limen connect SERVICE --listen` on a free port."""
        with self.start("connect", service, "--listen", "127.0.0.1:0", *more) as process:
            listening = Listening(process)
            try:
                yield listening
            finally:
                process.terminate()
                process.wait(20)
                listening.reader.join(10)


class Listening:
    """A client that listens: its port, and what it said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        first = process.stderr.readline()
        assert " is at 127.0.0.1:" in first, first + process.stderr.read()
        self.port = int(first.split("127.0.0.1:")[1].split(".")[0])
        self.said: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(ValueError):
            for line in self.process.stderr:
                self.said.append(line)

    def wait_for(self, words: str) -> str:
        """Return everything said once it has these words."""
        wait_until(f"'{words}' on the terminal, not {self.said}", lambda: words in "".join(self.said), 20)
        return "".join(self.said)


class Services(NamedTuple):
    """A system with services behind it, and a laptop of somebody who may reach them."""

    demo: Demo
    laptop: Laptop
    ssh_folder: Path


@contextmanager
def running_services(*, wanted: Sequence[str] = ("ssh", "postgres", "redis")) -> Iterator[Services]:
    """Start real servers, a system in front of them, and log in on a laptop."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lt-")))
        for name in ("ssh", "redis", "laptop"):
            (folder / name).mkdir()
        makers = {
            "ssh": lambda: sshd(folder / "ssh"),
            "postgres": postgresql,
            "redis": lambda: redis(folder / "redis"),
        }
        servers = {name: stack.enter_context(makers[name]()) for name in wanted}
        demo = stack.enter_context(running_demo())
        services = {
            f"t-{name}": {
                "address": f"127.0.0.1:{server.port}",
                "protocol": name,
                "owner": "ada",
                "allow": [f"group:{PEOPLE_GROUP}"],
            }
            for name, server in servers.items()
        }
        services["t-closed"] = {"address": "127.0.0.1:9", "owner": "ada", "allow": []}
        demo.admin.post("/v1/groups", {"id": PEOPLE_GROUP, "name": "Tunnellers"})
        apply_bundle(demo, lambda content: content.setdefault("services", {}).update(services))
        laptop = Laptop(demo, new_person(demo, "tamsin", PEOPLE_GROUP), folder / "laptop")
        laptop.log_in()
        yield Services(demo, laptop, folder / "ssh")


def wait_listed(laptop: Laptop, service: str) -> None:
    """Return once a service is open to the laptop's person."""
    ends_at = time.monotonic() + START_S
    while True:
        done = laptop.limen("status", "--json", "--profile", laptop.demo.auth_url)
        if done.returncode == 0 and f'"{service}"' in done.stdout:
            return
        assert time.monotonic() < ends_at, done.stderr + done.stdout

"""A private PostgreSQL of Debian's package: Unix socket only, durable, a database for each test.

PostgreSQL refuses to run as root, so root's tests run it as the user `postgres`.
"""

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

START_S = 30.0
_numbers = itertools.count(1)


def bin_folder() -> Path | None:
    """Return where the newest server's programs are, 15 or later."""
    found = [p for p in Path("/usr/lib/postgresql").glob("[0-9]*/bin") if (p / "postgres").exists()]
    fit = [p for p in found if int(p.parent.name) >= 15]
    return max(fit, key=lambda p: int(p.parent.name), default=None)


def require_postgres() -> Path:
    """Return the programs' folder, or skip the test."""
    found = bin_folder()
    if found is None:
        pytest.skip("PostgreSQL 15 or later is not installed (Debian: apt-get install postgresql)")
    return found


def _end_with_parent() -> None:
    """Let the kernel stop the server when the tests are killed (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _user() -> str | None:
    return "postgres" if os.geteuid() == 0 else None


def _run(command: Sequence[str | Path], cwd: Path) -> None:
    done = subprocess.run(
        command,
        check=False,
        user=_user(),
        group=_user(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        **({"extra_groups": []} if _user() else {}),
    )
    assert done.returncode == 0, f"{command[0]}: {done.stderr[-2000:]}"


class Postgres:
    """One server in a folder of its own."""

    def __init__(self, folder: Path, *, port: int = 5432) -> None:
        self.programs = require_postgres()
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self._server: subprocess.Popen[bytes] | None = None

    # --- making --------------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path) -> "Postgres":
        """Make an empty cluster."""
        server = cls(folder)
        _run(
            [
                server.programs / "initdb",
                "-D",
                server.data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
            folder,
        )
        return server

    def stand_by(self, folder: Path) -> "Postgres":
        """Make a streaming standby of this server."""
        standby = Postgres(folder)
        _run(
            [
                self.programs / "pg_basebackup",
                "-D",
                standby.data,
                "-h",
                self.folder,
                "-U",
                "postgres",
                "-R",
                "-X",
                "stream",
                "--checkpoint=fast",
                "--no-sync",
            ],
            folder,
        )
        return standby

    # --- running -------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    def start(self, *settings: str) -> None:
        """Start, and wait until it answers."""
        options = [
            "listen_addresses=",
            f"unix_socket_directories={self.folder}",
            f"port={self.port}",
            "fsync=on",
            "shared_buffers=16MB",
            "max_wal_size=128MB",
            "wal_keep_size=64MB",
            "autovacuum=off",
            "log_min_messages=fatal",
            *settings,
        ]
        command = [str(self.programs / "postgres"), "-D", str(self.data)]
        for option in options:
            command += ["-c", option]
        deadline = time.monotonic() + START_S
        while True:
            log = (self.folder / "log").open("ab")
            self._server = subprocess.Popen(
                command,
                user=_user(),
                group=_user(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,
                **({"extra_groups": []} if _user() else {}),
            )
            log.close()
            if self._wait_ready(deadline):
                return
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]

    def _wait_ready(self, deadline: float) -> bool:
        """Whether it answers; False when it ended, as it does while a killed one's children still live."""
        assert self._server is not None
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError), self.connect():
                return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(0.05)
                return False
        return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT stops it fast, SIGQUIT at once as a crash would, SIGKILL without a word."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(START_S)
            self._server = None

    def promote(self) -> None:
        """Let a standby take over, and wait until it can be written."""
        with self.connect() as connection:
            connection.execute("SELECT pg_promote(true, 30)")

    # --- using ---------------------------------------------------------------------------------------

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """Connect as the superuser, in autocommit."""
        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def url(self, database: str, *others: "Postgres") -> str:
        """Return the store's URL of a database here, or on whichever of several servers can be written."""
        hosts = quote(",".join(str(one.folder) for one in (self, *others)), safe=",/")
        return f"postgresql://postgres@/{database}?host={hosts}&port={self.port}"

    def create_database(self, template: str = "template1") -> str:
        """Make a database; return its name."""
        name = f"limen_{os.getpid()}_{next(_numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextlib.contextmanager
def private_folder(label: str) -> Iterator[Path]:
    """Yield a folder that the server's user owns; /tmp, since a socket's path has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix=f"limen-{label}-", dir="/tmp"))
    if _user():
        shutil.chown(folder, _user(), _user())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_postgres(*settings: str) -> Iterator[Postgres]:
    """Yield a server that runs."""
    require_postgres()
    with private_folder("pg") as folder:
        server = Postgres.create(folder)
        server.start(*settings)
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)

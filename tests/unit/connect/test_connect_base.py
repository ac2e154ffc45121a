"""The client without the server's parts, and on systems that are not Linux."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
POSIX_ONLY = ("fcntl", "grp", "pwd", "resource", "termios", "uvloop")

PROGRAM = """
import sys
refused = set({refused!r})
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
for name in [name for name in sys.modules if name.partition(".")[0] in refused]:
    del sys.modules[name]
sys.argv = ["limen", *{arguments!r}]
from limen.cli.main import main
main()
"""


def base_distributions() -> set[str]:
    """Return what `pip install limen` brings, with what that needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting, found = [*project["dependencies"]], set()
    while waiting:
        requirement = waiting.pop()
        if "extra ==" in requirement:
            continue
        name = re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower().replace("_", "-")
        if name in found:
            continue
        try:
            waiting += metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform
        found.add(name)
    return found


def server_modules() -> set[str]:
    """Return every importable package here that the base does not bring."""
    base = base_distributions()
    return {
        module
        for module, names in metadata.packages_distributions().items()
        if not {name.lower().replace("_", "-") for name in names} & base and module != "limen"
    }


def run(folder: Path, *arguments: str, refused: set[str]) -> subprocess.CompletedProcess[str]:
    """Run a command where some packages cannot be imported."""
    code = PROGRAM.format(refused=sorted(refused), arguments=list(arguments))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LIMEN_")}
    environment |= {
        "LIMEN_CONFIG_DIR": str(folder / "config"),
        "COLUMNS": "200",
        "PYTHONPATH": str(ROOT / "src"),
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=folder,
        env=environment,
    )


def test_the_base_is_small() -> None:
    assert {"h2", "keyring", "msgspec", "rich", "typer"} <= base_distributions()
    assert {"sqlalchemy", "httpx", "grpc", "fastapi", "uvloop", "yaml"} <= server_modules()


@pytest.mark.parametrize("command", ["", "login", "logout", "status", "connect"])
def test_the_client_helps_without_the_servers_parts(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, *command.split(), "--help", refused=server_modules() | set(POSIX_ONLY))
    assert done.returncode == 0 and "Usage: limen" in done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [("status",), ("logout",), ("connect", "db", "--stdio"), ("login",)])
def test_the_client_runs_without_the_servers_parts(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, *arguments, refused=server_modules() | set(POSIX_ONLY))
    assert done.returncode == 1 and "You are not logged in" in done.stderr, done.stderr
    assert "limen login https://auth.YOUR-DOMAIN" in done.stderr


def test_the_whole_client_imports_without_the_servers_parts(tmp_path: Path) -> None:
    modules = ", ".join(
        f"limen.connect.{path.stem}" for path in (ROOT / "src/limen/connect").glob("[a-z]*.py")
    )
    code = PROGRAM.format(refused=sorted(server_modules() | set(POSIX_ONLY)), arguments=[])
    code = code.replace("from limen.cli.main import main\nmain()", f"import {modules}")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [("up",), ("user", "list"), ("policy", "check", ".")])
def test_a_command_that_needs_the_server_says_what_to_install(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "limen.yaml").write_text("domain: corp.example\n")
    done = run(tmp_path, *arguments, refused=server_modules())
    assert done.returncode == 1 and "pip install 'limen[server]'" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_that_needs_linux_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "up", refused={"fcntl"})
    assert done.returncode == 1 and "Linux" in done.stderr and "Traceback" not in done.stderr, done.stderr

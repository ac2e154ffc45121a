"""The command line, and a control for it to talk to."""

import asyncio
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from cli_rig import Limen, run

from limen.engine.starter import starter_files
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

APPS = "\napps:\n  wiki:\n    upstream: http://127.0.0.1:9001\n    owner: ada\n    allow: [group:staff]\n"


@pytest.fixture
def limen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Limen:
    """The command line, in an empty folder that belongs to no system."""
    monkeypatch.chdir(tmp_path)
    for name in ("LIMEN_STATE", "LIMEN_PORT"):
        monkeypatch.delenv(name, raising=False)
    return run


@pytest.fixture(scope="session")
def served() -> Iterator[Path]:
    """The state folder of a control that serves on its sockets, with a bundle and a few people."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))  # not a command's words
    with tempfile.TemporaryDirectory(prefix="lc-") as name:
        folder, state = Path(name) / "bundle", Path(name) / "s"
        files = starter_files("corp.example")
        for path, text in {**files, "limen.yaml": files["limen.yaml"] + APPS}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        options = ControlOptions(state=state, bundle=folder, public_port=8443, metrics=None)
        loop = asyncio.new_event_loop()
        control = Control(StateDir.create(state), options)
        loop.run_until_complete(control.start())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        yield state
        asyncio.run_coroutine_threadsafe(control.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
    structlog.reset_defaults()


@pytest.fixture
def system(limen: Limen, served: Path, monkeypatch: pytest.MonkeyPatch) -> Limen:
    """The command line, and a running system that it finds by LIMEN_STATE."""
    monkeypatch.setenv("LIMEN_STATE", str(served))
    return limen

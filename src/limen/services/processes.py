"""Child processes that neither outlive their parent nor stay down: the part that `up` and `demo` share."""

import asyncio
import ctypes
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from pathlib import Path

from limen.enforcement.supervised import TERMINATE_S, Supervised

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when its parent ends; end now if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


class Child(Supervised):
    """One supervised process that writes to a log file."""

    def __init__(
        self, name: str, arguments: Sequence[str], log_file: Path, *, terminate_s: float = TERMINATE_S
    ) -> None:
        async def spawn() -> Process:
            with log_file.open("ab") as output:
                return await asyncio.create_subprocess_exec(
                    *arguments,
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, "LIMEN_PARENT": str(os.getpid())},
                    start_new_session=True,
                )

        super().__init__(name, spawn, terminate_s=terminate_s)


def limen_command(*arguments: str) -> tuple[str, ...]:
    """Return the argument list that runs this same program again."""
    return (sys.executable, "-m", "limen", *arguments)


def obey_parent() -> None:
    """In a child started by `Child`: end when the supervisor ends."""
    parent = os.environ.pop("LIMEN_PARENT", None)
    if parent is not None:
        die_with_parent(int(parent))


def raise_file_limit() -> None:
    """Take as many file descriptors as the system lets us: Envoy needs two for each tunnel, and strangers
    who only connect must not take control's last one.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

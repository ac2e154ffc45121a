"""Becomes another program that ends when its parent ends: `python -I -S tether.py PARENT PROGRAM ARG…`.

Run as a file by its path, so it imports nothing of Limen. `prctl(2)`: the signal survives `execve`
unless the program has file capabilities (then the lock and the port still keep a second one out).
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to `arguments[0]`, then become `arguments[1:]`."""
    parent = int(arguments[0])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we could ask
        sys.exit(1)
    os.execv(arguments[1], arguments[1:])  # noqa: S606 - becoming Envoy is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])

"""The command line in this process: what it prints, and what it exits with."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from limen.cli.main import main


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Limen = Callable[..., Done]


def run(*arguments: str, stdin: str = "") -> Done:
    """Run `limen` with these arguments, as a shell would, to a pipe."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = ["limen", *arguments], io.StringIO(stdin)
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    finally:
        sys.argv, sys.stdin = before
    return Done(code, out.getvalue(), err.getvalue())

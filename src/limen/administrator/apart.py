"""Work apart: a long computation over the journal in a child process, so that this one goes on serving.

The child runs at low priority: it takes what nobody else wants. It is `python -m limen.administrator.apart
MODULE:FUNCTION`; the function takes decoded JSON and a way to tell its progress, and returns what is
JSON-ready. It ends when whoever asked is gone.
"""

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import msgspec

from limen.core.errors import LimenError, Unavailable

NICENESS = 15
AT_ONCE_MAX = 4  # children that somebody asked for; each takes a core and some 200 MB

_seats = threading.BoundedSemaphore(AT_ONCE_MAX)

Tell = Callable[[int, int], None]
"""Told how many of how many are done."""

Work = Callable[[Any, Tell], Any]


class Step(msgspec.Struct, frozen=True, tag="step"):
    """How far the work is."""

    done: int
    of: int


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """What came of it."""

    value: Any


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """Why nothing came of it."""

    message: str
    remedy: str
    code: str


Word = Step | Outcome | Failure

_words: msgspec.json.Decoder[Word] = msgspec.json.Decoder(Word)


def follow_apart(work: str, job: Any, *, asked: bool = True) -> Iterator[Step | Outcome]:
    """Yield how far the work is, and its outcome at last. Closing the iterator ends the child.

    Args:
        work: `package.module:function`, a constant of the caller's.
        job: what it is given; encoded as JSON.
        asked: somebody asked for it, of whom there may be many; else it is Limen's own upkeep.

    Raises:
        LimenError: what the work raised.
        Unavailable: the child died, or as many as may are at work (`COMPUTING_BUSY`).
    """
    with (
        take_seat(_seats, _busy()) if asked else nullcontext(),
        subprocess.Popen(  # noqa: S603  this same program
            (sys.executable, "-m", __name__, work),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for whoever asked, which then ends this
        ) as child,
    ):
        assert child.stdin is not None and child.stdout is not None
        try:
            with child.stdin as given:
                given.write(msgspec.json.encode(job))
            for line in child.stdout:
                word = _words.decode(line)
                if isinstance(word, Failure):
                    raise LimenError(word.message, remedy=word.remedy, code=word.code)
                yield word
                if isinstance(word, Outcome):
                    return
        except BrokenPipeError:
            pass  # it died before it had read what to do
        finally:
            child.kill()  # done, failed, or nobody listens any more
    raise Unavailable("The computing process ended early.", remedy="Look at control's log, and try again.")


def run_apart(work: str, job: Any, *, asked: bool = True) -> Any:
    """Do the work apart, and return its outcome.

    Raises:
        LimenError, Unavailable: as `follow_apart`.
    """
    for word in follow_apart(work, job, asked=asked):
        if isinstance(word, Outcome):
            return word.value
    raise AssertionError("work ends with its outcome, or raises")


@contextmanager
def take_seat(seats: threading.BoundedSemaphore, busy: Unavailable) -> Iterator[None]:
    """Hold one of a few seats meanwhile; raise `busy` when all are taken."""
    if not seats.acquire(blocking=False):
        raise busy
    try:
        yield
    finally:
        seats.release()


def _busy() -> Unavailable:
    return Unavailable(
        f"{AT_ONCE_MAX} long computations are at work already.",
        remedy="Try again in a minute.",
        code="COMPUTING_BUSY",
    )


def _serve(work: str) -> None:
    module, _, name = work.partition(":")
    function: Work = getattr(importlib.import_module(module), name)
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr  # logs, if there are any, are no answers

    def say(word: Word) -> None:
        answers.write(msgspec.json.encode(word) + b"\n")
        answers.flush()

    try:
        say(Outcome(function(msgspec.json.decode(sys.stdin.buffer.read()), lambda *at: say(Step(*at)))))
    except LimenError as error:
        say(Failure(error.message, error.remedy, error.code))


if __name__ == "__main__":
    os.nice(NICENESS)
    _serve(sys.argv[1])

"""The watchdog: ends what hangs, and nothing else."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from limen.enforcement.leash.watchdog import EXIT_CODE, TICK_S, Watchdog

WAIT_S = 20.0


def block(seconds: float) -> None:
    """Stand still, as a loop does that waits for something it should not wait for."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        pass


def test_a_loop_that_stands_still_is_ended() -> None:
    ended = threading.Event()

    async def story() -> None:
        watchdog = Watchdog(stall_s=0.5, end=lambda still_s: ended.set())
        watchdog.start()
        assert ended.wait(WAIT_S)  # the loop waits, and does not turn
        watchdog.stop()

    asyncio.run(story())


def test_pauses_below_the_bound_and_long_work_that_was_announced_are_borne() -> None:
    ended = threading.Event()

    async def story() -> None:
        watchdog = Watchdog(stall_s=2.0, end=lambda still_s: ended.set())
        watchdog.start()
        for _ in range(3):
            block(0.8)
            gc.collect()
            await asyncio.sleep(TICK_S + 0.05)  # the loop turns, and the tick that is due comes
        with watchdog.patient():
            block(3.0)
        await asyncio.sleep(TICK_S + 0.05)
        watchdog.stop()

    asyncio.run(story())
    assert not ended.is_set()


def test_patience_has_an_end() -> None:
    ended = threading.Event()

    async def story() -> None:
        watchdog = Watchdog(stall_s=0.5, patient_s=1.0, end=lambda still_s: ended.set())
        watchdog.start()
        with watchdog.patient():
            assert ended.wait(WAIT_S)
        watchdog.stop()

    asyncio.run(story())


CHILD = """
import asyncio, sys
from limen.enforcement.leash.watchdog import Watchdog
async def main():
    watchdog = Watchdog(stall_s=1.0, frozen_s=float(sys.argv[2]))
    watchdog.start()
    print("up", flush=True)
    await asyncio.sleep(0.3)
    {"block": lambda: __import__("time").sleep(60),
     "freeze": lambda: __import__("re").match("(a+)+$", "a" * 40 + "b"),
     "live": lambda: None}[sys.argv[1]]()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    watchdog.stop()
asyncio.run(main())
"""


def child(what: str, frozen_s: float = 60.0) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, what, str(frozen_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    return process


def test_a_process_whose_loop_hangs_ends_and_says_where() -> None:
    process = child("block")
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == EXIT_CODE and "<lambda>" in said


def test_a_process_that_holds_the_interpreter_lock_is_ended_too() -> None:
    process = child("freeze", frozen_s=2.0)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1 and "Timeout" in said


@pytest.mark.parametrize("stopped_s", [2.0])
def test_a_process_that_was_stopped_for_a_while_goes_on(stopped_s: float) -> None:
    process = child("live")
    os.kill(process.pid, signal.SIGSTOP)
    block(stopped_s)
    os.kill(process.pid, signal.SIGCONT)
    process.communicate("end\n", timeout=WAIT_S)
    assert process.returncode == 0

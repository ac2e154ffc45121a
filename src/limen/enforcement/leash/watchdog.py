"""The watchdog: ends the process when its event loop stalls.

A loop that does not turn cuts nothing, while bytes go on to flow: Envoy's keepalive is answered by
grpcio's own threads. When the process is gone, every stream that it held is cut at once, and the
supervisor starts another. Two lines:

1. A thread counts how long the loop has not ticked, in its own waking time: a process that was stopped,
   starved or asleep, and whose loop turns again, is not ended for that.
2. `faulthandler`'s timer, which needs no interpreter, ends a process in which no Python runs any more.
"""

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

STALL_S = 3.0  # a loop that stands still for so long is taken to hang
PATIENT_S = 30.0  # the same during work that is known to take long; 1,000 policies take half a second
FROZEN_S = 20.0  # the same when nothing of Python runs: above the longest compilation of a bundle
TICK_S = 0.25
EXIT_CODE = 70  # EX_SOFTWARE, sysexits.h

log = structlog.get_logger("limen.watchdog")


class Watchdog:
    """Watches the loop on which `start` is called.

    Args:
        stall_s: the stand-still that ends the process; `patient_s`: the same inside `patient`.
        frozen_s: how long no Python may run at all.
        end: ends it. Never returns in real life.
    """

    def __init__(
        self,
        *,
        stall_s: float = STALL_S,
        patient_s: float = PATIENT_S,
        frozen_s: float = FROZEN_S,
        end: Callable[[float], None] | None = None,
    ) -> None:
        self._stall_s, self._patient_s, self._frozen_s = stall_s, patient_s, frozen_s
        self._end = end or end_process
        self._ticks = 0
        self._patience = 0
        self._stopping = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._loop = asyncio.get_running_loop()
        self._tick()
        self._thread.start()

    def stop(self) -> None:
        """End watching: from here on the loop may stand still."""
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread.is_alive():
            self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Let the loop stand still for longer inside the block, which is known to take long."""
        self._patience += 1
        try:
            yield
        finally:
            self._ticks += 1
            self._patience -= 1

    def _tick(self) -> None:
        self._ticks += 1
        assert self._loop is not None
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _watch(self) -> None:
        seen, still_s = self._ticks, 0.0
        while not self._stopping.is_set():
            faulthandler.dump_traceback_later(self._frozen_s, exit=True, file=sys.__stderr__ or sys.stderr)
            if self._stopping.wait(TICK_S):
                break
            if self._ticks != seen:
                seen, still_s = self._ticks, 0.0
                continue
            still_s += TICK_S
            if still_s >= (self._patient_s if self._patience else self._stall_s):
                self._end(still_s)
                return


def end_process(still_s: float) -> None:
    """Say what hangs, and end: no clean-up, since whatever would do it hangs."""
    log.critical("watchdog.stalled", stalled_s=still_s, remedy="The process ends, and its streams with it.")
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
    os._exit(EXIT_CODE)

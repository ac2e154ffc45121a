"""The clock port. Pure code takes instants; only shells read a clock."""

import time
from typing import Protocol

from limen.core.ids import Instant


class Clock(Protocol):
    """Wall time for people and tokens, boot time for ages that must not jump."""

    def now(self) -> Instant:
        """Return the wall-clock instant (Unix seconds)."""
        ...

    def boot_s(self) -> float:
        """Return seconds since this machine booted, suspend included; never goes back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Instant:
        """Return `time.time()`."""
        return time.time()

    def boot_s(self) -> float:
        """Return CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class FakeClock:
    """A clock that tests move by hand."""

    def __init__(self, now: Instant = 1_800_000_000.0) -> None:
        self._now = now
        self._boot_s = 1000.0

    def now(self) -> Instant:
        """Return the instant that the test has set."""
        return self._now

    def boot_s(self) -> float:
        """Return the boot clock that the test has advanced."""
        return self._boot_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now += seconds
        self._boot_s += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as NTP or an operator does."""
        self._now += seconds

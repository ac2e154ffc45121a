"""What is known of a running Envoy, and the port to whoever runs it."""

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from limen.core.catalogue import Catalogue
from limen.core.ids import Instant

Prepare = Callable[[Catalogue], Awaitable[None]]
"""Brings what a catalogue needs, where it can."""


async def prepare_nothing(_catalogue: Catalogue) -> None:
    """Have everything there already."""


class State(StrEnum):
    """What Envoy is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"


class EnvoyStatus(msgspec.Struct, frozen=True):
    """What `who`, health and the console say about the enforcement point.

    Attributes:
        version: of the configuration in force.
        refusal: why the newest configuration is not in force; None when it is.
        uncovered: hosts that the certificate does not name.
    """

    state: State
    pid: int | None
    restarts: int
    version: str
    refusal: str | None
    certificate_expires_at: Instant | None
    uncovered: tuple[str, ...]


class Applied(msgspec.Struct, frozen=True):
    """What an `apply` changed: some of `sds`, `lds`, `cds`, `rds`, in order."""

    version: str
    changed: tuple[str, ...]

    @property
    def connections_drain(self) -> bool:
        """Whether open connections end: the listener itself changed (domain, edge), not an app."""
        return "lds" in self.changed


class Runner(Protocol):
    """Who runs the process.

    Attributes:
        on_start: called whenever a process was started.
        running: it was told to run, and not to stop.
        pid, restarts: of the process; `pid` is None between two.
        last_words: the end of Envoy's log.
    """

    on_start: Callable[[], None]

    @property
    def running(self) -> bool: ...  # noqa: D102

    @property
    def pid(self) -> int | None: ...  # noqa: D102

    @property
    def restarts(self) -> int: ...  # noqa: D102

    @property
    def last_words(self) -> Sequence[str]: ...  # noqa: D102

    def reserve(self) -> None:
        """Make sure that nobody else runs Envoy on these files."""
        ...

    def start(self) -> None:
        """Run Envoy on the files that stand there."""
        ...

    def kick(self) -> None:
        """Let it start anew."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...

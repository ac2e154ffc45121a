"""A thread that hears of other nodes' commits: `LISTEN`, and a look each second in case one was missed.

What is heard is only a reason to look; what was committed is read from the tables. So a notification may
come late, twice, or not at all, and the connection may break: the look after it finds everything.
"""

import contextlib
import os
import selectors
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from limen.core.errors import LimenError

CHANNEL = "limen_change"
LOOK_EVERY_S = 1.0
RETRY_FIRST_S = 0.1
RETRY_MOST_S = 2.0
JOIN_S = 5.0

_log = structlog.get_logger(__name__)


class PostgresListener:
    """Calls `look` from its thread. `connect` gives a connection in autocommit.

    `own` is what this node's commits say of themselves: it told of those itself.
    """

    def __init__(
        self, connect: Callable[[], psycopg.Connection[Any]], look: Callable[[], None], *, own: str
    ) -> None:
        self._connect = connect
        self._look = look
        self._own = own.encode()
        self._closing = False
        self._look_at = 0.0  # monotonic: when to look without being told
        self._wakes = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()  # the descriptor is not closed under a waker
        self._thread = threading.Thread(target=self._run, name="store-listener", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look now. From any thread."""
        with self._lock:
            if self._wakes >= 0:
                os.eventfd_write(self._wakes, 1)

    def close(self) -> None:
        """Stop, and wait for the thread a bounded time: a server that hangs may hold it longer."""
        self._closing = True
        self.wake()
        self._thread.join(JOIN_S)
        with self._lock:
            if not self._thread.is_alive() and self._wakes >= 0:
                os.close(self._wakes)
                self._wakes = -1

    def _run(self) -> None:
        retry_s = RETRY_FIRST_S
        while not self._closing:
            try:
                with contextlib.closing(self._connect()) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._look_now()
                    retry_s = RETRY_FIRST_S
                    while not self._closing:
                        if self._wait(connection):
                            self._look_now()
            except (psycopg.Error, SQLAlchemyError, LimenError, OSError) as fault:
                if self._closing:
                    return
                _log.warning("store.listener_lost", why=type(fault).__name__, again_in_s=retry_s)
                self._pause(retry_s)
                retry_s = min(2 * retry_s, RETRY_MOST_S)

    def _look_now(self) -> None:
        self._look_at = time.monotonic() + LOOK_EVERY_S
        self._look()

    def _wait(self, connection: psycopg.Connection[Any]) -> bool:
        """Wait for a notification, a wake, or the time to look anyway; return whether to look."""
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._wakes, selectors.EVENT_READ)
            ready = {key.fd for key, _ in selector.select(self._look_at - time.monotonic())}
        due = not ready or self._wakes in ready
        self._drain()
        connection.pgconn.consume_input()
        while (notification := connection.pgconn.notifies()) is not None:
            due = due or notification.extra != self._own
        return due

    def _pause(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakes, selectors.EVENT_READ)
            selector.select(seconds)
        self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wakes)

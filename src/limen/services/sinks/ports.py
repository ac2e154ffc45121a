"""What a pump sends, and what a sender answers."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from limen.core.errors import Refused, Unavailable
from limen.journal.export.rows import Row


class Message(NamedTuple):
    """One row, and its content in the sink's format: one line of ASCII JSON."""

    row: Row
    body: bytes


class Away(Unavailable):
    """The collector does not take anything now: to be tried again.

    Attributes:
        after_s: when it asked to be tried again; 0 when it did not say.
    """

    code = "COLLECTOR_AWAY"

    def __init__(self, message: str, *, after_s: float = 0.0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy or "It is tried again by itself; nothing is lost.")
        self.after_s = after_s


class NotTaken(Refused):
    """The collector understood, and does not take what these messages hold."""

    code = "COLLECTOR_REFUSED"


class Sender(Protocol):
    """Sends messages to one collector."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Return once the collector has confirmed all of them.

        Raises:
            Away: it has not; they are to be sent again.
            NotTaken: it refuses at least one of them for what it holds.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...

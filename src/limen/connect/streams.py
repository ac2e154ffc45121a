"""One CONNECT stream at the gateway: from asking to its end, as a small state machine over `h2`'s events."""

import asyncio
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.events import ResponseReceived, StreamEnded, StreamReset

from limen.connect.frames import ReceiveWindow
from limen.connect.outcomes import Cut, Finished, Lost, NotTaken, Outcome, Refused
from limen.connect.tunnel import Tunnel

if TYPE_CHECKING:
    from limen.connect.link import GatewayLink

REFUSAL_MAX_BYTES = 65_536
STREAM_ID_HEADER = "x-limen-decision-id"


class GatewayStream:
    """One stream: what was heard of it, what waits to be sent, and how it ended."""

    def __init__(self, stream_id: int, link: "GatewayLink", tunnel: Tunnel, window_bytes: int) -> None:
        self.id = stream_id
        self.tunnel = tunnel
        self.window = ReceiveWindow(window_bytes)
        self.pending = memoryview(b"")
        self.opened = False
        self.local_ended = False
        self.remote_ended = False
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._link = link
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._was_reset = False

    @property
    def finished_both_ways(self) -> bool:
        """Whether the gateway needs no word about its end."""
        return (self.local_ended and self.remote_ended and not self.pending) or self._was_reset

    # -- from the tunnel (`tunnel.Way`)

    def send(self, data: bytes) -> None:
        """Send bytes of the local program."""
        self.pending = memoryview(bytes(self.pending) + data) if self.pending else memoryview(data)
        self._link.push(self)

    def end(self) -> None:
        """The local program writes no more."""
        self.local_ended = True
        self._link.push(self)

    def stall(self) -> None:
        """The local program does not read."""
        self._link.pause_reading()

    def flow(self) -> None:
        """It reads again."""
        self._link.resume_reading()

    def abandon(self) -> None:
        """The local program is gone."""
        self.settle(Finished())

    # -- from the gateway

    def hear(self, event: ResponseReceived | StreamEnded | StreamReset) -> None:
        """Take what the gateway said of this stream."""
        if isinstance(event, ResponseReceived):
            self._hear_response(event)
        elif isinstance(event, StreamEnded):
            self._hear_end()
        else:
            self._hear_reset(int(event.error_code or 0))

    def hear_data(self, data: bytes) -> None:
        """Take a part of a refusal's body."""
        self._body += data[: REFUSAL_MAX_BYTES - len(self._body)]

    def open_late(self) -> None:
        """Give up waiting for an answer."""
        if not self.opened:
            self.settle(Lost("The gateway did not answer in time."))

    def settle(self, outcome: Outcome) -> None:
        """Say how it ended; the first word counts."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def finish_if_over(self) -> None:
        """Settle it if both sides have said all."""
        if self.local_ended and self.remote_ended and not self.pending:
            self.settle(Finished())

    # -- inside

    def _hear_response(self, event: ResponseReceived) -> None:
        for name, value in event.headers or []:
            self._headers[bytes(name).decode("latin-1")] = bytes(value).decode("latin-1")
        status = self._headers.get(":status", "")
        self._status = int(status) if status.isascii() and status.isdigit() else 0
        if 200 <= self._status < 300:  # RFC 9110 §9.3.6: any 2xx is a tunnel
            self.opened = True
            self.tunnel.open(self)

    def _hear_end(self) -> None:
        self.remote_ended = True
        if not self.opened:
            self.settle(Refused(self._status, self._headers, bytes(self._body)))
            return
        self.tunnel.write_eof()
        self.finish_if_over()

    def _hear_reset(self, code: int) -> None:
        self._was_reset = True
        if self.opened and self.remote_ended:  # it needs none of what we still send (RFC 9113 §8.1)
            self.settle(Finished())
        elif self.opened:
            self.settle(Cut(self._headers.get(STREAM_ID_HEADER, "")))
        elif self._status:
            self.settle(Refused(self._status, self._headers, bytes(self._body)))
        elif code == ErrorCodes.REFUSED_STREAM:
            self.settle(NotTaken())
        else:
            self.settle(Cut(""))

"""One HTTP/2 connection to the gateway, and the tunnel on it.

Each tunnel has a connection of its own, with windows that never close; a local program that does not read
holds the gateway by TCP. With a window that closes, Envoy loses bytes: when the service ends a stream while
some of its bytes wait for the window, Envoy resets the stream and drops them (seen on 1.40). And one
connection for many would let one program that does not read hold all of them.

It runs on one asyncio loop; nothing here blocks. The bytes of tunnels go past `h2` (`frames.py`).
"""

import asyncio
import contextlib
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes

from limen.connect.frames import (
    FrameSplitter,
    GoAway,
    Other,
    Payload,
    ReceiveWindow,
    WireError,
    render_data,
    render_window_update,
)
from limen.connect.outcomes import Lost, NotTaken, Outcome
from limen.connect.streams import GatewayStream
from limen.connect.tunnel import Tunnel
from limen.core.secret import Secret

WINDOW_BYTES = (1 << 31) - 1  # RFC 9113 §6.9.1: the greatest
FRAME_MAX_BYTES = 65_536
HEADER_LIST_MAX_BYTES = 32_768
READ_BYTES = 65_536  # several times faster than 256 kB: it stays in the processor's cache
OUTPUT_HIGH_BYTES = 1 << 20  # above it, local programs are not read
OUTPUT_MAX_BYTES = 1 << 26  # a gateway that makes us answer more than it reads is left
PING_AFTER_S = 30.0
PING_ANSWER_S = 15.0
OPEN_MAX_S = 40.0  # the gateway itself waits less for the service

SETTINGS: dict[SettingCodes | int, int] = {
    SettingCodes.ENABLE_PUSH: 0,
    SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
    SettingCodes.MAX_FRAME_SIZE: FRAME_MAX_BYTES,
    SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST_MAX_BYTES,
}


class GatewayLink(asyncio.BufferedProtocol):
    """One connection. `ready` is done once the gateway has introduced itself."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._splitter = FrameSplitter(self._is_open, FRAME_MAX_BYTES)
        self._window = ReceiveWindow(WINDOW_BYTES)
        self._streams: dict[int, GatewayStream] = {}
        self._waiting: dict[int, GatewayStream] = {}  # with bytes that the gateway has no window for
        self._writable = True
        self._paused = False
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._leaving = False  # it said GOAWAY, or is closed
        self.ready: asyncio.Future[None] = self._loop.create_future()

    # -- what the gateway's side asks

    async def carry(self, tunnel: Tunnel, authority: str, token: Secret[str]) -> Outcome:
        """Open a stream for a tunnel, and carry its bytes to the end."""
        if self._leaving:
            return NotTaken()
        try:
            stream_id = self._h2.get_next_available_stream_id()
            headers = [
                (":method", "CONNECT"),
                (":authority", authority),
                ("authorization", f"Bearer {token.reveal()}"),
            ]
            self._h2.send_headers(stream_id, headers)
        except H2Error:
            return NotTaken()
        stream = GatewayStream(stream_id, self, tunnel, WINDOW_BYTES)
        self._streams[stream_id] = stream
        self._flush()
        timer = self._loop.call_later(OPEN_MAX_S, stream.open_late)
        try:
            return await stream.outcome
        finally:
            timer.cancel()
            if not stream.finished_both_ways:
                self.reset(stream_id)
            self._streams.pop(stream_id, None)
            self._waiting.pop(stream_id, None)

    def close(self) -> None:
        """End it; tunnels on it are lost."""
        self._lose("The connection to the gateway was closed.")

    # -- what streams ask

    def push(self, stream: GatewayStream) -> None:
        """Send as many of a stream's bytes as the windows allow; hold the local side while any are left."""
        h2_stream = self._h2.streams.get(stream.id)
        if h2_stream is None or self._transport is None:
            return
        count = min(
            len(stream.pending),
            self._h2.outbound_flow_control_window,
            h2_stream.outbound_flow_control_window,
        )
        if count > 0:
            self._h2.outbound_flow_control_window -= count
            h2_stream.outbound_flow_control_window -= count
            part, stream.pending = stream.pending[:count], stream.pending[count:]
            self._transport.write(render_data(stream.id, part, self._h2.max_outbound_frame_size))
        if stream.pending:
            self._waiting[stream.id] = stream
            stream.tunnel.hold()
            return
        if self._waiting.pop(stream.id, None) is not None and self._writable and not stream.local_ended:
            stream.tunnel.release()
        if stream.local_ended:
            with contextlib.suppress(H2Error):  # it was reset meanwhile
                self._h2.end_stream(stream.id)
            self._flush()
            stream.finish_if_over()

    def pause_reading(self) -> None:
        """Take no more from the gateway."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from it again."""
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()

    def reset(self, stream_id: int) -> None:
        """Tell the gateway that a stream is not wanted any more."""
        with contextlib.suppress(H2Error):
            self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        self._flush()

    # -- the wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves, if the other side speaks HTTP/2."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=OUTPUT_HIGH_BYTES)
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() != "h2":
            self._lose("The server at this address does not speak HTTP/2: it is no Limen gateway.")
            return
        self._h2.initiate_connection()
        self._h2.update_settings(SETTINGS)
        self._h2.increment_flow_control_window(WINDOW_BYTES - 65_535)
        self._flush()
        self._timer = self._loop.call_later(PING_AFTER_S, self._look)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where what the gateway sent is to be laid."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the gateway sent."""
        self._heard_at = self._loop.time()
        try:
            for piece in self._splitter.feed(self._buffer[:nbytes]):
                if isinstance(piece, Payload):
                    self._take(piece)
                elif isinstance(piece, Other):
                    for event in self._h2.receive_data(piece.data):
                        self._hear(event)
                else:
                    self._hear_goaway(piece)
        except (H2Error, WireError) as error:
            said = error.message if isinstance(error, WireError) else "The gateway's HTTP/2 is broken."
            self._flush()
            self._lose(said)
            return
        self._flush()

    def pause_writing(self) -> None:
        """The gateway does not read: read no local program."""
        self._writable = False
        for stream in self._streams.values():
            stream.tunnel.hold()

    def resume_writing(self) -> None:
        """Read them again, but for those that wait for a window."""
        self._writable = True
        for stream in self._streams.values():
            if stream.opened and not stream.pending and not stream.local_ended:
                stream.tunnel.release()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and every tunnel on it."""
        self._lose("The connection to the gateway was lost.")

    # -- inside

    def _is_open(self, stream_id: int) -> bool:
        stream = self._streams.get(stream_id)
        return stream is not None and stream.opened and not stream.remote_ended

    def _take(self, piece: Payload) -> None:
        """Hand a tunnel its bytes."""
        stream = self._streams.get(piece.stream_id)
        if stream is None:
            return
        for stream_id, window in ((0, self._window), (stream.id, stream.window)):
            window.take(piece.size)
            if (told := window.give(piece.size)) and self._transport is not None:
                self._transport.write(render_window_update(stream_id, told))
        stream.tunnel.write(b"".join(piece.parts))

    def _hear(self, event: Event) -> None:
        if isinstance(event, RemoteSettingsChanged):
            if not self.ready.done():
                self.ready.set_result(None)
            self._push_all()
        elif isinstance(event, WindowUpdated):
            self._push_all()
        elif isinstance(event, DataReceived):
            if event.flow_controlled_length:
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if stream := self._streams.get(event.stream_id):
                stream.hear_data(event.data or b"")
        elif isinstance(event, ResponseReceived | StreamEnded | StreamReset):
            if stream := self._streams.get(event.stream_id or 0):
                stream.hear(event)
        elif isinstance(event, PingAckReceived):
            self._heard_at = self._loop.time()

    def _push_all(self) -> None:
        for stream in list(self._waiting.values()):
            self.push(stream)

    def _hear_goaway(self, said: GoAway) -> None:
        """Open no more; what it has taken lives on (RFC 9113 §6.8)."""
        self._leaving = True
        if not self.ready.done():
            self.ready.set_result(None)
        for stream in list(self._streams.values()):
            if stream.id > said.last_stream_id:
                stream.settle(NotTaken())

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if not data or self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > OUTPUT_MAX_BYTES:
            self._lose("The gateway asks for answers, and does not read them.")

    def _look(self) -> None:
        """Ask a gateway that has been silent whether it is there: a laptop that slept finds out."""
        silent_s = 0.0 if self._paused else self._loop.time() - self._heard_at
        if silent_s >= PING_AFTER_S + PING_ANSWER_S:
            self._lose("The gateway does not answer any more.")
            return
        if silent_s >= PING_AFTER_S:
            self._h2.ping(b"limenage")
            self._flush()
        wait_s = PING_ANSWER_S if silent_s >= PING_AFTER_S else PING_AFTER_S - silent_s
        self._timer = self._loop.call_later(wait_s, self._look)

    def _lose(self, sentence: str) -> None:
        """Close the connection, and settle everything that waits on it."""
        self._leaving = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort() if self._streams else self._transport.close()
        if not self.ready.done():
            self.ready.set_exception(WireError(sentence, remedy="Check the address and the gateway."))
        for stream in list(self._streams.values()):
            stream.settle(Lost(sentence))

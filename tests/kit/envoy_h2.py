"""An HTTP/2 client with one blocking socket: what a test says, frame by frame."""

import ssl
from collections import defaultdict
from types import TracebackType

import h2.config
import h2.connection
import h2.events
import h2.settings

RECEIVE = 65_536


class H2Client:
    """One connection. `headers`, `data`, `ended`, `reset` hold what came, by stream."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._socket = connection
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.headers: dict[int, dict[str, str]] = {}
        self.trailers: dict[int, dict[str, str]] = {}
        self.data: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.gone = False
        self._told = False
        self.h2.initiate_connection()
        self._flush()

    def __enter__(self) -> "H2Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def open(self, *headers: tuple[str, str], end: bool = False) -> int:
        """Send the headers of a request; return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, list(headers), end_stream=end)
        self._flush()
        return stream

    def connect(self, authority: str, *headers: tuple[str, str]) -> int:
        """Ask for a tunnel (RFC 9113 section 8.5)."""
        return self.open((":method", "CONNECT"), (":authority", authority), *headers)

    def websocket(self, host: str, path: str, *headers: tuple[str, str], protocol: str = "websocket") -> int:
        """Ask for a WebSocket (RFC 8441)."""
        return self.open(
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "https"),
            (":authority", host),
            (":path", path),
            ("sec-websocket-version", "13"),
            *headers,
        )

    def get(self, host: str, path: str = "/", *headers: tuple[str, str]) -> int:
        pseudo = ((":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path))
        return self.open(*pseudo, *headers, end=True)

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send all of `data`, as fast as the windows allow."""
        view = memoryview(data)
        while view:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(view))
            if room == 0:
                self._receive()
                continue
            self.h2.send_data(stream, bytes(view[:room]))
            view = view[room:]
            self._flush()
        if end:
            self.h2.end_stream(stream)
            self._flush()

    def status(self, stream: int) -> int:
        """Wait for the answer's status."""
        self._until(lambda: stream in self.headers or self.is_over(stream))
        return int(self.headers[stream][":status"]) if stream in self.headers else 0

    def read(self, stream: int, size: int) -> bytes:
        """Wait for `size` bytes, or for the end; return them, once."""
        self._until(lambda: len(self.data[stream]) >= size or self.is_over(stream))
        found = bytes(self.data[stream][:size])
        del self.data[stream][:size]
        return found

    def read_all(self, stream: int) -> bytes:
        """Wait for the end."""
        self._until(lambda: self.is_over(stream))
        return bytes(self.data[stream])

    def is_over(self, stream: int) -> bool:
        return self.gone or stream in self.ended or stream in self.reset

    def knows_extended_connect(self) -> bool:
        """Whether the server offers it (RFC 8441 section 3)."""
        self._until(lambda: self._told or self.gone)
        return self.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL) == 1

    def _until(self, true) -> None:  # type: ignore[no-untyped-def]
        while not true():
            self._receive()

    def _receive(self) -> None:
        try:
            raw = self._socket.recv(RECEIVE)
        except ConnectionError:
            raw = b""
        if not raw:
            self.gone = True
            return
        for event in self.h2.receive_data(raw):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.headers[event.stream_id] = dict(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers[event.stream_id] = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.data[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.reset[event.stream_id] = int(event.error_code)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self._told = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.gone = event.error_code != 0

    def _flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self._socket.sendall(data)

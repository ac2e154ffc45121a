"""A gateway of one's own for the client's tests: TLS and HTTP/2 with `h2`, and a queue of faults.

Each CONNECT takes the next behaviour of the queue; the default echoes.
"""

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error
from h2.settings import SettingCodes

DOMAIN = "limen.localhost"
STREAM_ID = "0a1b2c"


def make_certificate(folder: Path, *names: str) -> Path:
    """Return a PEM file of a self-signed certificate with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    alternatives: list[x509.GeneralName] = [x509.DNSName(one) for one in names]
    alternatives.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{names[0].replace('*', 'any')}.pem"
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(text + certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


class FakeGateway:
    """What is asked of it, and what it does."""

    def __init__(self, folder: Path) -> None:
        self.pem = make_certificate(folder, f"*.{DOMAIN}", DOMAIN)
        self.ca_file = self.pem.with_suffix(".crt")
        self.behaviours: deque[str] = deque()
        self.requests: list[dict[str, str]] = []
        self.resets: list[int] = []
        self.connections = 0
        self.body = b"{}"
        self.status = 403
        self.alpn: list[str] = ["h2"]
        self.window = 65_535
        self.port = 0
        self.loop = asyncio.new_event_loop()

    async def listen(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem)
        if self.alpn:
            context.set_alpn_protocols(self.alpn)
        server = await self.loop.create_server(lambda: _Peer(self), "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]


class _Peer(asyncio.Protocol):
    def __init__(self, gateway: FakeGateway) -> None:
        self.gateway = gateway
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.does: dict[int, str] = {}
        self.unsent: dict[int, bytearray] = {}
        self.ending: set[int] = set()

    def connection_made(self, transport: Any) -> None:
        self.gateway.connections += 1
        self.transport = transport
        self.h2.initiate_connection()
        if self.gateway.window != 65_535:
            self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: self.gateway.window})
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(data):
                self.take(event)
            for stream_id in list(self.unsent):
                self.pump(stream_id)
        except H2Error:
            self.transport.abort()
            return
        self.flush()

    def take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            headers = {str(name): str(value) for name, value in event.headers or []}
            self.gateway.requests.append(headers)
            behaviours = self.gateway.behaviours
            self.begin(int(event.stream_id or 0), behaviours.popleft() if behaviours else "echo")
        elif isinstance(event, DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            if self.does.get(event.stream_id) in ("echo", "padded", "draining"):
                self.unsent.setdefault(event.stream_id, bytearray()).extend(event.data or b"")
        elif isinstance(event, StreamEnded):
            if self.does.get(event.stream_id) in ("echo", "padded", "draining"):
                self.ending.add(event.stream_id)
                self.unsent.setdefault(event.stream_id, bytearray())
        elif isinstance(event, StreamReset):
            self.gateway.resets.append(int(event.error_code or 0))

    def pump(self, stream_id: int) -> None:
        waiting = self.unsent[stream_id]
        padding = 7 if self.does[stream_id] == "padded" else None
        while waiting:
            window = self.h2.local_flow_control_window(stream_id) - 8
            count = min(len(waiting), window, self.h2.max_outbound_frame_size - 8)
            if count <= 0:
                return
            self.h2.send_data(stream_id, bytes(waiting[:count]), pad_length=padding)
            del waiting[:count]
        if stream_id in self.ending:
            self.ending.discard(stream_id)
            self.h2.end_stream(stream_id)

    def open(self, stream_id: int, *more: tuple[str, str]) -> None:
        self.h2.send_headers(stream_id, [(":status", "200"), ("x-limen-decision-id", STREAM_ID), *more])

    def begin(self, stream_id: int, behaviour: str) -> None:  # noqa: C901
        self.does[stream_id] = behaviour
        if behaviour in ("echo", "padded"):
            self.open(stream_id)
        elif behaviour == "refuse":
            kind = ("content-type", "application/problem+json")
            self.h2.send_headers(stream_id, [(":status", str(self.gateway.status)), kind])
            self.h2.send_data(stream_id, self.gateway.body, end_stream=True)
        elif behaviour == "flood":
            self.h2.send_headers(stream_id, [(":status", "403")])
            for _ in range(20):
                self.h2.send_data(stream_id, b"x" * 3_000)
            self.h2.end_stream(stream_id)
        elif behaviour == "cut":
            self.open(stream_id)
            self.h2.send_data(stream_id, b"partial")
            self.h2.reset_stream(stream_id, 2)
        elif behaviour == "reset":
            self.h2.reset_stream(stream_id, 2)
        elif behaviour == "never looked":
            self.h2.reset_stream(stream_id, 7)
        elif behaviour == "all said":  # as Envoy does when the service ends first
            self.open(stream_id)
            self.h2.send_data(stream_id, b"all", end_stream=True)
            self.h2.reset_stream(stream_id, 2)
        elif behaviour == "leaving":
            self.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + bytes(8))
        elif behaviour == "draining":
            self.open(stream_id)
            self.flush()
            self.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + stream_id.to_bytes(4, "big") + bytes(4))
        elif behaviour == "garbage":
            self.open(stream_id)
            self.flush()
            self.transport.write(b"\0\0\x05\x08\0\0\0\0\x01garbage, not frames" * 20)
        elif behaviour == "oversize":
            self.open(stream_id)
            self.flush()
            self.transport.write(b"\xff\xff\xff\0\0" + stream_id.to_bytes(4, "big"))
        elif behaviour == "huge headers":
            self.open(stream_id, *((f"x-{n}", "y" * 1_000) for n in range(60)))
        elif behaviour == "drop":
            self.open(stream_id)
            self.flush()
            self.transport.abort()
        self.flush()


@contextmanager
def fake_gateway(folder: Path, **fields: Any) -> Iterator[FakeGateway]:
    """Yield a gateway that listens; `fields` are set before."""
    gateway = FakeGateway(folder)
    for name, value in fields.items():
        setattr(gateway, name, value)
    gateway.loop.run_until_complete(gateway.listen())
    thread = threading.Thread(target=gateway.loop.run_forever, daemon=True)
    thread.start()
    try:
        yield gateway
    finally:
        gateway.loop.call_soon_threadsafe(gateway.loop.stop)
        thread.join(10)
        gateway.loop.close()

"""A leashed tunnel against the same Envoy without the leash: bytes a second, and a round trip.

A WebSocket over HTTP/1.1: after the handshake both ends are plain sockets, so what is measured is Envoy.
The variant without is the same configuration with the leash (and the check) taken out of it. Runs
alternate, because a machine drifts; the medians are compared.

    python -m benchmarks tunnel
"""

import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "kit"))

SIZE = 200 * 1024 * 1024
ROUNDS = 7
TRIPS = 10_000
TURN = 20
FILTERS = ("limen.leash", "limen.check")

UPSTREAM = """
import socket, sys, threading
SIZE = int(sys.argv[1])
block = bytes(1 << 20)
def serve(peer):
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        head += peer.recv(65536)
    peer.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
                 b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\\r\\n\\r\\n")
    if b" /bulk" in head:
        for _ in range(SIZE // len(block)):
            peer.sendall(block)
    else:
        while data := peer.recv(65536):
            peer.sendall(data)
    peer.close()
listening = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listening.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""


def main(*, quick: bool = False) -> None:
    """Print the two ratios."""
    from envoy_rig import app_config, free_port
    from leash_envoy import DOMAIN, LeashedRig

    from limen.core.catalogue import Catalogue

    rounds, trips = (3, 1_000) if quick else (ROUNDS, TRIPS)
    upstream = subprocess.Popen(
        [sys.executable, "-c", UPSTREAM, str(SIZE)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert upstream.stdout is not None
    port = int(upstream.stdout.readline())

    class TunnelRig(LeashedRig):
        def _catalogue(self) -> Catalogue:
            return Catalogue(domain=DOMAIN, apps={"wiki": app_config("wiki", port)})

    import tempfile

    with tempfile.TemporaryDirectory(prefix="lm") as name:
        rig = TunnelRig(Path(name))
        try:
            rig.begin()
            bare_port = free_port()
            with _bare_envoy(rig, bare_port):
                doors = {"leashed": rig.port, "bare": bare_port}
                _report(rig, doors, rounds, trips)
        finally:
            rig.stop()
            upstream.kill()


def _report(rig: Any, doors: dict[str, int], rounds: int, trips: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in doors}
    for _ in range(rounds):
        for name, port in doors.items():
            rates[name].append(_bulk(rig, port))
    bulk = {name: median(found) for name, found in rates.items()}
    trip = _trips(rig, doors, trips)
    for name in doors:
        print(f"{name:8} {bulk[name] / 1e6:7.0f} MB/s   {trip[name] * 1e6:7.1f} µs a round trip")
    print(f"throughput, leashed / bare: {bulk['leashed'] / bulk['bare']:.3f}")
    print(f"round trip, leashed - bare: {(trip['leashed'] - trip['bare']) * 1e6:+.1f} µs")


def _bulk(rig: Any, port: int) -> float:
    """Return bytes a second of one download."""
    connection, rest = _open(rig, port, "/bulk")
    buffer = bytearray(1 << 20)
    began, left = time.perf_counter(), SIZE - rest
    while left > 0:
        got = connection.recv_into(buffer)
        assert got, "the tunnel ended early"
        left -= got
    took = time.perf_counter() - began
    connection.close()
    return (SIZE - rest) / took


def _trips(rig: Any, doors: dict[str, int], count: int) -> dict[str, float]:
    """Return the median of one byte there and back; the doors take turns, a few trips each."""
    lines = {name: _open(rig, port, "/echo")[0] for name, port in doors.items()}
    spans: dict[str, list[float]] = {name: [] for name in doors}
    for connection in lines.values():
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(count // TURN):
        for name, connection in lines.items():
            for _ in range(TURN):
                began = time.perf_counter()
                connection.sendall(b"x")
                connection.recv(16)
                spans[name].append(time.perf_counter() - began)
    for connection in lines.values():
        connection.close()
    return {name: median(found) for name, found in spans.items()}


def _open(rig: Any, port: int, path: str) -> tuple[ssl.SSLSocket, int]:
    from leash_envoy import WIKI

    context = ssl.create_default_context(cafile=str(rig.certificates.ca_file))
    context.set_alpn_protocols(["http/1.1"])
    plain = socket.create_connection(("127.0.0.1", port), 20)
    connection = context.wrap_socket(plain, server_hostname=WIKI)
    lines = [
        f"GET {path} HTTP/1.1", f"Host: {WIKI}", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Cookie: __Host-limen={rig.world.token}", "", "",
    ]  # fmt: skip
    connection.sendall("\r\n".join(lines).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65_536)
    assert b" 101 " in head.split(b"\r\n")[0], head[:200]
    return connection, len(head.split(b"\r\n\r\n", 1)[1])


@contextmanager
def _bare_envoy(rig: Any, port: int) -> Iterator[None]:
    """Run a second Envoy on the rig's configuration without leash and check."""
    from benchmarks.rig import wait_for, without

    folder = rig.folder / "bare"
    shutil.copytree(rig.settings.folder, folder)
    for file in folder.glob("*.json"):
        text = file.read_text().replace(str(rig.settings.folder), str(folder))
        text = text.replace(str(rig.settings.admin_socket), str(folder / "admin.sock"))
        text = text.replace(f'"port_value":{rig.port}', f'"port_value":{port}')
        text = text.replace(f'"port_value": {rig.port}', f'"port_value": {port}')
        value = json.loads(text)
        for name in FILTERS:
            value = without(value, name)
        file.write_text(json.dumps(value))
    arguments = [str(rig.settings.binary), "-c", str(folder / "bootstrap.json"), "--concurrency", "1"]
    process = subprocess.Popen(
        [*arguments, "--disable-hot-restart", "--log-level", "error"], stdout=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()

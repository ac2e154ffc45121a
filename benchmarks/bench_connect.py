"""200 MB through `limen connect`, through curl's own CONNECT, and straight: wall time and the client's CPU.

All three by the same curl to the same server; the two tunnels through the same Envoy. curl of Debian 12
speaks CONNECT to a proxy over HTTP/1.1 only; `limen connect` over HTTP/2, as the gateway demands.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.rig import cpu_s
from limen.connect.profiles import Profile, Profiles
from limen.connect.vault import Vault
from limen.core.catalogue import Catalogue, ServiceConfig
from limen.core.secret import Secret
from limen.enforcement.certificates import CertificateFolder, Pair
from limen.enforcement.envoy.binary import find_envoy
from limen.enforcement.envoy.settings import HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_STREAM_WINDOW_BYTES

SIZE_BYTES = 200 << 20
DOMAIN = "limen.localhost"
BLOCK = bytes(1 << 20)
V3 = "type.googleapis.com/envoy"


def main(*, quick: bool) -> None:
    """Measure both directions."""
    if shutil.which("curl") is None:
        sys.exit("This benchmark needs curl: sudo apt-get install curl")
    rounds = 3 if quick else 7
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lb-")))
        upstream = stack.enter_context(serving())
        certificates = CertificateFolder(folder / "ca")
        services = {"db": ServiceConfig("db", f"db.{DOMAIN}", "127.0.0.1", upstream)}
        pair = certificates.pair_for(Catalogue(domain=DOMAIN, services=services), time.time())
        gateway = stack.enter_context(envoy(folder, pair, upstream))
        local, client = stack.enter_context(connecting(folder, gateway, certificates.ca_file))
        (folder / "blob").write_bytes(bytes(SIZE_BYTES))
        proxy = ["-p", "-x", f"https://db.{DOMAIN}:{gateway}", "--proxy-cacert", str(certificates.ca_file)]
        for name, more in (("download", []), ("upload", ["-H", "Expect:", "-T", str(folder / "blob")])):
            ways: dict[str, Callable[[], float]] = {
                "direct": lambda more=more: curl(f"http://127.0.0.1:{upstream}/", *more),
                "curl CONNECT": lambda more=more: curl("http://127.0.0.1:443/", *proxy, *more),
                "limen connect": lambda more=more: curl(f"http://127.0.0.1:{local}/", *more),
            }
            report(name, ways, rounds, client)


def report(name: str, ways: dict[str, Callable[[], float]], rounds: int, client: int) -> None:
    """Take turns, so that a noisy moment falls on all; print medians and ratios."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    used: list[float] = []
    for _ in range(rounds):
        for way, run in ways.items():
            before = cpu_s(client)
            took[way].append(run())
            if way == "limen connect":
                used.append(cpu_s(client) - before)
    base = median(took["curl CONNECT"])
    for way, times in took.items():
        middle = median(times)
        speed = SIZE_BYTES / 1e6 / middle
        print(f"{name:8}  {way:13}  {middle:5.2f} s  {speed:6.0f} MB/s  {middle / base:4.2f} x curl CONNECT")
    print(f"{name:8}  limen connect used {median(used):.2f} s of CPU\n")


def curl(*arguments: str) -> float:
    """Return how long one transfer took."""
    form = "%{http_code} %{time_total} %{size_download} %{size_upload}"
    done = subprocess.run(
        ["curl", "-s", "-o", os.devnull, "-w", form, "-m", "120", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    status, took, down, up = done.stdout.split()
    if status != "200" or max(int(down), int(up)) != SIZE_BYTES:
        sys.exit(f"The transfer failed: {done.stdout}")
    return float(took)


@contextmanager
def serving() -> Iterator[int]:
    """Serve 200 MB to GET, and take as much from PUT, in a process of its own."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    pid = os.fork()
    if pid == 0:
        while True:
            threading.Thread(target=_answer, args=(listener.accept()[0],), daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        listener.close()


def _answer(peer: socket.socket) -> None:
    with peer:
        head = b""
        while b"\r\n\r\n" not in head:
            more = peer.recv(65_536)
            if not more:
                return
            head += more
        if head.startswith(b"GET"):
            peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE_BYTES)
            for _ in range(SIZE_BYTES // len(BLOCK)):
                peer.sendall(BLOCK)
            return
        left, buffer = SIZE_BYTES - len(head.partition(b"\r\n\r\n")[2]), bytearray(1 << 18)
        while left > 0 and (count := peer.recv_into(buffer)):
            left -= count
        peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def envoy(folder: Path, pair: Pair, upstream: int) -> Iterator[int]:
    """Start an Envoy with one worker that lets every CONNECT through to the server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "envoy.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps(envoy_config(port, pair, upstream)))
    run = [
        find_envoy(),
        "-c",
        folder / "envoy.json",
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "-l",
        "off",
    ]
    process = subprocess.Popen(run)
    try:
        _wait_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def envoy_config(port: int, pair: Pair, upstream: int) -> dict[str, object]:
    """Return the configuration, with the windows that the gateway has."""
    http = f"{V3}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    certificate = {
        "certificate_chain": {"inline_string": pair.cert_pem},
        "private_key": {"inline_string": pair.key_pem.reveal()},
    }
    tls = {
        "@type": f"{V3}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [certificate]},
    }
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    route = {
        "match": {"connect_matcher": {}},
        "route": {"cluster": "server", "timeout": "0s", "upgrade_configs": [upgrade]},
    }
    manager = {
        "@type": http,
        "stat_prefix": "x",
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "http2_protocol_options": {
            "allow_connect": True,
            "initial_stream_window_size": HTTP2_STREAM_WINDOW_BYTES,
            "initial_connection_window_size": HTTP2_CONNECTION_WINDOW_BYTES,
        },
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{V3}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {
        "transport_socket": {"name": "tls", "typed_config": tls},
        "filters": [{"name": "http", "typed_config": manager}],
    }
    endpoint = {"address": _address(upstream)}
    cluster = {
        "name": "server",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "server",
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }
    listener = {"name": "x", "address": _address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextmanager
def connecting(folder: Path, gateway: int, ca_file: Path) -> Iterator[tuple[int, int]]:
    """Run `limen connect db --listen` as somebody who logged in; yield its port and its process."""
    profiles = Profiles(folder / "config")
    profile = Profile(f"https://auth.{DOMAIN}:{gateway}", "bench", time.time() + 3_600, "file", str(ca_file))
    Vault(profiles.folder, lambda: None).save(profile.name, Secret("bench"))
    profiles.save(profile)
    profiles.ca_file(profile.place).write_bytes(ca_file.read_bytes())
    process = subprocess.Popen(
        [sys.executable, "-m", "limen", "connect", "db", "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LIMEN_CONFIG_DIR": str(folder / "config")},
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        yield int(said.split("127.0.0.1:")[1].split(".")[0]), process.pid
    finally:
        process.terminate()
        process.wait(30)


def _wait_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                sys.exit("Envoy did not start.")
            time.sleep(0.05)
        else:
            return

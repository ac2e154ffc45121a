"""What the gateway benchmark compares: one upstream, three Envoys in front of it, one load."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from limen.enforcement.envoy.binary import find_envoy

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", re.MULTILINE)
UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Load(NamedTuple):
    """What one run of wrk saw."""

    per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int


def demand_wrk() -> str:
    """Return the load generator."""
    found = shutil.which("wrk")
    if found is None:
        sys.exit("This benchmark needs wrk: sudo apt-get install wrk")
    return found


def run_load(url: str, headers: dict[str, str], *, seconds: int, connections: int = 16) -> Load:
    """Send requests over kept connections for a while."""
    arguments = [demand_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        arguments += ["-H", f"{name}: {value}"]
    text = subprocess.run([*arguments, url], capture_output=True, text=True, check=True).stdout
    latency = {part[0]: float(part[1]) * UNIT_MS[part[2]] for part in LATENCY.findall(text)}
    requests = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    per_s = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    return Load(per_s, latency["50"], latency["99"], requests, int(failed[1]) if failed else 0)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KB / 1024


def children_of(pid: int) -> list[int]:
    """Return every process below one."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            child = int(stat.parent.name)
            found += [child, *children_of(child)]
    return found


def start_upstream(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the upstream: an Envoy that answers by itself, so that it is never what is measured."""
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": "up",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200, "body": {"inline_string": "x" * 1024}},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return start_envoy(folder, "upstream", {"static_resources": {"listeners": [listener]}}, base_id=71)


def start_variant(
    state: Path, folder: Path, name: str, port: int, *, check: Path | None, base_id: int
) -> subprocess.Popen[bytes]:
    """Start Limen's own Envoy configuration with another check behind it, or with none."""
    made = folder / name
    made.mkdir()
    for source in (state / "envoy").glob("*.json"):
        text = source.read_text().replace(str(state / "envoy"), str(made))
        value = json.loads(text)
        if source.stem == "lds":
            value["resources"][0]["address"]["socket_address"]["port_value"] = port
        if check is None:
            value = without(without(value, "limen.check"), "limen.leash")
        elif source.stem == "eds_check":
            endpoint = value["resources"][0]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"]["pipe"]["path"] = str(check)
        (made / source.name).write_text(json.dumps(value))
    bootstrap = json.loads((made / "bootstrap.json").read_text())
    bootstrap["admin"]["address"]["pipe"]["path"] = str(made / "admin.sock")
    return start_envoy(folder, name, bootstrap, base_id=base_id)


def start_envoy(
    folder: Path, name: str, bootstrap: dict[str, Any], *, base_id: int
) -> subprocess.Popen[bytes]:
    """Start an Envoy; its access log goes where nobody reads it."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(bootstrap))
    arguments = [find_envoy(), "-c", path, "--base-id", str(base_id), "--log-level", "error"]
    return subprocess.Popen([*map(str, arguments), "--concurrency", "2"], stdout=subprocess.DEVNULL)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that this benchmark started."""
    process.send_signal(signal.SIGTERM)
    process.wait(10)


def wait_for(path_or_port: Path | int, seconds: float = 20) -> None:
    """Wait until something listens."""
    import socket

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX if isinstance(path_or_port, Path) else socket.AF_INET) as probe:
            target = str(path_or_port) if isinstance(path_or_port, Path) else ("127.0.0.1", path_or_port)
            if probe.connect_ex(target) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"Nothing listens on {path_or_port}.")


def without(value: Any, name: str) -> Any:
    """Return a configuration without the filter of this name, and without what routes say of it."""
    if isinstance(value, dict):
        return {key: without(part, name) for key, part in value.items() if key != name}
    if isinstance(value, list):
        return [
            without(part, name) for part in value if not (isinstance(part, dict) and part.get("name") == name)
        ]
    return value

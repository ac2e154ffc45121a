"""The same upstream through Envoy alone, Envoy with Limen, and Envoy with a check that always says yes.

TLS, HTTP/1.1 kept alive, 16 connections, a 1 kB answer, one signed-in person; rounds alternate between the
three, and medians are shown. Each Envoy has one worker thread.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pyotp
import yaml

from benchmarks import rig
from limen.core.secret import Secret
from limen.services.form_client import FormClient
from limen.services.system import free_port

ROUNDS = 3


class Measured(NamedTuple):
    """One variant's rounds."""

    loads: list[rig.Load]
    cpu_us: list[dict[str, float]]  # per request, of Envoy and of Python


def main(*, quick: bool = False) -> None:
    """Measure, and print one table."""
    rig.demand_wrk()
    with tempfile.TemporaryDirectory(prefix="lb-") as name:
        folder = Path(name)
        _measure(folder, seconds=3 if quick else 8)


def _measure(folder: Path, *, seconds: int) -> None:
    state, upstream_port, port = folder / "s", free_port("127.0.0.1"), free_port("127.0.0.1")
    started: list[subprocess.Popen[bytes]] = [rig.start_upstream(folder, upstream_port)]
    demo, ready = start_limen(folder, state, port, upstream_port)
    try:
        yes = folder / "yes.sock"
        always = subprocess.Popen([sys.executable, "-m", "benchmarks.always_yes", str(yes)])
        started.append(always)
        rig.wait_for(yes)
        ports = {"alone": free_port("127.0.0.1"), "yes": free_port("127.0.0.1")}
        alone = rig.start_variant(state, folder, "alone", ports["alone"], check=None, base_id=72)
        with_yes = rig.start_variant(state, folder, "yes", ports["yes"], check=yes, base_id=73)
        started += [alone, with_yes]
        for variant_port in ports.values():
            rig.wait_for(variant_port)
        cookie = sign_in(ready)
        below = rig.children_of(demo.pid)
        gateway = [pid for pid in below if _has(pid, "gateway") or _has(pid, "envoy/_bin")]
        python = next(pid for pid in below if _has(pid, "--brain"))
        control = next(pid for pid in below if _has(pid, "control"))
        variants: dict[str, tuple[int, Callable[[], list[int]]]] = {
            "Envoy alone": (ports["alone"], lambda: [alone.pid]),
            "Envoy + always-yes": (ports["yes"], lambda: [with_yes.pid, always.pid]),
            "Envoy + Limen": (port, lambda: gateway),
        }
        idle = {"control": rig.rss_mb(control), "gateway's Python": rig.rss_mb(python)}
        found = {name: Measured([], []) for name in variants}
        for _ in range(ROUNDS):
            for variant, (at, pids) in variants.items():
                before = _cpu(pids())
                load = rig.run_load(
                    f"https://127.0.0.1:{at}/",
                    {"Host": f"bench.limen.localhost:{at}", "Cookie": cookie},
                    seconds=seconds,
                )
                after = _cpu(pids())
                found[variant].loads.append(load)
                found[variant].cpu_us.append(
                    {part: (after[part] - before[part]) / load.requests * 1e6 for part in after}
                )
        _print(found)
        memory = {**idle, "gateway's Python after the load": rig.rss_mb(python)}
        memory |= {
            f"Envoy ({name})": rig.rss_mb(pids()[0])
            for name, (_, pids) in variants.items()
            if name != "Envoy + Limen"
        }
        print("\n| Process | Resident |\n|---|---|")
        for process, size in memory.items():
            print(f"| {process} | {size:.0f} MB |")
    finally:
        rig.stop(demo)
        for process in started:
            rig.stop(process)


def start_limen(
    folder: Path, state: Path, port: int, upstream_port: int, *, env: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], dict[str, object]]:
    """Start the demo, and give it one more app: the fast upstream."""
    import json

    ready_file = folder / "ready.json"
    demo = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "limen",
            "demo",
            "--port",
            str(port),
            "--state",
            str(state),
            "--ready-file",
            str(ready_file),
        ],
        stdout=subprocess.DEVNULL,
        env=env,
    )
    import time

    while not ready_file.exists():
        if demo.poll() is not None:
            sys.exit("The demo ended before it served.")
        time.sleep(0.1)
    bundle = state / "bundle" / "limen.yaml"
    content = yaml.safe_load(bundle.read_text())
    content["apps"]["bench"] = {"upstream": f"http://127.0.0.1:{upstream_port}", "allow": ["group:staff"]}
    bundle.write_text(yaml.safe_dump(content))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "limen",
            "policy",
            "apply",
            str(state / "bundle"),
            "--no-plan",
            "--state",
            str(state),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    time.sleep(2)  # the gateway takes the routes within milliseconds; this is no test
    return demo, json.loads(ready_file.read_text())


def sign_in(ready: dict[str, object]) -> str:
    """Sign in to the fast upstream's app; return the cookie header."""
    person = ready["people"]["ada"]  # type: ignore[index]
    url = f"https://bench.limen.localhost:{ready['port']}/"
    with FormClient(Path(str(ready["ca_file"]))) as browser:
        browser.sign_in(
            url,
            person["username"],
            Secret(person["password"]),
            lambda: Secret(pyotp.TOTP(person["totp_secret"]).now()),
        )
        jar = [cookie for cookie in browser.http.cookies.jar if cookie.domain.startswith("bench.")]
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)


def _cpu(pids: list[int]) -> dict[str, float]:
    """Return the CPU seconds of Envoy's and of Python's processes."""
    used = {"envoy": 0.0, "python": 0.0}
    for pid in pids:
        used["envoy" if _has(pid, "envoy/_bin") else "python"] += rig.cpu_s(pid)
    return used


def _has(pid: int, word: str) -> bool:
    try:
        return word in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return False


def _print(found: dict[str, Measured]) -> None:
    base = statistics.median(load.per_s for load in found["Envoy + always-yes"].loads)
    heads = ("", "requests/s", "of always-yes", "p50 ms", "p99 ms", "Envoy µs", "Python µs")
    print("| " + " | ".join((*heads, "CPU s per 10,000", "failed")) + " |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, measured in found.items():
        per_s, p50, p99 = (
            statistics.median(getattr(load, field) for load in measured.loads)
            for field in ("per_s", "p50_ms", "p99_ms")
        )
        envoy, python = (
            statistics.median(used[part] for used in measured.cpu_us) for part in ("envoy", "python")
        )
        failed = sum(load.failed for load in measured.loads)
        cells = (
            name,
            f"{per_s:,.0f}",
            f"{per_s / base:.2f}",
            f"{p50:.2f}",
            f"{p99:.2f}",
            f"{envoy:.0f}",
            f"{python:.0f}",
            f"{(envoy + python) / 100:.2f}",
            failed,
        )
        print("| " + " | ".join(map(str, cells)) + " |")

"""What the journal and a shadow cost a request: the same system with it, and without, in turns.

Three systems of the same bundle: as it is; with a brain that writes no journal; and as it is, with a
candidate in shadow. One load generator, rounds in turn; the median of the rounds' ratios is shown.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks import rig
from benchmarks.bench_gateway import sign_in, start_limen
from limen.services.system import free_port

ROUNDS = 5
NO_JOURNAL = str(Path(__file__).parent / "no_journal")


def main(*, quick: bool = False) -> None:
    """Measure, and print one table."""
    rig.demand_wrk()
    with tempfile.TemporaryDirectory(prefix="lp-") as name:
        _measure(Path(name), seconds=3 if quick else 6)


def _measure(folder: Path, *, seconds: int) -> None:
    upstream_port = free_port("127.0.0.1")
    started = [rig.start_upstream(folder, upstream_port)]
    systems: dict[str, tuple[int, str, Path]] = {}
    try:
        for name in ("as it is", "without journal", "with a shadow"):
            place = folder / name.replace(" ", "-")
            place.mkdir()
            port = free_port("127.0.0.1")
            path = {"PYTHONPATH": NO_JOURNAL} if name == "without journal" else {}
            demo, ready = start_limen(place, place / "s", port, upstream_port, env={**os.environ, **path})
            started.append(demo)
            systems[name] = (port, sign_in(ready), place / "s")
        _start_shadow(systems["with a shadow"][2])
        rates = _rounds(systems, seconds)
    finally:
        for process in reversed(started):
            rig.stop(process)
    base = rates["as it is"]
    print("| | requests/s, median | of the system as it is, median of rounds |\n|---|---|---|")
    for name, found in rates.items():
        ratio = statistics.median(one / other for one, other in zip(found, base, strict=True))
        print(f"| {name} | {statistics.median(found):,.0f} | {ratio:.3f} |")


def _rounds(systems: dict[str, tuple[int, str, Path]], seconds: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(ROUNDS + 1):
        for name, (port, cookie, _) in systems.items():
            headers = {"Host": f"bench.limen.localhost:{port}", "Cookie": cookie}
            load = rig.run_load(f"https://127.0.0.1:{port}/", headers, seconds=seconds)
            if load.failed:
                sys.exit(f"{name}: {load.failed} requests failed.")
            if number:  # the first warms up
                rates[name].append(load.per_s)
    return rates


def _start_shadow(state: Path) -> None:
    candidate = state.parent / "candidate"
    shutil.copytree(state / "bundle", candidate)
    file = candidate / "limen.yaml"
    content = yaml.safe_load(file.read_text())
    content["apps"]["bench"]["allow"] = ["group:staff", "user:ada"]
    file.write_text(yaml.safe_dump(content))
    subprocess.run(
        [sys.executable, "-m", "limen", "shadow", "start", str(candidate), "--state", str(state)],
        check=True,
        stdout=subprocess.DEVNULL,
    )

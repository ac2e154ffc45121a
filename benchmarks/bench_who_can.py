"""`limen policy who-can read '*'` as a user runs it: 20,000 people, 500 resources, a real system."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from limen.api.client import AdminClient
from limen.services.state import StateDir
from limen.services.system import free_port

GROUPS = ("staff", "hr", "engineers", "contractors")


def main(*, quick: bool = False) -> None:
    """Import, apply, ask."""
    people, apps = (2_000, 50) if quick else (20_000, 500)
    with tempfile.TemporaryDirectory(prefix="lw-") as name:
        folder = Path(name)
        ready = folder / "ready.json"
        state = folder / "s"
        arguments = [
            "demo",
            "--port",
            str(free_port("127.0.0.1")),
            "--state",
            str(state),
            "--ready-file",
            str(ready),
        ]
        demo = subprocess.Popen([sys.executable, "-m", "limen", *arguments], stdout=subprocess.DEVNULL)
        try:
            while not ready.exists():
                if demo.poll() is not None:
                    sys.exit("The demo ended before it served.")
                time.sleep(0.1)
            _measure(state, people, apps)
        finally:
            demo.terminate()
            demo.wait(20)


def _measure(state: Path, people: int, apps: int) -> None:
    client = AdminClient(StateDir(state).socket("admin"))
    rows = "".join(f"p{n},{GROUPS[n % 4]};{GROUPS[(n // 4) % 4]}\n" for n in range(people))
    began = time.perf_counter()
    report = client.post("/v1/people/import", {"csv": f"username,groups\n{rows}", "reason": "bench"})
    assert not report["errors"], report["errors"][:3]
    print(f"import {people:,} people: {time.perf_counter() - began:.1f} s")
    bundle = state / "bundle" / "limen.yaml"
    lines = [
        f"  a{n}:\n    upstream: http://127.0.0.1:9\n    allow: [group:{GROUPS[n % 4]}]\n"
        for n in range(apps)
    ]
    bundle.write_text(bundle.read_text().rstrip() + "\n\n" + "".join(lines))
    for words in (
        ("policy", "apply", str(state / "bundle"), "--no-plan"),
        ("policy", "who-can", "read", "*", "--json"),
    ):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "limen", *words, "--state", str(state)], capture_output=True, check=True
        )
        print(f"limen {' '.join(words[:2])}: {time.perf_counter() - began:.1f} s")
    answers = msgspec.json.decode(done.stdout)
    print(f"{len(answers)} resources, {sum(answer['count'] for answer in answers):,} accesses")

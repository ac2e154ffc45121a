"""kill -9 of a process that writes: nothing acknowledged is lost, nothing half-done stays (law F1)."""

import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import func, select

from limen.core.clock import SystemClock
from limen.store.database import Store
from limen.store.tables import group, person

WRITER = """
import sys
from pathlib import Path
from limen.core.clock import SystemClock
from limen.store.database import Store
from limen.store.directory import add_member, create_group, create_person

store = Store.open(Path(sys.argv[1]), SystemClock())
start = store.head()
for number in range(10_000):
    name = f"u{start}-{number}"
    with store.transaction("writer", "kill test") as tx:
        create_group(tx, f"of-{name}")
        if sys.argv[2] == "inside" and number == 3:
            print("inside", flush=True)
            sys.stdin.read()  # until killed
        create_person(tx, name)
        add_member(tx, f"of-{name}", name)
    print(name, flush=True)
"""


def write_until(path: Path, mode: str, lines: int) -> list[str]:
    """Start a writer, kill it after so many acknowledgements, return all that it gave."""
    command = [sys.executable, "-c", WRITER, str(path), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        heard = [writer.stdout.readline().strip() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        heard += [line.strip() for line in writer.stdout if line.endswith("\n")]
        assert writer.wait() == -signal.SIGKILL
    return heard


def check(path: Path, acknowledged: set[str]) -> str:
    """Assert that all is there, whole, and without gap; return the epoch."""
    with Store.open(path, SystemClock()) as store:
        snapshot = store.snapshot()
        changes = store.changes_since(0, 1_000_000)
        assert [c.seq for c in changes] == list(range(1, snapshot.seq + 1))
        last = {(c.kind, c.id): (c.seq, c.value) for c in changes}
        assert sorted(last.values(), key=lambda pair: pair[0]) == list(snapshot.values)
        with store.read() as connection:
            people = set(connection.scalars(select(person.c.id)))
            groups = connection.scalar(select(func.count()).select_from(group))
        assert acknowledged <= people
        assert len(people) == groups == len(snapshot.values) / 2
        return store.epoch


def test_nothing_acknowledged_is_lost_when_a_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "limen.db"
    acknowledged: set[str] = set()
    epochs = set()
    for lines in (1, 7, 23):
        acknowledged.update(write_until(path, "running", lines))
        epochs.add(check(path, acknowledged))
    assert len(epochs) == 1  # a crash is not a restore: nobody is signed out by it


def test_a_writer_killed_inside_a_transaction_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "limen.db"
    *acknowledged, inside = write_until(path, "inside", 4)
    assert inside == "inside"
    check(path, set(acknowledged))
    with Store.open(path, SystemClock()) as store:
        assert len(store.snapshot().values) == 2 * len(acknowledged) == 6

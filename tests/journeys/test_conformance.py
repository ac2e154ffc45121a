"""`limen conformance revoke`: every open connection ends when its reason does; and the tool cannot lie.

Real control, real gateways with their Envoys, each a process; the second gateway joins over TLS.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from limen.services.conformance.bundle import PLACES, Twist, with_conformance
from limen.services.conformance.cells import CELLS, Cell, Since, World, patch, person_of, since
from limen.services.conformance.command import Served, revoke_private
from limen.services.conformance.doors import answer, wait_for
from limen.services.conformance.judging import slipped
from limen.services.conformance.loops import Asked
from limen.services.conformance.people import Holder
from limen.services.conformance.report import Report, Row, Untouched, row_of
from limen.services.conformance.run import Options, Task

pytestmark = pytest.mark.envoy

Record = Callable[[str, object], None]
KINDS = {"sse", "ws1", "ws2", "tcp"}


def revoke(*options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "limen", "conformance", "revoke", "--json", "--streams", "40", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, (done.stdout[-6000:], done.stderr[-4000:])
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("gateways", [2])
def test_every_connection_ends_when_its_reason_does(gateways: int, record_property: Record) -> None:
    report = revoke("--gateways", str(gateways))
    assert report["good"]
    rows = {(row["change"], row["kind"]): row for row in report["rows"]}
    for cell in CELLS:
        for kind in cell.kinds:
            assert rows[cell.name, kind]["held"] == 5 * gateways
        assert ((cell.name, "http") in rows) == cell.denies
    assert {kind for change, kind in rows if change == "scim deactivation"} == {*KINDS, "http"}
    assert {kind for change, kind in rows if change == "staleness"} == {*KINDS, "http", "recovers"}
    assert {kind for change, kind in rows if change == "bundle flips all"} == KINDS
    assert all(
        row["survived"] == row["stale"] == row["disturbed"] == row["early"] == 0 for row in rows.values()
    )
    assert {row["what"] for row in report["untouched"]} == {
        "an app is added",
        "an app is changed",
        "the certificate is rotated",
        "the gateway is upgraded",
        "control is restarted",
    }
    for row in report["untouched"]:
        assert (row["streams"], row["cut"], row["failed"]) == (40, 0, 0), row
        assert row["requests"] > 0
    record_property("took_s", round(report["took_s"], 1))
    record_property("worst_ms", max(row["max_ms"] for row in rows.values()))


# --- the tool cannot lie -------------------------------------------------------------------------------


def nothing(_world: World, _holder: Holder) -> Since:
    return since(time.time())


def somebody_else(world: World, holder: Holder) -> Since:
    """Cut the person, and a bystander with them."""
    patch({"quarantined": True})(world, msgspec.structs.replace(holder, username=person_of("other1")))
    return patch({"quarantined": True})(world, holder)


def too_soon(world: World, holder: Holder) -> Since:
    """Cut now what should have lived for a second more."""
    patch({"quarantined": True})(world, holder)
    return since(time.time() + 1.0)


def broken_promises(served: Served, usual: Options) -> Options:
    """Return a run in which every promise is broken once."""

    def back_again(world: World, holder: Holder) -> Since:
        at = patch({"quarantined": True})(world, holder)
        door = served.doors[0]
        wait_for(lambda: answer(door, holder.cookie) == 403, "the hold")
        patch({"quarantined": False})(world, holder)
        return at

    def cut_one() -> None:
        served.world.admin.delete("/v1/streams", user=person_of("other2"), reason="conformance")

    def no_promise() -> None:
        return

    cells = (
        Cell("nothing", nothing),
        Cell("somebody else", somebody_else),
        Cell("too soon", too_soon),
        Cell("back again", back_again),
        Cell("never back", patch({"quarantined": True}), undo=no_promise),
    )
    return msgspec.structs.replace(
        usual, cells=cells, tasks=(Task("a cut", cut_one),), probes=1, cut_wait_s=3.0
    )


def test_the_tool_finds_each_promise_that_is_broken() -> None:
    report = revoke_private(1, 16, print, adjust=broken_promises)
    assert not report.good
    rows = {(row.change, row.kind): row for row in report.rows}
    for kind in (*KINDS, "http"):
        assert rows["nothing", kind].survived == 1
        assert rows["somebody else", kind].disturbed == 4
        assert rows["too soon", kind].early == 1
    assert rows["back again", "http"].stale > 0
    assert rows["never back", "recovers"].survived == 1
    (cut,) = report.untouched
    assert cut.cut == 4
    wrong = {row.change for row in report.rows if not row.good}
    assert wrong == {"nothing", "somebody else", "too soon", "back again", "never back"}


def test_a_report_is_good_only_if_everything_is() -> None:
    row = row_of("change", "tcp", [0.001])
    kept = Untouched("task", 1, 0, 1, 0, 1.0, 1.0)
    assert Report(1, 1, (row,), (kept,)).good
    wrong_rows = [
        row_of("change", "tcp", []),
        row_of("change", "tcp", [0.001, None]),
        *(msgspec.structs.replace(row, **{name: 1}) for name in ("stale", "disturbed", "early", "survived")),
    ]
    wrong_tasks = [msgspec.structs.replace(kept, **it) for it in ({"cut": 1}, {"failed": 1}, {"requests": 0})]
    assert not Report(1, 1, (), (kept,)).good
    assert not any(Report(1, 1, (row, wrong), (kept,)).good for wrong in wrong_rows)
    assert not any(Report(1, 1, (row,), (wrong,)).good for wrong in wrong_tasks)
    assert isinstance(row, Row)


def test_a_yes_after_a_no_is_seen() -> None:
    asked = [Asked(1.0, 1.1, 200), Asked(1.2, 1.3, 403), Asked(1.25, 1.35, 200), Asked(1.4, 1.5, 200)]
    assert slipped(asked, asked[1]) == 1, "what was asked before the no came does not count"
    assert slipped(asked, None) == 0


def test_the_bundle_of_a_run_keeps_what_was_and_adds_what_the_run_needs() -> None:
    files = {"limen.yaml": "domain: limen.test\napps:\n  wiki:\n    upstream: http://127.0.0.1:1\n"}
    made = with_conformance(files, http_port=1, tcp_port=2, twist=Twist(without="gone"))
    assert made["limen.yaml"].startswith(files["limen.yaml"])
    for place in PLACES:
        name = f"limen-conformance-{place}:" if place else "limen-conformance:"
        assert (name in made["limen.yaml"]) == (place != "gone")

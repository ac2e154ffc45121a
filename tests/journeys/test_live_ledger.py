"""The demo's service that is no web app: `limen connect ledger`, as its guide says."""

from pathlib import Path

import pytest
from connect_rig import Laptop
from demo_rig import Demo
from journey_rig import new_person
from live_rig import events

pytestmark = pytest.mark.envoy


def test_engineers_reach_the_ledger_and_nobody_else(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "eve").mkdir()
    eve = Laptop(demo, new_person(demo, "eve", "staff", "engineers"), tmp_path / "eve")
    eve.log_in()
    done = eve.limen("connect", "ledger", "--stdio", input="balance\nquit\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["12460 EUR"]
    (ended,) = events(demo, "stream.ended", actor="eve")
    assert ended["data"]["resource"] == 'Service::"ledger"'
    assert (ended["data"]["cause"], ended["data"]["protocol"]) == ("finished", "connect")

    (tmp_path / "hal").mkdir()
    hal = Laptop(demo, new_person(demo, "hal", "staff", "hr"), tmp_path / "hal")
    hal.log_in()
    refused = hal.limen("connect", "ledger", "--stdio", input="balance\n")
    assert refused.returncode == 1 and refused.stdout == ""
    assert "ledger" in refused.stderr

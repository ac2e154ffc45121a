"""What a gateway of another machine decides is found at control, soon, and after control was away."""

import json
import time
from contextlib import closing
from typing import Any

import pytest
from attack_wire import eventually
from cli_rig import run
from joined_rig import DOMAIN, NODE, READY_S, Site, ending, joined

from limen.api.client import AdminClient
from limen.journal.keys import Keys

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("joined")]

FOUND_S = 2.0


def decisions(site: Site) -> list[dict[str, Any]]:
    """Return what control knows of the gateway's decisions."""
    rows = AdminClient(site.control.socket("admin")).get("/v1/decisions", limit=1000)
    return [row for row in rows if row["node"] == NODE]


def wait_found(site: Site, count: int, within_s: float) -> float:
    """Wait until control has so many of the gateway's decisions; return how long that took."""
    began = time.monotonic()
    assert eventually(lambda: len(decisions(site)) >= count, within_s), len(decisions(site))
    return time.monotonic() - began


def test_decisions_of_a_joined_gateway_are_found_at_control() -> None:
    with joined() as (site, control, _):
        site.ask(f"ticker.{DOMAIN}", "/open")
        wait_found(site, 1, READY_S)  # its first connection may still have to be made
        site.ask(f"ticker.{DOMAIN}", "/open/soon")
        assert wait_found(site, 2, READY_S) < FOUND_S

        found = decisions(site)[-1]
        shown = site.limen("decisions", "show", found["id"], "--json", "--state", str(site.control.root))
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout)["record"]["path"] == "/open/soon"
        listed = site.limen("gateway", "list", "--json", "--state", str(site.control.root))
        (row,) = [one for one in json.loads(listed.stdout) if one["node"] == NODE]
        assert row["ships"] == "yes"

        control.kill()
        control.wait(10)
        for number in range(5):
            assert site.ask(f"ticker.{DOMAIN}", f"/open/{number}") == 200
        with ending(site.run_control()):
            assert eventually(site.administers, READY_S)
            wait_found(site, 7, READY_S)
            paths = [row["path"] for row in decisions(site)]
            assert paths[-5:] == [f"/open/{number}" for number in range(5)]
            every_reader_sees_them(site)
            an_erasure_reaches_the_gateway(site)


def every_reader_sees_them(site: Site) -> None:
    """Search, replay and the shadow read the copies at control, which verify there."""
    admin = AdminClient(site.control.socket("admin"))
    rows = admin.get("/v1/audit/search", text="/open/", node=NODE, limit=100)
    assert len(rows) == 6
    *_, report = admin.follow("/v1/replay", method="POST", body={})
    assert report["mismatched"] == 0 and report["derived"] >= 7
    files = dict(admin.get("/v1/policy")["files"])
    files["limen.yaml"] = files["limen.yaml"].replace('"public": true', '"action": "admin"')
    admin.post("/v1/shadow", {"files": files, "reason": "beside a gateway elsewhere"})
    assert site.ask(f"ticker.{DOMAIN}", "/open/shadow") == 200
    assert eventually(lambda: admin.get("/v1/shadow/report")["differences"], READY_S)
    (found,) = admin.get("/v1/shadow/report")["differences"]
    assert (found["effect"], found["times"]) == ("sign_in", 1)
    verified = run("audit", "verify", "--json", "--state", str(site.control.root))
    assert verified.code == 0, verified
    assert f"{NODE}-a" in {node["node"] for node in json.loads(verified.out)["nodes"]}


def an_erasure_reaches_the_gateway(site: Site) -> None:
    owner = 'User::"ada"'
    for state in (site.control, site.gateway):
        with closing(Keys.open(state.journal)) as keys:
            keys.for_owner(owner)
    admin = AdminClient(site.control.socket("admin"))
    admin.patch("/v1/people/ada", {"status": "ended", "reason": "left"})
    erased = admin.post("/v1/subject/erase", {"person": "ada", "reason": "asked for it"})
    assert erased["pending"] == []
    for state in (site.control, site.gateway):
        with closing(Keys.open(state.journal)) as keys:
            assert keys.keys_of(owner) == ()

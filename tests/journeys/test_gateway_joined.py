"""A gateway that joined from another machine: serves without control, is upgraded, outlives control."""

import os
import signal

import pytest
from attack_wire import eventually
from gateway_rig import wait_gone
from joined_rig import DOMAIN, KEYS, NODE, READY_S, joined

from limen.services.gateway_status import read_status

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("joined")]


def test_a_joined_gateway_serves_is_upgraded_and_outlives_control() -> None:
    with joined() as (site, control, gateway):
        assert not (site.gateway.root / "limen.db").exists()

        assert site.ask(f"ticker.{DOMAIN}") == 401
        assert site.ask(f"ticker.{DOMAIN}", "/open") == 200
        assert site.ask(f"auth.{DOMAIN}", KEYS) == 200, "the sign-in host, which control elsewhere serves"
        listed = site.limen("gateway", "list", "--json", "--state", str(site.control.root)).stdout
        assert f'"{NODE}"' in listed

        before = site.brain
        done = site.limen("gateway", "upgrade", "--state", str(site.gateway.root))
        assert done.returncode == 0, done.stderr
        assert site.brain not in (0, before)
        assert site.ask(f"ticker.{DOMAIN}", "/open") == 200

        control.kill()
        control.wait(10)
        os.kill(site.brain, signal.SIGKILL)
        after = site.brain
        assert eventually(lambda: site.brain not in (0, after) and site.ready(), READY_S)
        assert site.ask(f"ticker.{DOMAIN}", "/open") == 200, "its replica's file vouches for what it knows"
        pids = (site.brain, read_status(site.gateway.run / "gateway.json").envoy or 0)
        gateway.terminate()
        assert gateway.wait(20) == 0
        assert all(wait_gone(pid, 10) for pid in pids)

"""Envoy's life as a child process: it comes back, it never stays behind, it ends politely."""

import asyncio
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from envoy_rig import DOMAIN, Answer, Rig, app_config, running

from limen.core.catalogue import Catalogue
from limen.core.clock import SystemClock
from limen.core.errors import Conflict, Refused, Unavailable
from limen.enforcement.envoy.supervise import EnvoySupervisor, State

pytestmark = pytest.mark.envoy


def _wiki(rig: Rig) -> Catalogue:
    return Catalogue(domain=DOMAIN, apps={"wiki": app_config("wiki", rig.app_port)})


def _twice(rig: Rig) -> Catalogue:
    apps = {name: app_config(name, rig.app_port, host=f"wiki.{DOMAIN}") for name in ("a", "b")}
    return Catalogue(domain=DOMAIN, apps=apps)


def _alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def test_a_killed_envoy_comes_back_with_the_same_configuration() -> None:
    with running(_wiki) as rig:
        first = rig.envoy.status()
        assert first.state is State.READY
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        assert rig.eventually(lambda: rig.envoy.status().restarts == 1)
        assert rig.eventually(lambda: rig.envoy.status().state is State.READY)
        assert rig.envoy.status().pid != first.pid
        assert rig.envoy.status().version == first.version
        assert rig.get("/").status == 200


def test_stop_lets_a_request_finish_and_leaves_no_process() -> None:
    with running(_wiki) as rig, ThreadPoolExecutor(1) as pool:
        go = rig.call(asyncio.Event)
        rig.app.answer = lambda seen: Answer(200, (), b"late", wait=go)
        pid = rig.envoy.status().pid
        assert pid is not None
        reply = pool.submit(rig.get, "/")
        assert rig.eventually(lambda: rig.reached == 1)
        stopping = asyncio.run_coroutine_threadsafe(rig.envoy.stop(), rig._loop)
        rig.later(0.1, go.set)
        assert reply.result(10).body == b"late"
        stopping.result(10)
        assert not _alive(pid)
        assert rig.envoy.status().state is State.STOPPED


def test_a_second_gateway_on_the_same_folder_is_refused() -> None:
    with running(_wiki) as rig:
        second = rig.call(lambda: EnvoySupervisor(rig.settings, rig.certificates, SystemClock()))
        with pytest.raises(Conflict) as refused:
            rig.run(second.start(rig.catalogue))
        assert refused.value.code == "ALREADY_RUNNING"
        assert rig.get("/").status == 200


def test_a_port_that_is_taken_is_named_in_the_error() -> None:
    with running(_wiki) as rig:
        rig.run(rig.envoy.stop())
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", rig.port))
            taken.listen()
            rig.envoy = rig.call(lambda: EnvoySupervisor(rig.settings, rig.certificates, SystemClock()))
            rig.run(rig.envoy.start(rig.catalogue))
            with pytest.raises(Unavailable) as refused:
                rig.run(rig.envoy.wait_ready(3.0))
        assert str(rig.port) in refused.value.message
        assert "in use" in refused.value.message.lower()
        # Once the port is free, it is taken without anybody's help: a predecessor may be slow to end.
        rig.run(rig.envoy.wait_ready())
        assert rig.get("/").status == 200


def test_e3_a_restart_with_a_refused_configuration_serves_the_last_good_one() -> None:
    with running(_wiki) as rig:
        rig.run(rig.envoy.stop())
        rig.envoy = rig.call(lambda: EnvoySupervisor(rig.settings, rig.certificates, SystemClock()))
        rig.run(rig.envoy.start(_twice(rig)))
        rig.run(rig.envoy.wait_ready())
        assert rig.get("/").status == 200
        assert "does not accept" in (rig.envoy.status().refusal or "")
        rig.run(rig.envoy.apply(rig.catalogue))
        assert rig.envoy.status().refusal is None


def test_a_first_start_with_a_refused_configuration_fails() -> None:
    with pytest.raises(Refused), running(_twice):
        pass


def test_kill_9_of_the_gateway_takes_its_envoy_along() -> None:
    program = textwrap.dedent(
        """
        import asyncio, sys, threading
        from envoy_rig import *
        def make(rig):
            return Catalogue(domain=DOMAIN, apps={"wiki": app_config("wiki", rig.app_port)})
        with running(make) as rig:
            print(rig.envoy.status().pid, rig.port, flush=True)
            threading.Event().wait()
        """
    )
    short = tempfile.mkdtemp(prefix="lm")  # for what the killed process leaves; tmp_path is too long
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "kit"), "TMPDIR": short}
    gateway = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    with gateway:
        assert gateway.stdout is not None
        pid, port = (int(word) for word in gateway.stdout.readline().split())
        envoy = os.pidfd_open(pid)
        gateway.kill()
    assert select.select([envoy], [], [], 5.0)[0], "Envoy outlived its gateway"
    os.close(envoy)
    shutil.rmtree(short)
    with socket.socket() as free:
        assert free.connect_ex(("127.0.0.1", port)) != 0

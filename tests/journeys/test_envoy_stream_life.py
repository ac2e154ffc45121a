"""What cuts a live stream and what does not: changes, a new leash, a leash that is gone or hangs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import envoy_leash
import pytest
from envoy_leash import FakeLeash
from envoy_peers import StreamApp
from envoy_rig import DOMAIN, Rig, app_config, running
from envoy_streams import DB, HANDSHAKE, LIVE, Streams, is_over, running_streams, says
from msgspec.structs import replace

from limen.core.catalogue import AppConfig, Catalogue, ServiceConfig

pytestmark = pytest.mark.envoy


@pytest.fixture(scope="module")
def shared() -> Iterator[Streams]:
    with running_streams() as streams:
        yield streams


@pytest.fixture
def rig(shared: Streams) -> Streams:
    return shared.fresh()


def test_changing_apps_and_services_and_certificates_cuts_nothing(rig: Streams) -> None:
    web = rig.websocket()
    tunnel = rig.h2(DB)
    stream = tunnel.connect(f"{DB}:443")
    assert tunnel.status(stream) == 200
    before = rig.rig.catalogue
    live, db = before.apps["live"], before.services["db"]
    far = AppConfig("far", "pay.other.example", ("http://127.0.0.1:9",))
    changed = {
        **before.apps,
        "far": far,
        "live": replace(live, upstream=("http://127.0.0.1:9",), upgrades=()),
    }
    new = Catalogue(
        domain=DOMAIN, apps=changed, services={"db2": ServiceConfig("db2", f"db2.{DOMAIN}", db.address, 9)}
    )
    applied = rig.run(rig.rig.envoy.apply(new))
    assert set(applied.changed) == {"sds", "cds", "rds"}
    assert says(web, b"still here")
    tunnel.send(stream, b"still here")
    assert tunnel.read(stream, 10) == b"still here"
    rig.leash.held[0].cut()
    assert is_over(web), "and it is still held"
    rig.run(rig.rig.envoy.apply(before))
    tunnel.send(stream, b"and back")
    assert tunnel.read(stream, 8) == b"and back"


def test_new_streams_go_to_the_new_leash_and_old_ones_stay(rig: Streams) -> None:
    other = FakeLeash()
    rig.rig.extra.append(other)
    old = rig.websocket()
    rig.run(other.listen(replace(rig.settings, slot="b").leash_socket))
    rig.decided_by("b")
    new = rig.websocket()
    assert (len(rig.leash.held), len(other.held)) == (1, 1)
    assert says(old, b"old")
    assert says(new, b"new")
    rig.leash.held[0].cut()
    assert is_over(old)
    assert says(new, b"new")
    rig.decided_by("a")
    newest = rig.websocket()
    assert (len(rig.leash.held), len(other.held)) == (2, 1)
    assert says(new, b"kept")
    other.held[0].cut()
    assert is_over(new)
    assert says(newest, b"newest")


def small(rig: Rig) -> Catalogue:
    app = StreamApp()
    rig.beside(app)
    return Catalogue(domain=DOMAIN, apps={"live": app_config("live", app.port)})


def test_without_a_leash_no_stream_opens_and_open_ones_end() -> None:
    with running(small) as rig:
        streams = Streams(rig, StreamApp())
        web = streams.websocket()
        began = monotonic()
        rig.run(rig.leash.close())
        assert is_over(web)
        assert monotonic() - began < 1.0
        reply = rig.raw(HANDSHAKE.format(path="/", host=LIVE, to="websocket").encode(), LIVE)
        assert (reply.status, reply.get("retry-after")) == (503, "5")
        assert "CHECK_UNAVAILABLE" in reply.text
        reply = rig.get("/", ("Accept", "text/event-stream, text/html"), host=LIVE)
        assert (reply.status, "CHECK_UNAVAILABLE" in reply.text) == (503, True)


def test_a_leash_that_hangs_loses_its_streams_within_seconds() -> None:
    with running(small, leash_timeout_s=2.0) as rig:
        settings = rig.decided_by("b")
        command = [sys.executable, str(Path(envoy_leash.__file__)), str(settings.leash_socket)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            sse = ("Accept", "text/event-stream")
            rig.run(rig.leash.close())
            web = Streams(rig, StreamApp()).websocket()
            assert says(web, b"held")
            process.send_signal(19)  # SIGSTOP
            began = monotonic()
            assert is_over(web)
            assert monotonic() - began < 4.0
            assert rig.get("/", sse, host=LIVE).status == 503
        finally:
            process.kill()
            process.wait()

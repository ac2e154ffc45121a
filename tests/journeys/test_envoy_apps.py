"""Apps come, change and go under a running Envoy (laws E1 and E3)."""

import asyncio
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import msgspec
import pytest
from envoy_rig import DOMAIN, Answer, Rig, app_config, running

from limen.core.catalogue import AppConfig, Catalogue
from limen.core.errors import LimenError, Refused
from limen.enforcement.envoy.files import discovery

pytestmark = pytest.mark.envoy


def _only_wiki(rig: Rig) -> Catalogue:
    return _with(rig)


def _with(rig: Rig, *apps: AppConfig, domain: str = DOMAIN) -> Catalogue:
    all_apps = (app_config("wiki", rig.app_port), *apps)
    return Catalogue(domain=domain, apps={app.name: app for app in all_apps})


@pytest.fixture(scope="module")
def _rig() -> Iterator[Rig]:
    with running(_only_wiki) as rig:
        yield rig


@pytest.fixture
def rig(_rig: Rig) -> Rig:
    _rig.run(_rig.envoy.apply(_rig.catalogue))
    _rig.reset()
    return _rig


class OpenStream:
    """A response that is under way: its first piece has arrived, its last is held back."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._go = rig.call(asyncio.Event)
        stream = Answer(parts=((b"first", self._go), (b"last", 0.0)))
        rig.app.answer = lambda seen: stream if seen.path == "/stream" else rig.app.default
        self._socket = rig.connect()
        self._socket.sendall(f"GET /stream HTTP/1.1\r\nHost: wiki.{DOMAIN}\r\n\r\n".encode())
        self._response = HTTPResponse(self._socket)
        self._response.begin()
        assert self._response.read(5) == b"first"

    def finish(self) -> bytes:
        self._rig.call(self._go.set)
        rest = self._response.read()
        self._socket.close()
        return rest


def test_e1_adding_changing_and_removing_an_app_cuts_nobody(rig: Rig) -> None:
    stream = OpenStream(rig)
    added = _with(rig, app_config("new", rig.app_port))
    assert rig.run(rig.envoy.apply(added)).changed == ("cds", "rds")
    assert rig.get("/", host=f"new.{DOMAIN}").status == 200
    changed = _with(
        rig, app_config("new", rig.app_port, timeout_s=9.0, max_body_bytes=5, allow_encoded_slash=True)
    )
    assert rig.run(rig.envoy.apply(changed)).changed == ("rds",)
    rerouted = _with(rig, app_config("new", rig.another_app()[1]))
    assert rig.run(rig.envoy.apply(rerouted)).changed == ("cds", "rds")
    assert rig.get("/", host=f"new.{DOMAIN}").body == b"another"
    assert not rig.run(rig.envoy.apply(rig.catalogue)).connections_drain
    assert rig.get("/", host=f"new.{DOMAIN}").status == 404
    assert stream.finish() == b"last"


def test_applying_the_same_again_changes_nothing(rig: Rig) -> None:
    assert rig.run(rig.envoy.apply(_only_wiki(rig))).changed == ()


def test_an_app_outside_the_domain_gets_a_certificate_and_cuts_nobody(rig: Rig) -> None:
    stream = OpenStream(rig)
    applied = rig.run(rig.envoy.apply(_with(rig, app_config("pay", rig.app_port, host="pay.other.example"))))
    assert applied.changed == ("sds", "cds", "rds")
    assert stream.finish() == b"last"
    assert rig.get("/", host="pay.other.example").status == 200
    assert rig.get("/").status == 200
    assert rig.envoy.status().uncovered == ()


def test_another_domain_is_a_change_of_the_listener_and_says_so(rig: Rig) -> None:
    other = _with(rig, app_config("x", rig.app_port, host="x.other.example"), domain="other.example")
    assert rig.run(rig.envoy.apply(other)).connections_drain
    assert rig.get("/login", host="auth.other.example").body == b"control"
    assert rig.get("/", host="x.other.example").body == b"app"
    assert rig.run(rig.envoy.apply(rig.catalogue)).connections_drain


def test_e3_a_configuration_that_envoy_does_not_accept_changes_nothing(rig: Rig) -> None:
    twice = _with(rig, app_config("other", rig.app_port, host=f"wiki.{DOMAIN}"))
    with pytest.raises(Refused) as refused:
        rig.run(rig.envoy.apply(twice))
    assert "unique" in refused.value.message.lower()
    assert rig.envoy.status().refusal == refused.value.message
    assert rig.get("/").status == 200
    rig.run(rig.envoy.apply(rig.catalogue))
    assert rig.envoy.status().refusal is None


@pytest.mark.parametrize("kind", ["lds", "cds", "rds", "sds"])
def test_e3_a_file_that_the_running_envoy_rejects_is_taken_back(
    rig: Rig, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    current: Any = rig.envoy._current
    bad = discovery([{**getattr(current, kind).resources[0], "nonsense": True}])
    broken = msgspec.structs.replace(current, **{kind: bad})

    async def swap() -> None:
        await rig.envoy._files.replace(current, broken)

    before = rig.settings.file(kind).read_bytes()
    with pytest.raises(LimenError) as refused:
        rig.run(swap())
    assert refused.value.code == "ENVOY_REFUSED"
    assert rig.settings.file(kind).read_bytes() == before
    assert rig.get("/").status == 200

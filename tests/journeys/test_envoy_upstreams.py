"""How the gateway reaches apps: TLS that is verified, names, several servers, silence, endless answers."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from envoy_rig import DOMAIN, Answer, Rig, app_config, running

from limen.core.catalogue import AppConfig, Catalogue, CorsConfig, UpstreamTls
from limen.core.clock import SystemClock
from limen.enforcement.certificates import CertificateFolder

pytestmark = pytest.mark.envoy

SILENCE_S = 0.4
STREAM_MAX_S = 1.5
OUTSIDE = f"https://board.{DOMAIN}"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    def make(rig: Rig) -> Catalogue:
        return Catalogue(domain=DOMAIN, apps={"wiki": app_config("wiki", rig.app_port)})

    with running(make, stream_max_s=STREAM_MAX_S) as rig:
        yield rig


def serve(rig: Rig, app: AppConfig) -> None:
    rig.reset()
    rig.run(rig.envoy.apply(Catalogue(domain=DOMAIN, apps={app.name: app})))


def server_tls(folder: Path, domain: str) -> tuple[ssl.SSLContext, str]:
    """A server certificate for `domain`, with the CA that vouches for it."""
    certificates = CertificateFolder(folder)
    certificates.pair_for(Catalogue(domain=domain), SystemClock().now())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")
    return context, certificates.ca_file.read_text()


def test_an_upstream_is_reached_by_tls_when_its_name_is_right(rig: Rig, tmp_path: Path) -> None:
    context, ca_pem = server_tls(tmp_path, "payroll.internal")
    server, port = rig.another_app(context)
    tls = UpstreamTls(ca_pem, "payroll.internal")
    serve(rig, AppConfig("pay", f"pay.{DOMAIN}", (f"https://127.0.0.1:{port}",), upstream_tls=tls))
    assert rig.get("/", host=f"pay.{DOMAIN}").body == b"another"
    assert server.seen[0].get("x-forwarded-proto") == "https"


@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_an_upstream_that_does_not_prove_itself_gets_no_request(rig: Rig, tmp_path: Path, wrong: str) -> None:
    context, ca_pem = server_tls(tmp_path / "a", "payroll.internal")
    _, other_ca = server_tls(tmp_path / "b", "payroll.internal")
    server, port = rig.another_app(context)
    tls = (
        UpstreamTls(ca_pem, "other.internal")
        if wrong == "name"
        else UpstreamTls(other_ca, "payroll.internal")
    )
    serve(rig, AppConfig("pay", f"pay.{DOMAIN}", (f"https://127.0.0.1:{port}",), upstream_tls=tls))
    assert rig.get("/", host=f"pay.{DOMAIN}").status == 503
    assert not server.seen


def test_an_upstream_by_name_is_verified_by_that_name(rig: Rig, tmp_path: Path) -> None:
    context, ca_pem = server_tls(tmp_path, "localhost")
    _, port = rig.another_app(context)
    tls = UpstreamTls(ca_pem)
    serve(rig, AppConfig("pay", f"pay.{DOMAIN}", (f"https://localhost:{port}",), upstream_tls=tls))
    assert rig.get("/", host=f"pay.{DOMAIN}").status == 200


def test_the_host_is_preserved_or_rewritten_as_configured(rig: Rig) -> None:
    serve(rig, app_config("wiki", rig.app_port))
    rig.get("/", host=f"wiki.{DOMAIN}:{rig.port}", sni=f"wiki.{DOMAIN}")
    assert rig.app.seen[0].get("host") == f"wiki.{DOMAIN}:{rig.port}"
    serve(rig, app_config("wiki", rig.app_port, preserve_host=False))
    rig.get("/")
    assert rig.app.seen[0].get("host") == f"127.0.0.1:{rig.app_port}"
    assert rig.app.seen[0].get("x-forwarded-host") == f"wiki.{DOMAIN}"
    assert rig.check.seen[0].get("host") == f"wiki.{DOMAIN}"


def test_safe_methods_are_asked_again_elsewhere_and_others_never(rig: Rig) -> None:
    broken, broken_port = rig.another_app()
    broken.default = Answer(raw=b"")
    urls = (f"http://127.0.0.1:{broken_port}", f"http://127.0.0.1:{rig.app_port}")
    serve(rig, AppConfig("wiki", f"wiki.{DOMAIN}", urls))
    assert {rig.get("/").status for _ in range(4)} == {200}
    broken.seen.clear()
    rig.reset()
    statuses = [rig.request("POST", "/", body=b"x").status for _ in range(4)]
    assert set(statuses) <= {200, 503}
    assert len(broken.seen) + rig.reached == 4


def test_a_silent_app_is_given_up_and_a_slow_talker_is_not(rig: Rig) -> None:
    serve(rig, app_config("wiki", rig.app_port, timeout_s=SILENCE_S))
    rig.app.answer = lambda seen: Answer(parts=tuple((b"x", SILENCE_S / 3) for _ in range(6)))
    assert rig.get("/").body == b"xxxxxx"
    never = rig.call(asyncio.Event)
    rig.app.answer = lambda seen: Answer(wait=never)
    reply = rig.request("POST", "/", body=b"")
    assert (reply.status, '"code":"APP_SLOW"' in reply.text) == (504, True)
    rig.call(never.set)


def test_any_response_ends_after_the_longest_time(rig: Rig) -> None:
    from http.client import IncompleteRead

    serve(rig, app_config("wiki", rig.app_port))
    rig.app.answer = lambda seen: Answer(parts=tuple((b"x", 0.1) for _ in range(100)))
    with pytest.raises((IncompleteRead, ConnectionError, ssl.SSLError)):
        rig.get("/")


def test_a_listed_origin_may_call_the_app_and_others_may_not(rig: Rig) -> None:
    serve(rig, app_config("wiki", rig.app_port, cors=CorsConfig((OUTSIDE,))))
    ask = (("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "content-type"))
    preflight = rig.request("OPTIONS", "/", ("Origin", OUTSIDE), *ask)
    assert preflight.get("access-control-allow-origin") == OUTSIDE
    assert preflight.get("access-control-allow-credentials") == "true"
    assert "PUT" in (preflight.get("access-control-allow-methods") or "")
    assert rig.reached == 0
    assert rig.get("/", ("Origin", OUTSIDE)).get("access-control-allow-origin") == OUTSIDE
    rig.deny(401)
    denied = rig.get("/", ("Origin", OUTSIDE))
    assert (denied.status, denied.get("access-control-allow-origin")) == (401, OUTSIDE)
    assert rig.get("/", ("Origin", "https://evil.example")).get("access-control-allow-origin") is None

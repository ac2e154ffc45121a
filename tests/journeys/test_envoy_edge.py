"""Who the client is, behind other proxies and without them."""

import socket
import ssl
from http.client import HTTPException

import pytest
from envoy_rig import DOMAIN, Rig, app_config, read_reply, running

from limen.core.catalogue import Catalogue, EdgeConfig

pytestmark = pytest.mark.envoy

REQUEST = f"GET / HTTP/1.1\r\nHost: wiki.{DOMAIN}\r\n\r\n".encode()
PROXY_LINE = b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 443\r\n"


def behind(edge: EdgeConfig):  # type: ignore[no-untyped-def]
    def make(rig: Rig) -> Catalogue:
        return Catalogue(domain=DOMAIN, apps={"wiki": app_config("wiki", rig.app_port)}, edge=edge)

    return running(make)


def peer(rig: Rig, *forwarded: str) -> str | None:
    rig.reset()
    rig.get("/", *(("X-Forwarded-For", value) for value in forwarded), ("X-Forwarded-Proto", "http"))
    assert rig.check.seen[0].get("x-limen-peer") == rig.app.seen[0].get("x-forwarded-for")
    assert rig.app.seen[0].get("x-forwarded-proto") == "https"
    return rig.app.seen[0].get("x-forwarded-for")


def test_a_trusted_proxy_tells_the_client() -> None:
    with behind(EdgeConfig(trusted_proxies=("127.0.0.0/8", "10.1.0.0/16"))) as rig:
        assert peer(rig, "203.0.113.7") == "203.0.113.7"
        assert peer(rig, "6.6.6.6, 203.0.113.7") == "203.0.113.7", "what the client wrote itself counts less"
        assert peer(rig, "6.6.6.6, 203.0.113.7, 10.1.2.3") == "203.0.113.7"
        assert peer(rig, "6.6.6.6", "203.0.113.7") == "203.0.113.7"
        assert peer(rig) == "127.0.0.1"
        assert peer(rig, "rubbish") == "127.0.0.1"


def test_anyone_else_is_not_believed() -> None:
    with behind(EdgeConfig(trusted_proxies=("10.1.0.0/16",))) as rig:
        assert peer(rig, "203.0.113.7") == "127.0.0.1"


def test_the_proxy_protocol_tells_the_client_and_headers_do_not() -> None:
    edge = EdgeConfig(trusted_proxies=("127.0.0.1",), proxy_protocol=True)
    with behind(edge) as rig:
        context = ssl.create_default_context(cafile=str(rig.certificates.ca_file))
        plain = socket.create_connection(("127.0.0.1", rig.port), 5)
        plain.sendall(PROXY_LINE)
        with context.wrap_socket(plain, server_hostname=f"wiki.{DOMAIN}") as secure:
            secure.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"))
            assert read_reply(secure).status == 200
        assert rig.check.seen[0].get("x-limen-peer") == "203.0.113.7"
        assert rig.app.seen[0].all("x-forwarded-for") == ["203.0.113.7"]


def test_a_stranger_cannot_speak_the_proxy_protocol() -> None:
    edge = EdgeConfig(trusted_proxies=("10.1.0.0/16",), proxy_protocol=True)
    with behind(edge) as rig:
        context = ssl.create_default_context(cafile=str(rig.certificates.ca_file))
        plain = socket.create_connection(("127.0.0.1", rig.port), 5)
        plain.sendall(PROXY_LINE)
        with pytest.raises((OSError, HTTPException)), plain:
            secure = context.wrap_socket(plain, server_hostname=f"wiki.{DOMAIN}")
            secure.sendall(REQUEST)
            read_reply(secure)
        assert not rig.check.seen

"""Control on other machines, as Envoy reaches it: certificates both ways, renewed without a cut, in turn."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from time import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from envoy_rig import DOMAIN, Answer, FakeServer, Rig, app_config, free_port, read_reply, running

from limen.administrator.gateway_ca import CONTROL_NAME, GatewayCa
from limen.administrator.gateway_csr import make_csr, pem_of_key
from limen.core.catalogue import Catalogue
from limen.core.secret import Secret
from limen.enforcement.envoy.files import render_control_identity, write_private
from limen.enforcement.envoy.settings import ControlUpstream

pytestmark = pytest.mark.envoy


class Far:
    """Two control nodes behind TLS that ask for a gateway's certificate, and Envoy in front of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = GatewayCa(folder / "gateways")
        self.ports = (free_port(), free_port())
        self.nodes = tuple(FakeServer(Answer(200, (), f"node {n}".encode())) for n in range(2))
        self.rig: Rig

    def make(self, rig: Rig) -> Catalogue:
        self.rig = rig
        rig.settings.folder.mkdir(exist_ok=True)
        self.renew("edge-1")
        for node, port in zip(self.nodes, self.ports, strict=True):
            rig.extra.append(node)
            rig.run(node.listen(tls=self.context(), port=port))
        return Catalogue(domain=DOMAIN, apps={"wiki": app_config("wiki", rig.app_port)})

    def context(self) -> ssl.SSLContext:
        issued, key = self.ca.issue_control(time())
        for name, text in (("control.pem", issued.chain), ("control.key", key), ("ca.pem", self.ca.pem)):
            (self.folder / name).write_text(text)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.folder / "control.pem", self.folder / "control.key")
        context.load_verify_locations(self.folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def renew(self, node: str) -> None:
        """Give Envoy another certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self.ca.issue_gateway(node, make_csr(key), time())
        files = render_control_identity(issued.chain, Secret(pem_of_key(key)), self.ca.pem)
        for name, content in files.items():
            write_private(self.rig.settings.file(name), content.encode())


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    made = Far(tmp_path)
    upstream = ControlUpstream(tuple(("127.0.0.1", port) for port in made.ports), CONTROL_NAME)
    with running(made.make, control=upstream):
        yield made


def test_control_nodes_are_used_in_turn_and_one_that_is_gone_is_left_out(far: Far) -> None:
    answers = {far.rig.get("/.limen/x").text for _ in range(8)}
    assert answers == {"node 0", "node 1"}
    far.rig.run(far.nodes[0].close())
    for _ in range(6):  # before anything has noticed: what was not sent is asked of another
        assert far.rig.request("POST", "/.limen/x", body=b"a=b").text == "node 1"
    assert far.rig.counted("cluster.control.health_check.failure", 1)
    assert far.rig.counted("cluster.control.membership_healthy", 1, most=1)
    assert {far.rig.get("/.limen/x").text for _ in range(4)} == {"node 1"}


def test_renewing_the_certificate_cuts_nothing_that_is_on_its_way(far: Far) -> None:
    release = far.rig.run(event())
    for node in far.nodes:
        node.answer = lambda seen: Answer(200, (), b"late", wait=release)
    with far.rig.connect() as waiting:
        waiting.sendall(f"GET /.limen/x HTTP/1.1\r\nHost: wiki.{DOMAIN}\r\n\r\n".encode())
        assert far.rig.eventually(lambda: any(node.seen for node in far.nodes))
        far.renew("edge-2")
        assert far.rig.counted("sds.control_identity.update_success", 2)
        far.rig.call(release.set)
        assert read_reply(waiting).body == b"late"
    assert {far.rig.get("/.limen/x").status for _ in range(6)} == {200}


async def event() -> asyncio.Event:
    return asyncio.Event()

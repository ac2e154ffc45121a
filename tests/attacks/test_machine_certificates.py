"""X.509-SVIDs at the real Envoy: who is asked for one, what is believed of it, and what rotation cuts."""

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from envoy_rig import DOMAIN, WAIT_S, Reply, Rig, app_config, free_port, read_reply, running
from envoy_rig import Answer as RigAnswer
from svid_ca import TrustDomain, present

from limen.core.catalogue import Catalogue
from limen.core.identity_config import MachineConfig, SourcesConfig, SpiffeConfig
from limen.enforcement.envoy.listener import render_listener, render_listeners

pytestmark = pytest.mark.envoy

PROD, OTHER = TrustDomain("prod.example"), TrustDomain("other.example")
BILLING = "spiffe://prod.example/billing"
CERT = ("x-limen-cert-uris", "x-limen-cert-sha256", "x-limen-cert-starts", "x-limen-cert-ends")
WIKI, AUTH = f"wiki.{DOMAIN}", f"auth.{DOMAIN}"


def sources(port: int, *domains: TrustDomain) -> SourcesConfig:
    spiffe = tuple(
        SpiffeConfig(one.name, one.pem, {"billing": f"spiffe://{one.name}/billing"}) for one in domains
    )
    return SourcesConfig(machines=MachineConfig(spiffe=spiffe, port=port))


def catalogue(rig: Rig, port: int, *domains: TrustDomain) -> Catalogue:
    apps = {"wiki": app_config("wiki", rig.app_port)}
    return Catalogue(domain=DOMAIN, apps=apps, sources=sources(port, *domains))


class Machines:
    """The rig, and its port for machines."""

    def __init__(self, rig: Rig, port: int) -> None:
        self.rig = rig
        self.port = port

    def connect(self, pair: tuple[str, str, str] | None, *, sni: str = WIKI, port: int = 0) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.rig.certificates.ca_file))
        if pair is not None:
            present(context, pair)
        plain = socket.create_connection(("127.0.0.1", port or self.port), WAIT_S)
        return context.wrap_socket(plain, server_hostname=sni)

    def get(self, pair: tuple[str, str, str] | None, *headers: str, host: str = WIKI, port: int = 0) -> Reply:
        with self.connect(pair, sni=host, port=port) as connection:
            return self.ask(connection, *headers, host=host)

    def ask(self, connection: ssl.SSLSocket, *headers: str, host: str = WIKI) -> Reply:
        head = "\r\n".join(["GET / HTTP/1.1", f"Host: {host}", *headers, "", ""])
        connection.sendall(head.encode())
        return read_reply(connection)

    def refused(self, pair: tuple[str, str, str] | None) -> bool:
        """Say whether Envoy ends the handshake; with TLS 1.3 the client hears of it when it reads."""
        try:
            self.get(pair)
        except (ssl.SSLError, ConnectionError, OSError):
            return True
        return False


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    port = free_port()
    with running(lambda rig: catalogue(rig, port, PROD, OTHER)) as rig:
        yield Machines(rig, port)


@pytest.fixture(autouse=True)
def clean(machines: Machines) -> None:
    machines.rig.reset()


def noted(seen: Any) -> dict[str, str | None]:
    return {name: seen.get(name) for name in CERT}


def test_a_verified_svid_is_noted_for_the_check_and_for_sign_in(machines: Machines) -> None:
    pair = PROD.issue(BILLING, dns=("billing.internal",))
    assert machines.get(pair).status == 200
    found = noted(machines.rig.check.seen[-1])
    assert found["x-limen-cert-uris"] == BILLING and found["x-limen-cert-sha256"] == pair[2]
    assert int(str(found["x-limen-cert-ends"])) - int(str(found["x-limen-cert-starts"])) == 7200
    app = machines.rig.app.seen[-1]
    assert not any(app.get(name) for name in CERT) and not app.get("x-forwarded-client-cert")
    assert machines.get(pair, host=AUTH).text == "control"
    assert noted(machines.rig.control.seen[-1]) == found


def test_nobody_else_is_asked_for_a_certificate_or_believed_one(machines: Machines) -> None:
    """On the port of people a certificate is not asked for, and the headers are anybody's words."""
    bare = Catalogue(domain=DOMAIN)
    with_machines = msgspec.structs.replace(bare, sources=sources(1, PROD))
    people, own = render_listeners(with_machines, machines.rig.settings)
    assert people == render_listener(bare, machines.rig.settings), "people's connections are not touched"
    assert "require_client_certificate" not in json.dumps(people)
    assert json.dumps(own).count('"require_client_certificate": true') == 2
    pair = PROD.issue(BILLING)
    forged = [
        f"{name}: {value}" for name, value in zip(CERT, (BILLING, pair[2], "1", "9999999999"), strict=True)
    ]
    xfcc = f"X-Forwarded-Client-Cert: Hash={pair[2]};URI={BILLING}"
    port = machines.rig.port
    assert machines.get(pair, *forged, xfcc, port=port).status == 200
    for seen in (machines.rig.check.seen[-1], machines.rig.app.seen[-1]):
        assert not any(noted(seen).values()) and not seen.get("x-forwarded-client-cert")
    machines.get(pair, *forged, xfcc, host=AUTH, port=port)
    assert not any(noted(machines.rig.control.seen[-1]).values())


def test_on_the_port_for_machines_what_they_claim_gives_way_to_what_was_verified(machines: Machines) -> None:
    pair = OTHER.issue("spiffe://other.example/x")
    forged = [f"{CERT[0]}: {BILLING}", f"{CERT[1]}: {'0' * 64}", f"x-forwarded-client-cert: URI={BILLING}"]
    assert machines.get(pair, *forged).status == 200
    seen = machines.rig.check.seen[-1]
    assert seen.all(CERT[0]) == ["spiffe://other.example/x"] and seen.all(CERT[1]) == [pair[2]]
    assert machines.rig.app.seen[-1].get("x-forwarded-client-cert") is None


@pytest.mark.parametrize(
    "pair",
    [
        None,
        OTHER.issue(BILLING),
        TrustDomain("prod.example").issue(BILLING),
        PROD.issue(BILLING, ca=True),
        PROD.issue(BILLING, minutes=-5),
        PROD.issue("spiffe://third.example/x"),
        PROD.issue("https://prod.example/billing"),
        PROD.issue(dns=("billing",)),
    ],
    ids=["none", "another domain's authority", "an impostor's", "an authority itself", "expired",
         "an unknown domain", "no SPIFFE ID", "no URI at all"],
)  # fmt: skip
def test_a_certificate_that_is_not_good_gets_no_connection(
    machines: Machines, pair: tuple[str, str, str] | None
) -> None:
    assert machines.refused(pair)
    assert machines.rig.check.seen == [] and machines.rig.reached == 0


def test_two_uri_names_are_no_svid_and_the_check_is_told_of_both(machines: Machines) -> None:
    """Envoy looks at the first; the check wants exactly one (`svid.find_workload`)."""
    pair = PROD.issue(BILLING, "spiffe://other.example/x")
    if not machines.refused(pair):
        assert "," in str(machines.rig.check.seen[-1].get(CERT[0]))


def test_new_authorities_come_and_old_ones_go_without_a_cut(machines: Machines) -> None:
    """Rotation is a file of its own: connections that are open live on, new ones are judged anew."""
    rig, old = machines.rig, PROD.issue(BILLING)
    fresh = TrustDomain("prod.example")
    with machines.connect(old) as live:
        assert machines.ask(live).status == 200
        changed = rig.run(rig.envoy.apply(catalogue(rig, machines.port, fresh, OTHER))).changed
        assert changed == ("sds_machines",)
        assert rig.eventually(lambda: machines.refused(old))
        assert machines.get(fresh.issue(BILLING)).status == 200
        assert machines.ask(live).status == 200
    assert rig.run(rig.envoy.apply(catalogue(rig, machines.port, PROD, OTHER))).changed == ("sds_machines",)
    assert rig.eventually(lambda: not machines.refused(old))


def test_the_port_comes_and_goes_and_people_stay(machines: Machines) -> None:
    rig, pair = machines.rig, PROD.issue(BILLING)
    rig.check.answer = lambda seen: RigAnswer(200)
    with rig.connect() as person:
        bare = msgspec.structs.replace(rig.catalogue, sources=SourcesConfig())
        assert rig.run(rig.envoy.apply(bare)).changed == ("lds",)
        assert rig.eventually(lambda: machines.refused(pair))
        machines.ask(person)
        assert rig.run(rig.envoy.apply(rig.catalogue)).changed == ("lds",)
        assert rig.eventually(lambda: not machines.refused(pair))
        assert machines.ask(person).status == 200, "on the same connection"

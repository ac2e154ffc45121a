"""Attempts to keep a live stream after the reason to be open is gone, on the whole running system."""

import base64
import hashlib
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from attack_rig import Person, Target
from attack_wire import WAIT_S, eventually, host, render
from envoy_h2 import H2Client

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("target")]

APP, SERVICE = "torrent", "faucet"
CUT_S = 3.0  # generous: the goal is 50 ms, on a machine that does nothing else
STORM_S = 3.0
STORMING = 12  # clients that open streams as fast as they can
PIECE = b"data: " + b"x" * 4_000 + b"\n\n"
REDIRECT = "http://127.0.0.1:49152/callback"


class Faucet:
    """A server that writes as fast as it is read: events to who speaks HTTP, and bytes to anybody.

    Attributes:
        ended: connections whose other side is gone.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=1_000)
        self.port = int(self._server.getsockname()[1])
        self.open = 0
        self.ended = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=self._server.accept()[:1], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            asked = connection.recv(65_536)  # Envoy may open a connection that no request needs any more
            self._count(1)
            self._answer(connection, asked)
        self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self.open += more
            self.ended += more < 0

    def _answer(self, connection: socket.socket, asked: bytes) -> None:
        with suppress(OSError):
            if not asked or asked.startswith(b"GET /hello"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
            slow = b" /slow" in asked
            if asked.startswith((b"GET ", b"POST ")):
                head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            while asked and b"/hello" not in asked:
                piece = b": still here\n\n" if slow else PIECE
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                time.sleep(0.02 if slow else 0)


class Scene(NamedTuple):
    target: Target
    faucet: Faucet

    @property
    def port(self) -> int:
        return self.target.demo.port

    def let_in(self, *groups: str, trusts: tuple[str, ...] = ()) -> None:
        """Say in the bundle who may reach app and service."""
        allow = [f"group:{group}" for group in groups]
        address = f"127.0.0.1:{self.faucet.port}"
        app = {"upstream": f"http://{address}", "allow": allow, "trusts": list(trusts)}

        def change(content: dict[str, Any]) -> None:
            content["apps"][APP] = app
            content.setdefault("services", {})[SERVICE] = {"address": address, "allow": allow}

        self.target.apply(change)

    def live(self, name: str) -> list[dict[str, Any]]:
        found = self.target.demo.admin.get("/v1/streams", resource=name)
        return list(found["streams"] if isinstance(found, dict) else found)

    def events(self, cookie: str, path: str = "/") -> ssl.SSLSocket:
        connection = self.target.wire.connect(APP)
        headers = (("Accept", "text/event-stream"), ("Connection", "close"))
        connection.sendall(render(APP, self.port, path, *headers, cookie=cookie))
        return connection

    def token(self, person: Person) -> str:
        """Give a person's program its token, as `limen login` gets it."""
        verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": "limen-connect",
            "redirect_uri": REDIRECT,
            "state": "s",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        form = person.form(f"/connect/authorize?{urlencode(asked)}")
        body = {**form.hidden, "answer": "allow"}
        auth = person.demo.auth_url
        said = person.http.post(f"{auth}/connect/authorize", data=body, follow_redirects=False)
        code = parse_qs(urlsplit(said.headers["location"]).query)["code"][0]
        redeem = {"grant_type": "authorization_code", "client_id": "limen-connect", "code": code,
                  "redirect_uri": REDIRECT, "code_verifier": verifier}  # fmt: skip
        return str(person.http.post(f"{auth}/connect/token", data=redeem).json()["access_token"])

    def tunnel(self, token: str) -> tuple[H2Client, int]:
        client = H2Client(self.target.wire.connect(SERVICE, alpn="h2"))
        stream = client.connect(f"{host(SERVICE)}:443", ("authorization", f"Bearer {token}"))
        assert client.status(stream) == 200
        return client, stream


@pytest.fixture(scope="module")
def scene(target: Target) -> Iterator[Scene]:
    faucet = Faucet()
    found = Scene(target, faucet)
    found.let_in("staff")
    assert eventually(lambda: target.wire.ask(APP).status == 401)
    yield found
    faucet.stop()


@pytest.fixture
def person(scene: Scene) -> Iterator[Person]:
    yield Person.enrolled(scene.target.demo, "staff")


def quarantine(scene: Scene, person: Person) -> float:
    """Deny a person everything; return when that was acknowledged."""
    change = {"quarantined": True, "reason": "attack"}
    scene.target.demo.admin.patch(f"/v1/people/{person.username}", change)
    return time.monotonic()


def drained(connection: ssl.SSLSocket) -> int:
    """Read to the end; return how many bytes still came. A connection that does not end is a failure."""
    connection.settimeout(WAIT_S)
    count = 0
    with suppress(ConnectionError, ssl.SSLError):
        while data := connection.recv(262_144):
            count += len(data)
    return count


def test_a_storm_of_openings_while_policy_flips_leaves_no_stream_behind(scene: Scene, person: Person) -> None:
    """Between check and registration, between change and re-assessment: whatever was let in must go."""
    cookie = person.open(APP, "/hello")
    over = threading.Event()
    held: list[ssl.SSLSocket] = []

    def open_many() -> None:
        while not over.is_set():
            with suppress(OSError, ssl.SSLError):
                held.append(scene.events(cookie, "/slow"))

    stormers = [threading.Thread(target=open_many, daemon=True) for _ in range(STORMING)]
    for thread in stormers:
        thread.start()
    ends = time.monotonic() + STORM_S
    while time.monotonic() < ends:
        scene.let_in("nobody")
        scene.let_in("staff")
    assert eventually(lambda: scene.live(APP)), "the storm opened streams"
    scene.let_in("nobody")
    denied_at = time.monotonic()
    over.set()
    for thread in stormers:
        thread.join(WAIT_S)
    gone = eventually(lambda: not scene.live(APP) and scene.faucet.open == 0, CUT_S)
    assert gone, (scene.live(APP)[:3], len(scene.live(APP)), scene.faucet.open, len(held))
    assert time.monotonic() - denied_at < 2 * CUT_S
    with scene.events(cookie) as refused:
        assert b" 403 " in refused.recv(65_536)
    scene.let_in("staff")
    for connection in held:
        drained(connection)
        connection.close()


def test_a_client_that_never_reads_is_cut_as_soon_as_others(scene: Scene, person: Person) -> None:
    """What waits in buffers is not held against the cut: the app's side is gone at once."""
    cookie = person.open(APP, "/hello")
    with scene.events(cookie) as lazy:
        assert eventually(lambda: scene.live(APP))
        before = scene.faucet.ended
        acknowledged_at = quarantine(scene, person)
        assert eventually(lambda: scene.faucet.ended > before, CUT_S)
        assert time.monotonic() - acknowledged_at < CUT_S
        assert not scene.live(APP)
        assert drained(lazy) < 16 << 20, "no more than what buffers held"


def test_a_tunnel_whose_window_is_shut_is_cut(scene: Scene, person: Person) -> None:
    client, tunnel = scene.tunnel(scene.token(person))
    client.send(tunnel, b"go")
    assert eventually(lambda: scene.live(SERVICE))
    before = scene.faucet.ended
    quarantine(scene, person)
    assert eventually(lambda: scene.faucet.ended > before, CUT_S)
    client.read_all(tunnel)
    assert client.is_over(tunnel)


def test_a_tunnel_that_is_half_closed_is_cut(scene: Scene, person: Person) -> None:
    client, tunnel = scene.tunnel(scene.token(person))
    client.send(tunnel, b"GET /slow", end=True)
    assert client.read(tunnel, 10)
    before = scene.faucet.ended
    quarantine(scene, person)
    assert eventually(lambda: scene.faucet.ended > before, CUT_S)
    client.read_all(tunnel)
    assert tunnel in client.reset, "and it is no good end"


def test_a_revoked_token_loses_its_tunnels_and_another_token_keeps_its_own(
    scene: Scene, person: Person
) -> None:
    token, other = scene.token(person), scene.token(person)
    (client, tunnel), (kept, stays) = scene.tunnel(token), scene.tunnel(other)
    for one, stream in ((client, tunnel), (kept, stays)):
        one.send(stream, b"GET /slow")
        assert one.read(stream, 10)
    assert (
        person.http.post(f"{person.demo.auth_url}/connect/revoke", data={"token": token}).status_code == 200
    )
    client.read_all(tunnel)
    assert client.is_over(tunnel)
    assert kept.read(stays, 200) and not kept.is_over(stays)
    again = client.connect(f"{host(SERVICE)}:443", ("authorization", f"Bearer {token}"))
    assert client.status(again) in (0, 401)
    quarantine(scene, person)
    kept.read_all(stays)
    assert kept.is_over(stays)


def test_signing_out_takes_pages_and_programs_streams_along(scene: Scene, person: Person) -> None:
    cookie = person.open(APP, "/hello")
    client, tunnel = scene.tunnel(scene.token(person))
    client.send(tunnel, b"GET /slow")
    with scene.events(cookie, "/slow") as page:
        assert eventually(lambda: len(scene.live(APP)) == len(scene.live(SERVICE)) == 1)
        person.submit("/logout", {})
        assert eventually(lambda: not scene.live(APP) and not scene.live(SERVICE), CUT_S)
        drained(page)
    client.read_all(tunnel)


def test_a_stream_that_another_apps_page_opened_ends_when_that_app_is_trusted_no_more(
    scene: Scene, person: Person
) -> None:
    cookie = person.open(APP, "/hello")
    scene.let_in("staff", trusts=("wiki",))
    headers = (("Origin", f"https://{host('wiki')}:{scene.port}"), ("Accept", "text/event-stream"))
    posted = render(APP, scene.port, "/slow", *headers, method="POST", cookie=cookie, body=b"")
    with scene.target.wire.connect(APP) as foreign, scene.events(cookie, "/slow") as own:

        def is_let_in() -> bool:
            foreign.sendall(posted)
            return b" 200 " in foreign.recv(65_536)

        assert eventually(is_let_in), "the gateway knows the new bundle"
        assert eventually(lambda: len(scene.live(APP)) == 2)
        scene.let_in("staff")
        assert eventually(lambda: len(scene.live(APP)) == 1, CUT_S)
        drained(foreign)
        assert own.recv(65_536) and scene.live(APP)[0]["path"] == "/slow"

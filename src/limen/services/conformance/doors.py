"""What a gateway shows to anybody: its certificate, and how it answers a stranger."""

import hashlib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import create_connection

from limen.core.errors import Unavailable
from limen.services.conformance import bundle
from limen.services.conformance.streams import Door
from limen.services.form_client import LOOPBACK_SUFFIX

NOBODY = (0, 404, 421)  # no connection, or no app of that name
LOOK_TIMEOUT_S = 5.0
LOOK_EVERY_S = 0.05
WAIT_S = 60.0


def make_door(name: str, port: int, domain: str, ca_file: Path | None) -> Door:
    """Return a gateway's door."""
    hosts = (f"{bundle.app_of()}.{domain}", f"{bundle.service_of()}.{domain}")
    address = "127.0.0.1" if domain.endswith(LOOPBACK_SUFFIX) else hosts[0]
    contexts = {}
    for protocol in ("http/1.1", "h2"):
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        context.set_alpn_protocols([protocol])
        contexts[protocol] = context
    return Door(name, address, port, *hosts, contexts, str(ca_file or ""))


def answer(door: Door, cookie: str = "") -> int:
    """Return how somebody, a stranger if without cookie, is answered; 0 where nobody answers."""
    with suppress(OSError, HTTPException), _connected(door) as connection:
        http = HTTPConnection(door.app_host)
        http.sock = connection
        http.request("GET", "/tick", headers=_headers(door, cookie))
        return http.getresponse().status
    return 0


def certificate(door: Door) -> str:
    """Return the digest of the certificate that is shown; empty where none is."""
    with suppress(OSError), _connected(door) as connection:
        return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
    return ""


def wait_for(true: Callable[[], bool], what: str) -> None:
    """Wait until something is so.

    Raises:
        Unavailable: it did not come about in time.
    """
    deadline = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} did not come about in {WAIT_S:.0f} s.")
        time.sleep(LOOK_EVERY_S)


def wait_served(doors: Sequence[Door], places: Sequence[str]) -> None:
    """Wait until every gateway serves these apps, under a certificate that names them."""
    for door in doors:
        for place in places:
            there = door.at(place)
            wait_for(lambda there=there: answer(there) not in NOBODY, f"{there.app_host} at {door.name}")  # type: ignore[misc]


@contextmanager
def _connected(door: Door) -> Iterator[ssl.SSLSocket]:
    with (
        create_connection((door.address, door.port), LOOK_TIMEOUT_S) as plain,
        door.contexts["http/1.1"].wrap_socket(plain, server_hostname=door.app_host) as connection,
    ):
        yield connection


def _headers(door: Door, cookie: str) -> Mapping[str, str]:
    headers = {"Host": door.authority(door.app_host), "Accept": "application/json", "Connection": "close"}
    return headers | ({"Cookie": cookie} if cookie else {})

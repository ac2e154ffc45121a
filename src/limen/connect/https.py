"""Small requests to the organisation's hosts: no redirects, no proxies, bounded answers."""

import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import msgspec

from limen.connect.network import Place, explain_network_error
from limen.core.errors import Unavailable
from limen.core.secret import Secret

TIMEOUT_S = 15.0
BODY_MAX_BYTES = 1 << 20
T = TypeVar("T")


class Reply(NamedTuple):
    """What a host answered."""

    status: int
    body: bytes


class Https:
    """One host, as one person's client asks it."""

    def __init__(self, place: Place, context: ssl.SSLContext) -> None:
        self.place = place
        self._context = context

    def get(self, path: str, token: Secret[str] | None = None) -> Reply:
        """Read.

        Raises:
            Unavailable: it does not answer as HTTP.
            Refused: its certificate is not trusted.
        """
        return self._ask("GET", path, {} if token is None else {"Authorization": f"Bearer {token.reveal()}"})

    def post(self, path: str, fields: Mapping[str, str]) -> Reply:
        """Send a form.

        Raises:
            Unavailable: it does not answer as HTTP.
            Refused: its certificate is not trusted.
        """
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, headers, urlencode(fields).encode())

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Reply:
        connection = _Connection(self.place, self._context)
        try:
            connection.request(method, path, body, {**headers, "Accept": "application/json"})
            response = connection.getresponse()
            said = response.read(BODY_MAX_BYTES + 1)
        except OSError as error:
            raise explain_network_error(error, self.place) from None
        except http.client.HTTPException:
            raise Unavailable(f"{self.place} does not answer as HTTP.", remedy="Check the address.") from None
        finally:
            connection.close()
        if len(said) > BODY_MAX_BYTES:
            raise Unavailable(f"{self.place} says more than it should.", remedy="Check the address.")
        return Reply(response.status, said)


class _Connection(http.client.HTTPSConnection):
    """A connection that knows that `.localhost` is this machine."""

    def __init__(self, place: Place, context: ssl.SSLContext) -> None:
        super().__init__(place.host, place.port, timeout=TIMEOUT_S, context=context)
        self._place, self._tls = place, context

    def connect(self) -> None:
        """Connect and shake hands."""
        plain = socket.create_connection((self._place.address, self._place.port), TIMEOUT_S)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self._place.host)
        except BaseException:
            plain.close()
            raise


def parse_reply(reply: Reply, kind: type[T], place: Place) -> T:
    """Return a JSON answer as a value.

    Raises:
        Unavailable: it is none, or lacks a field.
    """
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        raise Unavailable(
            f"{place} does not answer as Limen does.", remedy="Is this the address of sign-in?"
        ) from None


def read_object(body: bytes) -> dict[str, Any]:
    """Return a JSON object, empty for anything else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}

"""How an organisation elsewhere is spoken to: over TLS, bounded in time and size, never redirected."""

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from limen.core.errors import Unavailable

TIMEOUT_S = 10.0
DOCUMENT_MAX_BYTES = 8_000_000  # an identity with a hundred thousand groups fits
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class ProviderHttp:
    """HTTP to one party, with its own roots of trust if it is configured so. Threads may share it.

    Args:
        name: as the catalogue calls the party, for messages.
        ca_pem: what may sign its certificate; None is the system's roots.
        transport: instead of the network, in tests.
    """

    def __init__(self, name: str, ca_pem: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self.name = name
        self._ca_pem = ca_pem
        self._transport = transport

    def get_json(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON object at `url`.

        Raises:
            Unavailable: no answer, not in time, too large, not an object, or not over TLS.
        """
        try:
            return msgspec.json.decode(self.get(url, headers), type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise self.unavailable() from error

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the document at `url`.

        Raises:
            Unavailable: as `get_json`.
        """
        self.require_tls(url)
        body = bytearray()
        try:
            with httpx.Client(**self.options()) as http, http.stream("GET", url, headers=headers) as got:
                got.raise_for_status()
                for part in got.iter_bytes():
                    body += part
                    if len(body) > DOCUMENT_MAX_BYTES:
                        raise self.unavailable()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.unavailable() from error
        return bytes(body)

    def options(self) -> dict[str, Any]:
        """Return the options of an `httpx.Client`."""
        options: dict[str, Any] = {"timeout": TIMEOUT_S, "follow_redirects": False, "trust_env": False}
        if self._transport is not None:
            return {**options, "transport": self._transport}
        return {**options, "verify": ssl.create_default_context(cadata=self._ca_pem)}

    def require_tls(self, url: str) -> None:
        """Check that `url` is over TLS (OIDC Core 3.1.2); only this machine may be spoken to without.

        Raises:
            Unavailable: it is not.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise self.unavailable()

    def unavailable(self) -> Unavailable:
        """Return the error of a party that does not answer as it should."""
        return Unavailable(
            f"The identity provider {self.name} does not answer as it should.",
            remedy="Try again in a moment, or sign in another way.",
            code="UPSTREAM_UNAVAILABLE",
        )

"""How an organisation elsewhere is spoken to: over TLS, bounded in time, size, number, never redirected."""

import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from limen.core.errors import Unavailable

TIMEOUT_S = 10.0  # without a byte
ANSWER_S = 20.0  # for a whole answer, however steadily it drips
CALLS_MAX = 8  # at once to one party: one that is slow must not take the threads of all sign-ins
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
        self._calls = threading.BoundedSemaphore(CALLS_MAX)

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
        try:
            with httpx.Client(**self.options()) as http:
                got = http.get(url, headers=headers)
                got.raise_for_status()
                return got.content
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.unavailable() from error

    def options(self) -> dict[str, Any]:
        """Return the options of an `httpx.Client`, whatever uses it: its answers are bounded."""
        inner = self._transport
        if inner is None:
            inner = httpx.HTTPTransport(
                verify=ssl.create_default_context(cadata=self._ca_pem), trust_env=False
            )
        return {
            "timeout": TIMEOUT_S,
            "follow_redirects": False,
            "trust_env": False,
            "headers": {"accept-encoding": "identity"},
            "transport": _Bounded(inner, self._calls),
        }

    def require_tls(self, url: str) -> None:
        """Check that `url` is over TLS (OIDC Core 3.1.2); only this machine may be spoken to without.

        Raises:
            Unavailable: it is not.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise self.unavailable() from error
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise self.unavailable()

    def unavailable(self) -> Unavailable:
        """Return the error of a party that does not answer as it should."""
        return Unavailable(
            f"The identity provider {self.name} does not answer as it should.",
            remedy="Try again in a moment, or sign in another way.",
            code="UPSTREAM_UNAVAILABLE",
        )


class _Bounded(httpx.BaseTransport):
    """Answers of one party: so many at once, so long, so large, and packed in nothing that could swell."""

    def __init__(self, inner: httpx.BaseTransport, calls: threading.BoundedSemaphore) -> None:
        self._inner = inner
        self._calls = calls

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if not self._calls.acquire(blocking=False):
            raise httpx.PoolTimeout("too many calls at once", request=request)
        ends_at = time.monotonic() + ANSWER_S
        try:
            answer = self._inner.handle_request(request)
            if answer.headers.get("content-encoding", "identity") != "identity":
                answer.close()
                raise httpx.ReadError("packed although it was asked not to be", request=request)
        except BaseException:
            self._calls.release()
            raise
        assert isinstance(answer.stream, httpx.SyncByteStream)
        stream = _BoundedStream(answer.stream, self._calls, ends_at)
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=stream, extensions=answer.extensions
        )

    def close(self) -> None:
        """Close what is below."""
        self._inner.close()


class _BoundedStream(httpx.SyncByteStream):
    def __init__(
        self, inner: httpx.SyncByteStream, calls: threading.BoundedSemaphore, ends_at: float
    ) -> None:
        self._inner = inner
        self._calls: threading.BoundedSemaphore | None = calls
        self._ends_at = ends_at

    def __iter__(self) -> Iterator[bytes]:
        seen = 0
        for part in self._inner:
            seen += len(part)
            if seen > DOCUMENT_MAX_BYTES or time.monotonic() > self._ends_at:
                raise httpx.ReadError("its answer has no end")
            yield part

    def close(self) -> None:
        """Let the next call in."""
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.release()
        self._inner.close()

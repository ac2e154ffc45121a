"""What a provider publishes of itself: read, checked, kept, and believed a while when it is away.

Source: OpenID Connect Discovery 1.0 sections 3 and 4; RFC 8414.
"""

import ipaddress
import socket
import threading
from urllib.parse import urlsplit

import msgspec

from limen.core.errors import Unavailable
from limen.core.identity_config import OidcConfig
from limen.core.ids import Instant
from limen.information.identity.provider_http import LOOPBACK, ProviderHttp

METADATA_S = 3_600.0  # read again after this
STALE_S = 86_400.0  # believed this long when the provider does not answer
DOWN_S = 5.0  # after a failure it is not asked again at once: strangers would hold a thread each


class Metadata(msgspec.Struct, frozen=True):
    """What of it is needed here."""

    authorization_endpoint: str
    token_endpoint: str
    issuer: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Discovery:
    """The metadata of one provider. Threads may share it."""

    def __init__(self, config: OidcConfig, http: ProviderHttp) -> None:
        self._config = config
        self._http = http
        self._found: tuple[Instant, Metadata] | None = None
        self._failed_at: Instant | None = None
        self._lock = threading.Lock()

    def read(self, now: Instant) -> Metadata:
        """Return the metadata, at most an hour old, or a day when the provider is away.

        Raises:
            Unavailable: it does not answer, or not as this provider.
        """
        found = self._found
        if found is not None and 0 <= now - found[0] < METADATA_S:
            return found[1]
        try:
            metadata = self._fetch(now)
        except Unavailable:
            if found is not None and abs(now - found[0]) < STALE_S:
                return found[1]
            raise
        self._found = (now, metadata)
        return metadata

    def _fetch(self, now: Instant) -> Metadata:
        with self._lock:
            if self._failed_at is not None and abs(now - self._failed_at) < DOWN_S:
                raise self._http.unavailable()
            self._failed_at = now  # of threads that come at the same time one asks
        url = self._config.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            found = msgspec.convert(self._http.get_json(url), Metadata)
        except msgspec.ValidationError as error:
            raise self._http.unavailable() from error
        self._check(found)
        self._failed_at = None
        return found

    def _check(self, found: Metadata) -> None:
        if found.issuer != self._config.issuer:  # Discovery 4.3
            raise self._http.unavailable()
        optional = [found.userinfo_endpoint] if found.userinfo_endpoint is not None else []
        for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri, *optional):
            if not url.isascii() or not url.isprintable() or "#" in url:
                raise self._http.unavailable()
            self._http.require_tls(url)
            if is_here(url) and not is_here(self._config.issuer):
                raise self._http.unavailable()  # a provider elsewhere would reach this machine's own ports


def is_here(url: str) -> bool:
    """Say whether an address is of this machine itself, however it is written."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host in LOOPBACK or host.endswith(".localhost"):
        return True
    try:
        packed = socket.inet_aton(host)  # as libraries read it: `127.1`, `2130706433`
    except (OSError, UnicodeError):
        packed = b""
    try:
        address = ipaddress.ip_address(packed or host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified or mapped.is_link_local)

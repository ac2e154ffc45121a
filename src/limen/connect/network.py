"""Addresses and TLS: where a host is, whom we trust, and what went wrong in words."""

import socket
import ssl
from pathlib import Path
from typing import NamedTuple

from limen.core.errors import Invalid, LimenError, Refused, Unavailable

HTTPS_PORT = 443
LOOPBACK_SUFFIX = ".localhost"  # RFC 6761 §6.3: never leaves the machine, though few resolvers know


class Place(NamedTuple):
    """A host and port of the organisation."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """What to connect to."""
        return "127.0.0.1" if self.host.endswith(LOOPBACK_SUFFIX) else self.host

    @property
    def origin(self) -> str:
        """The https origin, without the default port."""
        return f"https://{self.host}" + ("" if self.port == HTTPS_PORT else f":{self.port}")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def make_tls_context(ca_file: Path | None, *alpn: str) -> ssl.SSLContext:
    """Return a context that trusts the system's roots, or this CA alone (law N1).

    Raises:
        Invalid: the file holds no certificate, or cannot be read.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH) if ca_file is None else _trusting(ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(alpn))
    return context


def _trusting(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(ca_file))
    except ssl.SSLError:
        raise Invalid(f"{ca_file} holds no certificate.", remedy="Give a PEM file of the CA.") from None
    except OSError as error:
        raise Invalid(
            f"{ca_file} cannot be read: {error.strerror}.", remedy="Log in again, with --ca."
        ) from None


def explain_network_error(error: Exception, place: Place) -> LimenError:
    """Return what a failed connection means to the person."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused(
            f"The certificate of {place} is not trusted: {error.verify_message}.",
            remedy="If your organisation has a CA of its own, log in with --ca FILE. Else do not go on.",
            code="UNTRUSTED_CERTIFICATE",
        )
    if isinstance(error, ssl.SSLError):
        return Unavailable(f"{place} speaks no TLS that is safe.", remedy="Check the address and the port.")
    if isinstance(error, socket.gaierror):
        return Unavailable(f"There is no host {place.host}.", remedy="Check the name and your network.")
    if isinstance(error, TimeoutError):
        return Unavailable(f"{place} does not answer.", remedy="Check your network, and try again.")
    return Unavailable(f"{place} cannot be reached.", remedy="Check your network, and try again.")

"""TLS towards collectors: verified always, chain and name."""

import ssl

from limen.core.errors import Invalid


def collector_context(ca_pem: str | None) -> ssl.SSLContext:
    """Return a context that trusts what `ca_pem` holds, or the system's roots.

    Raises:
        Invalid: the PEM cannot be read.
    """
    try:
        context = ssl.create_default_context(cadata=ca_pem)
    except ssl.SSLError as error:
        raise Invalid("The collector's CA cannot be read as PEM.", remedy="Correct the file.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9662: syslog over TLS 1.2 or newer
    return context

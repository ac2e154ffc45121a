"""What both doors from elsewhere, the admin API and SCIM, read of a request: credential and address."""

import ipaddress

from starlette.datastructures import Headers

PEER = "x-limen-peer"
"""The client's address, written by Envoy after it has removed whatever came under this name."""

SCHEME = "bearer"


def read_bearer(headers: Headers) -> str:
    """Return the one bearer credential; empty when there is none, or more than one."""
    given = headers.getlist("authorization")
    scheme, _, text = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return text if scheme.lower() == SCHEME else ""


def read_address(headers: Headers) -> str | None:
    """Return where the request comes from; None where no gateway says so."""
    given = headers.getlist(PEER)
    try:
        return str(ipaddress.ip_address(given[0])) if len(given) == 1 else None
    except ValueError:
        return None

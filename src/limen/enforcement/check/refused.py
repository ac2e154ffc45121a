"""What is refused whatever policies say: streams where there are none, and what another app's page sent."""

from limen.core.decision import Code
from limen.enforcement.check.asked import Asked
from limen.enforcement.check.places import ServicePlace, is_unsafe
from limen.enforcement.check.request import FETCH_SITE, ORIGIN, UPGRADE, CheckRequest
from limen.enforcement.check.seats import Seat


def refused_without_policy(asked: Asked) -> Code | None:
    """Return why a request is refused whatever policies say."""
    if is_stream(asked.request):
        return Code.STREAM_REFUSED
    if is_unsafe(asked.request.method) and _comes_from_elsewhere(asked):
        return Code.CROSS_APP
    return None


def refused_leashed(asked: Asked) -> Code | None:
    """The same for a request that the leash holds. A handshake is a GET, and yet as good as a write."""
    stream = is_stream(asked.request)
    if stream and not may_be_asked_for(asked):
        return Code.STREAM_REFUSED
    if (stream or is_unsafe(asked.request.method)) and _comes_from_elsewhere(asked):
        return Code.CROSS_APP
    return None


def is_browser_at_service(asked: Asked, seat: Seat) -> bool:
    """Say whether a cookie came to a service: what a browser sends by itself opens no tunnel."""
    return (
        seat.person is not None
        and asked.credentials.kind != "token"
        and isinstance(asked.place, ServicePlace)
    )


def may_be_asked_for(asked: Asked) -> bool:
    """Say whether this kind of stream is open here: CONNECT to services, listed upgrades to apps."""
    if asked.request.method == "CONNECT":
        return isinstance(asked.place, ServicePlace)
    return asked.request.headers.get(UPGRADE, b"").decode("latin-1").lower() in asked.place.upgrades


def is_stream(request: CheckRequest) -> bool:
    """Say whether a request asks for an upgrade or a tunnel."""
    return UPGRADE in request.headers or request.method == "CONNECT"


def _comes_from_elsewhere(asked: Asked) -> bool:
    """Say whether a page of another origin sent this: apps of one domain are same-site to each other.

    Source: Fetch metadata (W3C), RFC 6454. A request with neither header is no browser's.
    """
    headers = asked.request.headers
    origin = headers.get(ORIGIN)
    if origin is not None:
        return not asked.place.is_own_or_trusted(origin.decode("latin-1"), asked.authority.port)
    return headers.get(FETCH_SITE, b"none") not in (b"same-origin", b"none")

"""A request as far as it was understood, and the addresses to which its answers lead."""

import hashlib
from urllib.parse import quote, urlsplit

import msgspec

from limen.core.decision import Network
from limen.core.resources import RouteMatch
from limen.enforcement.check.credentials import Credentials
from limen.enforcement.check.places import Place, ServicePlace
from limen.enforcement.check.request import REFERER, Authority, CheckRequest, Target

RETURN_MAX = 2_000  # characters of a return path: with the rest it stays below what servers take


class Asked(msgspec.Struct, frozen=True):
    """A request as far as it was understood: what refusals are written for."""

    request: CheckRequest
    authority: Authority
    place: Place
    target: Target
    match: RouteMatch
    network: Network
    credentials: Credentials


def authorize_url(asked: Asked, nonce: str, need: str) -> str:
    """Return where sign-in for this request begins; the hash binds it to the browser's flow cookie."""
    bound = hashlib.sha256(nonce.encode()).hexdigest()
    return (
        f"{auth_origin(asked)}/authorize?app={asked.place.name}"
        f"&return={quote(return_path(asked), safe='/')}&nonce={bound}{need}"
    )


def complaint_url(asked: Asked, decision_id: str) -> str:
    """Return where a person says that a decision is wrong: at the sign-in host, which knows who they are."""
    return f"{auth_origin(asked)}/complaints/new?decision={decision_id}"


def origin(asked: Asked) -> str:
    """Return the origin of the app, as the browser wrote it."""
    return f"https://{asked.authority.host}{asked.authority.port}"


def auth_origin(asked: Asked) -> str:
    """Return the origin of sign-in."""
    return f"https://{asked.place.auth_host}{asked.authority.port}"


def return_path(asked: Asked) -> str:
    """Return where to go after sign-in: here, or for a form that was posted, the page it stood on."""
    if asked.request.method not in ("GET", "HEAD"):
        return page_path(asked)
    whole = asked.target.path + asked.target.query
    if len(whole) <= RETURN_MAX:
        return whole
    return asked.target.path if len(asked.target.path) <= RETURN_MAX else "/"


def page_path(asked: Asked) -> str:
    """Return the path of the page that sent the request, when it is of this app; else the front page."""
    referer = urlsplit(asked.request.header(REFERER))
    same = f"{referer.scheme}://{referer.netloc}" == origin(asked)
    path = referer.path + (f"?{referer.query}" if referer.query else "")
    plain = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if same and plain and len(path) <= RETURN_MAX else "/"


def login_url(asked: Asked) -> dict[str, str]:
    """Return where a person signs in on a client's behalf. For a service that is `limen login`'s business."""
    if isinstance(asked.place, ServicePlace):
        return {}
    return {"login_url": origin(asked) + page_path(asked)}

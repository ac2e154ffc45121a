"""Which Limen token a request carries, and how to take it off before the app sees the request."""

import base64
import binascii
import re
from typing import Literal

import msgspec

from limen.core.errors import Invalid
from limen.core.tokens import TOKEN_LENGTH_MAX
from limen.enforcement.check.request import (
    AUTHORIZATION,
    CERTIFICATE,
    COOKIE,
    DPOP,
    FIRST_COOKIE,
    LIMEN_TOKEN,
    BadRequest,
    CheckRequest,
)
from limen.information.identity.svid import (
    CERTIFICATE_ENDS,
    CERTIFICATE_SHA256,
    CERTIFICATE_STARTS,
    CERTIFICATE_URIS,
    ClientCertificate,
    parse_certificate,
)

SESSION_COOKIE = "__Host-limen"
FLOW_COOKIE = "__Host-limen-flow"
CURED_COOKIE = "__Host-limen-cured"
WARNED_COOKIE = "__Host-limen-warned"

_OURS = b"__Host-limen"
_TOKEN_SHAPE = re.compile(r"l1\.[A-Za-z0-9._-]+")
_TOKEN_ANYWHERE = re.compile(r"\bl1\.[0-9]{1,16}\.[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{22}")
_SCHEME_MAX = 2 * TOKEN_LENGTH_MAX + 512  # characters of an Authorization header that may hold a token

TokenKind = Literal["cookie", "token"]


class Credentials(msgspec.Struct, frozen=True):
    """What a request carries of ours, and what is left of it without.

    Attributes:
        token: the one token to look at, or None.
        kind: where it came from: a `cookie` session or a client `token`; each is good there only.
        cookie: what is left of the Cookie header; None when it needs no change.
        authorization_is_ours: the Authorization header holds a Limen token.
        flow, cured: values of the sign-in cookies.
        warned: whom this browser has shown today's warning of this app.
        dpop: the token came by the scheme of tokens that are bound to a key (RFC 9449 section 7.1).
        proof: the `DPoP` header that came with the token.
        certificate: the client's, of a connection to the port for machines.
    """

    token: str | None = None
    kind: TokenKind = "cookie"
    cookie: str | None = None
    authorization_is_ours: bool = False
    flow: str = ""
    cured: str = ""
    warned: str = ""
    dpop: bool = False
    proof: str = ""
    certificate: ClientCertificate | None = None


NOTHING = Credentials()


def read_credentials(request: CheckRequest) -> Credentials:
    """Find the token: `X-Limen-Token`, then Bearer or Basic password, then the cookie.

    Two session cookies are none: a browser holds one `__Host-` cookie of a name, so the other was put
    there by somebody else, and guessing which is whose is how sessions get swapped.

    Where the connection shows a client certificate no cookie opens anything: machines have none, and a page
    must not ride on a person's.

    Raises:
        BadRequest: two `Cookie` headers.
    """
    headers = request.headers
    raw_cookie = headers.get(COOKIE)
    if raw_cookie is None:
        found = NOTHING
    else:
        if headers.get(FIRST_COOKIE, raw_cookie) != raw_cookie:  # RFC 6265 section 5.4 allows one header
            raise BadRequest("More than one Cookie header was sent.", remedy="Send one Cookie header.")
        found = _read_cookie(raw_cookie) if _OURS in raw_cookie else NOTHING
    if CERTIFICATE in headers:
        found = msgspec.structs.replace(found, token=None, certificate=_read_certificate(request))
    if AUTHORIZATION not in headers and LIMEN_TOKEN not in headers:
        return found
    client, ours = _client_token(request)
    if client is None:
        return msgspec.structs.replace(found, authorization_is_ours=ours) if ours else found
    dpop = request.header(AUTHORIZATION)[:5].lower() == "dpop "
    return msgspec.structs.replace(
        found,
        token=client,
        kind="token",
        authorization_is_ours=ours,
        dpop=dpop,
        proof=request.header(DPOP),
    )


def _read_certificate(request: CheckRequest) -> ClientCertificate:
    names = (CERTIFICATE_URIS, CERTIFICATE_SHA256, CERTIFICATE_STARTS, CERTIFICATE_ENDS)
    try:
        found = parse_certificate({name: request.header(name.encode()) for name in names})
    except Invalid as error:
        raise BadRequest(error.message, remedy=error.remedy) from None
    if found is None:
        raise BadRequest("Envoy noted a certificate without its hash.", remedy="Call again.")
    return found


def _read_cookie(raw: bytes) -> Credentials:
    kept: list[str] = []
    sessions: list[str] = []
    flow = cured = warned = ""
    for pair in raw.decode("utf-8", "surrogateescape").split(";"):
        name, mark, value = pair.strip(" \t").partition("=")
        if mark and name == SESSION_COOKIE:
            sessions.append(value)
        elif mark and name == FLOW_COOKIE:
            flow = value
        elif mark and name == CURED_COOKIE:
            cured = value
        elif mark and name == WARNED_COOKIE:
            warned = value
        elif pair and SESSION_COOKIE not in name:
            kept.append(pair.strip(" \t"))
    token = sessions[0] if len(sessions) == 1 else None
    return Credentials(token, "cookie", "; ".join(kept), False, flow, cured, warned)


def _client_token(request: CheckRequest) -> tuple[str | None, bool]:
    """Return the client token, and whether the Authorization header holds one, however it is written."""
    value = request.header(AUTHORIZATION)
    authorization = _from_authorization(value)
    ours = authorization is not None or _TOKEN_ANYWHERE.search(value) is not None
    explicit = request.headers.get(LIMEN_TOKEN)
    return authorization if explicit is None else explicit.decode("latin-1"), ours


def _from_authorization(value: str) -> str | None:
    """Return what looks like a Limen token. The app's own credentials do not, and stay."""
    if not value or len(value) > _SCHEME_MAX:
        return None
    scheme, _, rest = value.partition(" ")
    rest = rest.strip()
    if scheme.lower() in ("bearer", "dpop"):
        text = rest
    elif scheme.lower() == "basic":
        try:
            text = base64.b64decode(rest, validate=True).decode("latin-1").partition(":")[2]
        except binascii.Error:
            return None
    else:
        return None
    return text if _TOKEN_SHAPE.fullmatch(text) else None

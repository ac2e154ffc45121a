"""An authentication request, parsed. What is wrong is told to the person, or to the client, never guessed.

Laws:
    N1 no redirect that is not registered. Until client and `redirect_uri` are known, whatever is wrong is a
       page here. Addresses are compared character by character; of a registered loopback address only the
       port may differ (RFC 8252 section 7.3).
    N2 proof always. There is no code without a challenge of method S256 (RFC 9700 section 2.1.1).
    N3 once. A parameter that comes twice is refused (RFC 6749 section 3.1).

Source: OIDC Core 1.0 section 3.1.2, RFC 6749 section 4.1, RFC 7636, RFC 8707, RFC 9449 section 10.
"""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import SplitResult, urlsplit

import msgspec

from limen.core.catalogue import Catalogue
from limen.core.client_config import ClientConfig, OidcClient
from limen.core.errors import Invalid, LimenError

PARAMETER_MAX = 4_000  # characters of one value
STATE_MAX = 2_000
NONCE_MAX = 512
MAX_AGE_MAX_S = 31_536_000
LOOPBACK = frozenset({"127.0.0.1", "::1"})
TELL = "Tell whoever runs the app that sent you here."

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})


class RequestRefused(LimenError):
    """An error for the client, sent to its `redirect_uri` (RFC 6749 section 4.1.2.1)."""

    code = "OAUTH_REFUSED"

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class ReturnTo(msgspec.Struct, frozen=True):
    """Where an answer goes: a registered address of a known client."""

    client: ClientConfig
    oidc: OidcClient
    redirect_uri: str
    state: str


class AuthenticationRequest(msgspec.Struct, frozen=True):
    """What a client asks for.

    Attributes:
        scopes: those of the request that the client may have.
        audiences: names of the APIs (RFC 8707).
        challenge: PKCE, S256, base64url.
        jkt: the key that the code is bound to (RFC 9449 section 10); empty for none.
        prompt: `none`, `login` or empty.
    """

    to: ReturnTo
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    challenge: str
    nonce: str
    jkt: str
    prompt: str
    max_age_s: int | None
    acr_values: tuple[str, ...]
    login_hint: str


def parse_return(pairs: Sequence[tuple[str, str]], catalogue: Catalogue) -> ReturnTo:
    """Return where the answer may go (law N1).

    Raises:
        Invalid: for the person: nobody is redirected.
    """
    query = dict(pairs)
    for name in ("client_id", "redirect_uri", "state"):
        if sum(key == name for key, _ in pairs) > 1:
            raise _damaged(f"`{name}` comes twice")
    client = catalogue.clients.get(query.get("client_id", ""))
    if client is None or client.oidc is None or "authorization_code" not in client.oidc.grants:
        raise Invalid(
            "This request to sign in is of no app that is known here: see its `client_id`.",
            remedy=TELL,
            code="CLIENT_UNKNOWN",
        )
    asked = query.get("redirect_uri", "")
    if not any(is_registered(asked, one) for one in client.oidc.redirect_uris):
        raise Invalid(
            "This request to sign in leads elsewhere: its `redirect_uri` is not registered for this app.",
            remedy=TELL,
            code="REDIRECT_URI_UNKNOWN",
        )
    state = query.get("state", "")
    if len(state) > STATE_MAX or not _PRINTABLE.fullmatch(state):
        raise _damaged("its `state` cannot be sent back")
    return ReturnTo(client, client.oidc, asked, state)


def parse_request(
    pairs: Sequence[tuple[str, str]], to: ReturnTo, catalogue: Catalogue
) -> AuthenticationRequest:
    """Return the rest of a request whose answer may go to `to`.

    Raises:
        RequestRefused: for the client.
    """
    names = [name for name, _ in pairs if name != "resource"]
    if len(names) != len(set(names)):
        raise RequestRefused("invalid_request", "A parameter comes twice.")
    query = dict(pairs)
    for unsupported in ("request", "request_uri", "registration"):
        if unsupported in query:
            raise RequestRefused(f"{unsupported}_not_supported", f"`{unsupported}` is not supported.")
    if query.get("response_type") != "code":
        raise RequestRefused("unsupported_response_type", "`response_type` is `code` here.")
    if query.get("response_mode", "query") != "query":
        raise RequestRefused("invalid_request", "`response_mode` is `query` here.")
    challenge = query.get("code_challenge", "")
    if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise RequestRefused("invalid_request", "`code_challenge` of method S256 is needed.")
    nonce = query.get("nonce", "")
    if len(nonce) > NONCE_MAX or not _PRINTABLE.fullmatch(nonce):
        raise RequestRefused("invalid_request", "`nonce` is too long, or not printable.")
    jkt = query.get("dpop_jkt", "")
    if jkt and not _CHALLENGE.fullmatch(jkt):
        raise RequestRefused("invalid_request", "`dpop_jkt` is no thumbprint.")
    return AuthenticationRequest(
        to=to,
        scopes=parse_scopes(query.get("scope", ""), to.oidc),
        audiences=parse_audiences([value for name, value in pairs if name == "resource"], to.oidc, catalogue),
        challenge=challenge,
        nonce=nonce,
        jkt=jkt,
        prompt=_prompt(query.get("prompt", "")),
        max_age_s=_max_age(query.get("max_age")),
        acr_values=tuple(query.get("acr_values", "").split(" ")[:8]) if query.get("acr_values") else (),
        login_hint=query.get("login_hint", "")[:128],
    )


def parse_scopes(text: str, oidc: OidcClient) -> tuple[str, ...]:
    """Return the scopes asked for that the client may have; unknown ones fall away (OIDC Core 3.1.2.1).

    Raises:
        RequestRefused: none is left.
    """
    asked = dict.fromkeys(text[:PARAMETER_MAX].split(" "))
    found = tuple(scope for scope in asked if scope in oidc.scopes)
    if not found:
        raise RequestRefused("invalid_scope", "`scope` has none that this client may have.")
    return found


def parse_audiences(resources: Iterable[str], oidc: OidcClient, catalogue: Catalogue) -> tuple[str, ...]:
    """Return the names of the APIs that tokens are asked for (RFC 8707 section 2).

    Raises:
        RequestRefused: one is none of this client's.
    """
    known = {catalogue.clients[name].audience: name for name in oidc.audiences if name in catalogue.clients}
    found = []
    for resource in resources:
        name = known.get(resource)
        if not resource or name is None:
            raise RequestRefused("invalid_target", "`resource` is no API that this client may ask for.")
        found.append(name)
    return tuple(dict.fromkeys(found))


def is_registered(asked: str, registered: str) -> bool:
    """Say whether an address is the registered one (law N1)."""
    if asked == registered:
        return bool(asked)
    try:
        there, here = urlsplit(registered), urlsplit(asked)
        ports = (there.port, here.port)
    except ValueError:
        return False
    if there.scheme != "http" or there.hostname not in LOOPBACK or ports[0] is not None or ports[1] is None:
        return False
    return _with_port(there, ports[1]) == asked


def redirect_origin(uri: str) -> str:
    """Return what a page's policy must name for a form to lead to `uri`: its origin, or its scheme."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}:"
    anywhere = ":*" if parts.hostname in LOOPBACK and parts.port is None else ""
    return f"{parts.scheme}://{parts.netloc}{anywhere}"


def _with_port(registered: SplitResult, port: int) -> str:
    """Write a registered loopback address with a port, which is how it must have been sent."""
    return registered._replace(netloc=f"{registered.netloc}:{port}").geturl()


def _prompt(text: str) -> str:
    asked = set(text.split(" ")) - {""}
    if not asked <= _PROMPTS or ("none" in asked and len(asked) > 1):
        raise RequestRefused("invalid_request", "`prompt` is not one of OpenID Connect.")
    if "none" in asked:
        return "none"
    return "login" if asked & {"login", "select_account"} else ""


def _max_age(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise RequestRefused("invalid_request", "`max_age` is a number of seconds.")
    return min(int(text), MAX_AGE_MAX_S)


def _damaged(why: str) -> Invalid:
    return Invalid(f"This request to sign in is damaged: {why}.", remedy=TELL, code="CLIENT_REQUEST_DAMAGED")

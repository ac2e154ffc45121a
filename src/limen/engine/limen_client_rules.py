"""Rules for what clients write: addresses that codes and people are sent to, audiences, claims."""

import re
from urllib.parse import SplitResult, urlsplit

from limen.engine.forms import Rule

URI_LENGTH_MAX = 2_000
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

FIELDS = frozenset({"username", "email", "name", "groups"})
"""What a claim may be made of besides attributes."""

RESERVED_CLAIMS = frozenset(
    [
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "auth_time", "acr", "amr", "azp", "nonce"),
        *("at_hash", "c_hash", "s_hash", "sid", "cnf", "client_id", "scope", "scopes", "events", "typ"),
        *("act", "may_act", "active", "token_type"),
    ]
)
"""Claims that say what a token is: nobody's attribute becomes one."""

_URI = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")  # RFC 3986 without `#`
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")  # RFC 8252 7.1: a domain, reversed


def _redirect(text: str) -> str:
    """Accept https, http to this machine, and a private scheme of an app (RFC 8252 sections 7.1 to 7.3)."""
    parts = _parse(text)
    if parts.scheme == "https":
        _demand_host(parts)
    elif parts.scheme == "http":
        _demand_host(parts)
        if parts.hostname not in LOOPBACK:
            raise ValueError("Codes travel over https; http is for a port of the person's own machine.")
    elif not _PRIVATE_SCHEME.fullmatch(parts.scheme) or not text[len(parts.scheme) + 1 :].startswith("/"):
        raise ValueError("A scheme of an app's own is a domain name reversed, such as com.example.app:/cb.")
    return text


def _web(text: str) -> str:
    parts = _parse(text)
    local = parts.scheme == "http" and parts.hostname in LOOPBACK
    if parts.scheme != "https" and not local:
        raise ValueError("It starts with https://; http is for this machine alone.")
    _demand_host(parts)
    return text


def _audience(text: str) -> str:
    if len(text) > URI_LENGTH_MAX or not _URI.fullmatch(text):
        raise ValueError("Use an address without fragment (RFC 8707 section 2), or a name.")
    return text


def _claim(text: str) -> str:
    if text in RESERVED_CLAIMS:
        raise ValueError("That claim says what the token is.")
    if not re.fullmatch(r"[A-Za-z0-9_:/.-]{1,128}", text):
        raise ValueError("Letters, digits and `_ : / . -`.")
    return text


def _parse(text: str) -> SplitResult:
    if len(text) > URI_LENGTH_MAX or not _URI.fullmatch(text):
        raise ValueError("It holds a character that no address has, a fragment, or it is too long.")
    parts = urlsplit(text)
    _ = parts.port  # raises ValueError for one that is none
    return parts


def _demand_host(parts: SplitResult) -> None:
    if not parts.hostname or parts.username is not None:
        raise ValueError("It names a host, and no user.")
    if "*" in parts.netloc:
        raise ValueError("`*` stands for nothing here: addresses are compared character by character.")


REDIRECT_URI = Rule(
    'an address, such as "https://app.example/callback"', _redirect, "^[a-z][a-z0-9+.-]*:[^#\\s]+$"
)
LOGOUT_URI = Rule('an address, such as "https://app.example/logout"', _web, "^https?://[^#\\s]+$")
WEB_ADDRESS = Rule('an address, such as "https://app.example/"', _web, "^https?://[^#\\s]+$")
AUDIENCE = Rule('an address or a name, such as "https://api.example"', _audience, "^[^#\\s]+$")
CLAIM = Rule("a claim's name", _claim, "^[A-Za-z0-9_:/.-]+$")

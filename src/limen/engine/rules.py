"""Rules for the text in a bundle: each takes what was written and returns its canonical form.

A rule raises ValueError with a sentence that helps; the reader of forms adds file, line and column.
"""

import ipaddress
import re
import zoneinfo
from collections.abc import Callable
from urllib.parse import urlsplit

from limen.core.catalogue import ADMIN_APP, AUTH_HOST
from limen.engine.forms import Rule

DOMAIN_MAX = 190  # of DNS's 253: room for `<63>.` before it
USERNAME = r"[a-z0-9][a-z0-9._-]{0,63}(@[a-z0-9][a-z0-9.-]{0,189})?"
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123 2.1
CEDAR_WORDS = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar"})

OWNED_HEADERS = frozenset(
    [
        "authorization",
        "connection",
        "date",
        "expect",
        "server",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "keep-alive",
        "origin",
        "proxy-authorization",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
"""Headers that carry the request itself (RFC 9110 7.6.1 and friends); identity never goes there."""


def _pattern(says: str, pattern: str, *, refused: dict[str, str] | None = None, extra: str = "") -> Rule:
    compiled = re.compile(pattern)
    reserved = refused or {}

    def check(text: str) -> str:
        if text in reserved:
            raise ValueError(reserved[text])
        if not compiled.fullmatch(text):
            raise ValueError(extra)
        return text

    return Rule(says, check, f"^{pattern}$")


def _host(text: str) -> str:
    lowered = text.lower().rstrip(".")
    if len(lowered) > DOMAIN_MAX or not all(re.fullmatch(LABEL, part) for part in lowered.split(".")):
        raise ValueError("Write the bare name: no scheme, no port, no `*`.")
    try:
        ipaddress.ip_address(lowered)
    except ValueError:
        return lowered
    raise ValueError("An address has no certificate name and no cookies of its own; use a name.")


def _authority(text: str, schemes: tuple[str, ...]) -> tuple[str, str, int | None]:
    if any(character <= " " or character in "\\\x7f" for character in text):
        raise ValueError("It holds a space or a control character.")
    parts = urlsplit(text)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"It starts with {' or '.join(f'{scheme}://' for scheme in schemes)}.")
    if parts.username is not None or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise ValueError("Leave out user, path, query and fragment.")
    host = parts.hostname.lower()
    if ":" in host:
        ipaddress.IPv6Address(host)
        host = f"[{host}]"
    elif not re.fullmatch(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9])?", host):
        raise ValueError("The host is not a name or an address.")
    return parts.scheme, host, parts.port


def _upstream(text: str) -> str:
    scheme, host, port = _authority(text, ("http", "https"))
    if port == 0:
        raise ValueError("Port 0 cannot be dialled.")
    return f"{scheme}://{host}:{port or (443 if scheme == 'https' else 80)}"


def _address(text: str) -> str:
    if "://" in text or "%" in text:
        raise ValueError("Write it as host:port, without a scheme and without a zone.")
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (host and colon and re.fullmatch(r"[0-9]{1,5}", port)) or (":" in host and not bracketed):
        raise ValueError("Say the port behind a colon; an IPv6 address stands in brackets.")
    if not 0 < int(port) < 65_536:
        raise ValueError("A port is a number from 1 to 65535.")
    return f"{_authority(f'tcp://{host}', ('tcp',))[1]}:{int(port)}"


def _upgrade(text: str) -> str:
    lowered = text.lower()
    if lowered in ("h2c", "h2") or lowered.startswith(("http/", "tls/")):
        raise ValueError("That would hide all later requests from Limen; for gRPC say `http2: true`.")
    if lowered.startswith("connect"):
        raise ValueError("Tunnels lead to `services:`.")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._+-]{0,31}(/[a-z0-9._+-]{1,31})?", lowered):
        raise ValueError("It is a name, and perhaps a version behind a slash (RFC 9110 section 7.8).")
    return lowered


def _origin(text: str) -> str:
    if text in ("*", "null"):
        raise ValueError("Every origin must be named: an allowed origin acts with the person's session.")
    if text.endswith("/"):
        raise ValueError("An origin has no slash at its end (RFC 6454).")
    scheme, host, port = _authority(text, ("https", "http"))
    default = 443 if scheme == "https" else 80
    return f"{scheme}://{host}" + ("" if port in (None, default) else f":{port}")


def _issuer(text: str) -> str:
    parts = urlsplit(text)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError("An issuer is an https:// address (OpenID Connect Discovery 1.0 section 3).")
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("An issuer has no user, query or fragment.")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError("Write it as 10.1.0.0/16, with no bits set after the prefix.") from error


def _timezone(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", text):
        raise ValueError
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, OSError) as error:
        raise ValueError("The time zone database does not know it.") from error
    return text


def _path_pattern(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("It starts with `/`.")
    if re.search(r"[^!-~]|[;\\%?#]", text):
        raise ValueError("Write it decoded and plain: no spaces, `;`, `\\`, `%`, `?` or `#`.")
    segments = text.split("/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment in (".", "..") or (segment == "" and not last):
            raise ValueError("No empty, `.` or `..` segments: such paths never reach the check.")
        if segment == "**" and not last:
            raise ValueError("`**` stands only at the end.")
        if "*" in segment and segment not in ("*", "**"):
            raise ValueError("`*` stands for one whole segment, never for a part of one.")
    return text


def _header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", text):
        raise ValueError("Letters, digits and `-`: a name with `_` is dropped on its way.")
    lowered = text.lower()
    if lowered in OWNED_HEADERS or lowered.startswith(("x-limen-", "x-envoy-", "sec-", "access-control-")):
        raise ValueError("That header has a meaning of its own in every request.")
    return text


def _grantee(text: str) -> str:
    kind, colon, name = text.partition(":")
    if not colon or kind not in ("group", "user", "workload"):
        raise ValueError("Write `group:staff`, `user:ada` or `workload:backup`.")
    (GROUP if kind == "group" else USER).check(name)
    return text


def _absolute(text: str) -> str:
    if not text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise ValueError("Start it with `/`, and leave out `..`.")
    return text


def _file(says: str, ending: str) -> Rule:
    def check(text: str) -> str:
        if text.startswith("/") or ".." in text.split("/") or not text.endswith(ending):
            raise ValueError(f"Name a `{ending}` file inside the bundle's folder.")
        return text

    return _rule(says, check, f"\\{ending}$")


def _rule(says: str, check: Callable[[str], str], pattern: str | None = None) -> Rule:
    return Rule(says, check, pattern)


NAME = _pattern('a DNS label, such as "wiki"', LABEL, extra="Lower-case letters, digits and `-` inside.")
APP_NAME = _pattern(
    'a DNS label, such as "wiki"',
    LABEL,
    extra="Lower-case letters, digits and `-` inside.",
    refused={
        AUTH_HOST: "That is the host where people sign in.",
        ADMIN_APP: "That app is Limen's own administration.",
    },
)
SERVICE_NAME = _pattern(
    'a DNS label, such as "ledger-db"',
    LABEL,
    extra="Lower-case letters, digits and `-` inside.",
    refused={
        AUTH_HOST: "That is the host where people sign in.",
        ADMIN_APP: "That name is Limen's own administration.",
    },
)
USER = _pattern('a username, such as "ada"', USERNAME)
GROUP = _pattern('a group\'s name, such as "staff"', r"[^\x00-\x1f\x7f\u2028\u2029]{1,256}")
WORD = _pattern("a line of text", r"[^\x00-\x1f\x7f\u2028\u2029]{1,512}")
SCOPE = _pattern("an OAuth scope", r"[!#-\[\]-~]{1,128}")
CLAIM = _pattern("a claim's name", r"[!-~]{1,128}")
METHOD = _pattern(
    "an HTTP method in capitals, such as GET",
    r"[A-Z][A-Z-]{0,31}",
    refused={"CONNECT": "Tunnels are not routes.", "TRACE": "TRACE is never passed on."},
)
PROTOCOL = _pattern("a protocol's name in lower case, such as ssh, postgres or tcp", r"[a-z][a-z0-9-]{0,31}")
SECRET_NAME = _pattern("the name of a secret", LABEL, extra="Store it with `limen secret set NAME`.")
ATTRIBUTE = _pattern(
    "a Cedar identifier, such as clearance",
    r"[A-Za-z_][A-Za-z0-9_]{0,63}",
    refused=dict.fromkeys(CEDAR_WORDS, "Cedar keeps that word."),
)
POLICY_ID = _pattern("a policy id, such as phi-passkey", r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
HOST = _rule('a host name, such as "pay.example.com"', _host)
DOMAIN = _rule('a domain, such as "corp.example"', _host)
UPSTREAM = _rule('an address, such as "http://127.0.0.1:9001"', _upstream, "^https?://")
ADDRESS = _rule(
    'host:port, such as "db1.internal:5432"', _address, r"^(\[[0-9A-Fa-f:.]+\]|[^:/\s\[\]]+):[0-9]{1,5}$"
)
UPGRADE = _rule("a value of the Upgrade header, such as websocket", _upgrade, "^[A-Za-z0-9]")
ORIGIN = _rule('an origin, such as "https://wiki.corp.example"', _origin, "^https?://[^/]+$")
ISSUER = _rule('an issuer, such as "https://id.example.com"', _issuer, "^https?://")
NETWORK = _rule("a network, such as 10.1.0.0/16", _network)
TIMEZONE = _rule('a time zone, such as "Europe/Lisbon"', _timezone)
PATH_PATTERN = _rule("a path pattern, such as /exports/**", _path_pattern, "^/[^;\\\\%?#\\s]*$")
HEADER = _rule("a header name, such as Remote-User", _header, "^[A-Za-z0-9][A-Za-z0-9-]*$")
GRANTEE = _rule("group:NAME, user:NAME or workload:NAME", _grantee, "^(group|user|workload):.+$")
ABSOLUTE_PATH = _rule("an absolute path", _absolute, "^/")
PEM_FILE = _file('a .pem file of the bundle, such as "internal-ca.pem"', ".pem")
XML_FILE = _file('an .xml file of the bundle, such as "corp-idp.xml"', ".xml")
JSON_FILE = _file('a .json file of the bundle, such as "ci-keys.json"', ".json")

"""Which request headers never come in from outside, and which the check sees.

Everything here is exact or a pattern over lower-case names; Envoy has lowered them before it asks.
"""

from collections.abc import Iterable
from typing import Any

from limen.information.identity.svid import (
    CERTIFICATE_ENDS,
    CERTIFICATE_SHA256,
    CERTIFICATE_STARTS,
    CERTIFICATE_URIS,
)

PEER = "x-limen-peer"
"""The client's true address, noted by Envoy."""

RAW_TOKEN = "x-limen-token"  # noqa: S105 - a header's name
DECISION_ID = "x-limen-decision-id"
FIRST_COOKIE = "x-limen-first-cookie"
"""The first `Cookie` header as it came. Envoy joins several of HTTP/1 with a comma on their way to the
check, which cannot tell that comma from one inside a cookie; it differs from this copy only if there were
several. (HTTP/2's parts of one cookie header are joined by Envoy before, and count as one.)"""

WARNING = "limen-warning"
"""What a client is told of a request that went on and will be denied (rollout stage `warn`)."""

HTTP_VERSION = "x-limen-http"
"""`HTTP/1.1` or `HTTP/2`, noted by Envoy before it looks for a route: CONNECT is for HTTP/2 only."""

FOREIGN_PREFIXES = ("x-original-", "x-envoy-", "x-rewrite-", "x-auth-request-", "remote-", "x-authentik-",
                    "x-pomerium-", "x-ssl-", "x-webauth-", "x-goog-iap-", "x-goog-authenticated-user-",
                    "x-amzn-oidc-", "cf-access-", "x-ms-client-principal", "tailscale-",
                    "client-cert")  # fmt: skip
"""What proxies and identity products write, so that no app believes a visitor's copy of it."""

FOREIGN_NAMES = ("forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip", "fastly-client-ip",
                 "x-client-ip", "x-cluster-client-ip", "x-http-method", "x-http-method-override",
                 "x-method-override", "proxy", "proxy-authorization", "proxy-connection", "x-remote-user",
                 "x-auth-user", "x-host", "x-http-host-override", "x-forwarded")  # fmt: skip
"""Single names of the same kind; the method overrides would make a read a write behind the decision."""

CERTIFICATE_NOTES = {
    CERTIFICATE_URIS: "%DOWNSTREAM_PEER_URI_SAN%",
    CERTIFICATE_SHA256: "%DOWNSTREAM_PEER_FINGERPRINT_256%",
    CERTIFICATE_STARTS: "%DOWNSTREAM_PEER_CERT_V_START(%s)%",
    CERTIFICATE_ENDS: "%DOWNSTREAM_PEER_CERT_V_END(%s)%",
}
"""What Envoy notes of the certificate that a machine showed, once it has verified it."""

SEEN_NAMES = ("host", "cookie", "authorization", "dpop", "accept", "origin", "referer", "user-agent",
              "content-type", "x-requested-with", "x-request-id", PEER, RAW_TOKEN, FIRST_COOKIE)  # fmt: skip
SEEN_PREFIXES = ("sec-fetch-", "access-control-request-")

LEASH_NAMES = (":method", ":path", ":authority", ":scheme", ":status", "upgrade", HTTP_VERSION)
"""What the leash sees besides. In its protocol these are headers too, and `:status` is the answer's."""

REPLY_ONLY = (":status", "connection", "content-length", "content-type", "date", "host", "keep-alive",
              WARNING, "server", "set-cookie", "transfer-encoding", "x-envoy-auth-headers-to-remove",
              "x-envoy-upstream-service-time")  # fmt: skip
"""Headers of the check's allowing answer that belong to that answer; all others go to the app."""


def regex(pattern: str) -> dict[str, Any]:
    """Return Envoy's matcher of the whole string by an RE2 pattern."""
    return {"safe_regex": {"regex": pattern}}


RE2_PROGRAM_MAX = 2_000
"""Instructions of the largest pattern here; Envoy's own limit, 100, is for patterns of strangers."""


def all_but(words: Iterable[str]) -> str:
    """Return an RE2 pattern that matches every string except `words`. RE2 has no negative look-ahead.

    The pattern follows the words' prefix tree: at each node it leaves the tree by a character that no
    word has there, or ends where no word ends.
    """
    tails = set(words)
    heads = sorted({word[0] for word in tails if word})
    if not heads:
        return ".+" if "" in tails else ".*"
    branches = [f"{_literal(head)}(?:{all_but(w[1:] for w in tails if w[:1] == head)})" for head in heads]
    branches.append(f"[^{''.join(_literal(head) for head in heads)}].*")
    if "" not in tails:
        branches.append("")
    return "|".join(branches)


def strip_mutations(*, keep_forwarded_for: bool) -> list[dict[str, Any]]:
    """Return the mutations that run before any filter: what came from outside in our names goes.

    Behind trusted proxies `x-forwarded-for` is read first, and overwritten afterwards (`note_mutations`).
    """
    forwarded = ("for",) if keep_forwarded_for else ()
    patterns = [
        {"prefix": prefix} for prefix in FOREIGN_PREFIXES
    ] + [
        regex("x-limen-(?:" + all_but([RAW_TOKEN.removeprefix("x-limen-")]) + ")"),
        regex("x-forwarded-(?:" + all_but(forwarded) + ")"),
    ]  # fmt: skip
    by_pattern = [{"remove_on_match": {"key_matcher": pattern}} for pattern in patterns]
    return by_pattern + [{"remove": name} for name in FOREIGN_NAMES]


def note_mutations(*, machines: bool = False) -> dict[str, Any]:
    """Return the mutations of the first filter: the one truth about where a request came from, and, on the
    port for machines, about the certificate of its connection.
    """
    address = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
    request = [
        overwrite(PEER, address),
        overwrite(FIRST_COOKIE, "%REQ(COOKIE)%"),
        overwrite("x-forwarded-for", address),
        overwrite("x-forwarded-host", "%REQ(:AUTHORITY)%"),
    ]
    if machines:
        request += [overwrite(name, value) for name, value in CERTIFICATE_NOTES.items()]
    # Envoy times its calls of the check and tells the client: noise.
    return {
        "request_mutations": request,
        "response_mutations": [{"remove": "x-envoy-upstream-service-time"}],
    }


def overwrite(name: str, value: str) -> dict[str, Any]:
    """Return a mutation that leaves exactly one header `name`."""
    return {
        "append": {
            "header": {"key": name, "value": value},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    }


def seen_by_check(*, machines: bool = False) -> dict[str, Any]:
    """Return the list of request headers that the check receives."""
    names = (*SEEN_NAMES, *(CERTIFICATE_NOTES if machines else ()))
    return {"patterns": [{"exact": name} for name in names] + [{"prefix": p} for p in SEEN_PREFIXES]}


def seen_by_leash(*, machines: bool = False) -> dict[str, Any]:
    """Return the list of headers that the leash receives, of requests and of answers."""
    patterns = [{"exact": name} for name in LEASH_NAMES]
    return {"patterns": [*patterns, *seen_by_check(machines=machines)["patterns"]]}


def set_for_app() -> dict[str, Any]:
    """Return the list of headers of an allowing answer that are set on the app's request."""
    return {"patterns": [regex(all_but(REPLY_ONLY))]}


def _literal(character: str) -> str:
    return f"\\{character}" if character in r"\-]^.$*+?()[{|" else character

"""Session tokens: random, MACed, and dated by the feed, so that rubbish never reaches control (law F4).

Shape: `l1.<seq>.<32 random bytes>.<16-byte tag>`, base64url without padding. The MAC is not the
proof of a session: only the hash of the whole token, found among the live sessions, is.

A workload's token is `limen_wl_<32 random bytes>.<16-byte tag>`: of another form, and so of another MAC, so
that neither is ever taken for the other.
"""

import hashlib
import hmac
import re
import secrets

import msgspec

from limen.core import base64url
from limen.core.errors import Invalid
from limen.core.ids import TokenHash
from limen.core.secret import Secret

_SHAPE = re.compile(r"l1\.(0|[1-9][0-9]{0,15})\.[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{22}")
_MARKED_REST = re.compile(r"[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{22}")
TOKEN_LENGTH_MAX = 128  # characters; longer ones are not looked at
WORKLOAD_PREFIX = "limen_wl_"
"""By which scanners for leaked secrets know a workload's token."""


class VerifiedToken(msgspec.Struct, frozen=True):
    """A token whose MAC holds. `seq` is the head of the feed when it was issued."""

    seq: int
    hash: TokenHash


def mint_token(key: bytes, seq: int) -> tuple[Secret[str], TokenHash]:
    """Return a new token and its hash. `key` is the 32-byte token key of this state."""
    body = f"l1.{seq}.{base64url.encode(secrets.token_bytes(32))}"
    token = f"{body}.{_tag(key, body)}"
    return Secret(token), token_hash(token)


def verify_token(key: bytes, text: str) -> VerifiedToken:
    """Return the token's date and hash.

    Raises:
        Invalid: not of the form, or the MAC is not ours.
    """
    if len(text) > TOKEN_LENGTH_MAX or not _SHAPE.fullmatch(text):
        raise Invalid("The token is not a Limen token.", remedy="Sign in again.", code="TOKEN_INVALID")
    body, _, tag = text.rpartition(".")
    if not hmac.compare_digest(tag, _tag(key, body)):
        raise Invalid("The token was not issued here.", remedy="Sign in again.", code="TOKEN_INVALID")
    return VerifiedToken(seq=int(body.split(".")[1]), hash=token_hash(text))


def mint_workload_token(key: bytes) -> tuple[Secret[str], TokenHash]:
    """Return a new token of a workload and its hash."""
    return mint_marked(key, WORKLOAD_PREFIX)


def verify_workload_token(key: bytes, text: str) -> TokenHash:
    """Return the hash of a workload's token that was issued here.

    Raises:
        Invalid: not of the form, or the MAC is not ours.
    """
    found = verify_marked(key, WORKLOAD_PREFIX, text)
    if found is None:
        raise Invalid(
            "This is not a workload's token of this Limen.",
            remedy="Make one: `limen workload token NAME`.",
            code="TOKEN_INVALID",
        )
    return found


def mint_marked(key: bytes, prefix: str) -> tuple[Secret[str], TokenHash]:
    """Return a new token of the kind that a prefix marks, and its hash."""
    body = f"{prefix}{base64url.encode(secrets.token_bytes(32))}"
    token = f"{body}.{_tag(key, body)}"
    return Secret(token), token_hash(token)


def verify_marked(key: bytes, prefix: str, text: str) -> TokenHash | None:
    """Return the hash of a token of that kind that was issued here; None for what is none."""
    if len(text) > TOKEN_LENGTH_MAX or not text.startswith(prefix):
        return None
    if not _MARKED_REST.fullmatch(text[len(prefix) :]):
        return None
    body, _, tag = text.rpartition(".")
    return token_hash(text) if hmac.compare_digest(tag, _tag(key, body)) else None


def token_hash(text: str) -> TokenHash:
    """Return the hex SHA-256 under which a token is stored."""
    return TokenHash(hashlib.sha256(text.encode()).hexdigest())


def _tag(key: bytes, body: str) -> str:
    return base64url.encode(hmac.digest(key, body.encode(), "sha256")[:16])

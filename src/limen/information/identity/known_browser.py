"""A browser that has signed somebody in before is not the stranger who guesses (law H2).

The mark is a signed cookie. It proves nothing about the person and opens nothing: it only says which
bucket of attempts to ask, so it needs no row in the database and cannot be revoked.
"""

import hmac
import secrets

from limen.core.ids import Instant

LIFE_S = 180 * 86_400


def mint_mark(key: bytes, person: str, now: Instant) -> str:
    """Return the mark of a browser that has just signed `person` in with all factors."""
    body = f"{secrets.token_hex(16)}.{int(now) + LIFE_S}"
    return f"{body}.{_tag(key, person, body)}"


def verify_mark(key: bytes, person: str, mark: str, now: Instant) -> str | None:
    """Return the id of a browser that has signed `person` in before; None for a stranger."""
    body, _, tag = mark.rpartition(".")
    browser, _, expires = body.partition(".")
    if not hmac.compare_digest(tag.encode(), _tag(key, person, body).encode()):
        return None
    return browser if int(expires) > now else None


def _tag(key: bytes, person: str, body: str) -> str:
    return hmac.digest(key, f"known-browser\0{person}\0{body}".encode(), "sha256").hex()

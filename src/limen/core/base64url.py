"""Base64url without padding, as tokens, keys and proofs are written (RFC 7515 section 2)."""

import base64
import hashlib


def encode(raw: bytes) -> str:
    """Return bytes as text."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes that a text stands for.

    Raises:
        ValueError: it is not of this form.
    """
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sha256(text: str) -> str:
    """Return the SHA-256 of a text: a PKCE challenge (RFC 7636 4.2), a token's `ath` (RFC 9449 4.2)."""
    return encode(hashlib.sha256(text.encode()).digest())

"""The sealed emergency credential: something to print, put away, and type in once.

140 random bits and 20 bits of a MAC, in groups of four that are hard to misread. The MAC lets rubbish and
typing errors be refused before anything is looked up; it proves nothing. What is stored is a keyed hash, so a
stolen database alone cannot be searched for the credential.

Source: NIST SP 800-63B-4, section 3.1.2 (look-up secrets: at least 20 bits, used once, throttled).
"""

import hmac
import re
import secrets

from limen.core.secret import Secret
from limen.information.identity.recovery import ALPHABET

GROUPS = 8
GROUP_LENGTH = 4
TAG_LENGTH = GROUP_LENGTH  # the last group
TYPED_MAX = 128  # characters that are looked at

_SHAPE = re.compile(f"[{ALPHABET}]{{{GROUPS * GROUP_LENGTH}}}")
_READ_AS = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None, " ": None})


def new_credential(key: bytes) -> Secret[str]:
    """Return a new one, as it is printed: `xxxx-xxxx-…`. `key` is this state's."""
    body = "".join(secrets.choice(ALPHABET) for _ in range((GROUPS - 1) * GROUP_LENGTH))
    whole = body + _tag(key, body)
    return Secret("-".join(whole[at : at + GROUP_LENGTH] for at in range(0, len(whole), GROUP_LENGTH)))


def parse_credential(key: bytes, typed: str) -> Secret[str] | None:
    """Return the plain letters of a credential of ours, forgiving case, hyphens and look-alikes; or None."""
    plain = typed[:TYPED_MAX].strip().lower().translate(_READ_AS)
    if not _SHAPE.fullmatch(plain):
        return None
    body, tag = plain[:-TAG_LENGTH], plain[-TAG_LENGTH:]
    return Secret(plain) if hmac.compare_digest(tag, _tag(key, body)) else None


def hash_credential(key: bytes, plain: Secret[str]) -> str:
    """Return the hex hash under which it is stored."""
    return hmac.digest(key, f"break-glass\0{plain.reveal()}".encode(), "sha256").hex()


def _tag(key: bytes, body: str) -> str:
    number = int.from_bytes(hmac.digest(key, f"break-glass-tag\0{body}".encode(), "sha256")[:4], "big")
    return "".join(ALPHABET[number >> shift & 31] for shift in range(5 * (TAG_LENGTH - 1), -1, -5))

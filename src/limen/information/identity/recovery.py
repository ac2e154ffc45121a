"""Recovery codes: look-up secrets for the day on which the second factor is lost.

Source: NIST SP 800-63B-4, section 3.1.2. A code has 80 bits, works once, and is stored as a keyed
hash bound to its person, so a stolen database alone cannot be searched for it.
"""

import hmac
import re
import secrets

from limen.core.secret import Secret

CODES = 10
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32: no i, l, o, u
GROUPS = 4
GROUP_LENGTH = 4

_SHAPE = re.compile(f"[{ALPHABET}]{{{GROUPS * GROUP_LENGTH}}}")
_READ_AS = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None, " ": None})


def new_codes() -> tuple[Secret[str], ...]:
    """Return a fresh set, as shown to the person: `xxxx-xxxx-xxxx-xxxx`."""
    return tuple(Secret("-".join(_group() for _ in range(GROUPS))) for _ in range(CODES))


def parse_code(text: str) -> Secret[str] | None:
    """Return the canonical code, forgiving case, hyphens and look-alikes; None if it is none."""
    plain = text.strip().lower().translate(_READ_AS)
    return Secret(plain) if _SHAPE.fullmatch(plain) else None


def spoken_code(key: bytes, recovery: str) -> str:
    """Return the eight letters that somebody who recovers reads out to whoever approves it: `7k3m-9xq2`."""
    number = int.from_bytes(hmac.digest(key, f"recovery-spoken\0{recovery}".encode(), "sha256")[:5], "big")
    letters = "".join(ALPHABET[number >> shift & 31] for shift in range(35, -1, -5))
    return f"{letters[:4]}-{letters[4:]}"


def hash_spoken(key: bytes, text: str) -> str:
    """Return the hash by which a recovery is found from what was read out, forgiving as `parse_code`."""
    plain = text.strip().lower().translate(_READ_AS)[:64]
    return hmac.digest(key, f"recovery-heard\0{plain}".encode(), "sha256").hex()


def hash_code(key: bytes, person: str, code: Secret[str]) -> str:
    """Return the hex hash under which a code is stored."""
    plain = parse_code(code.reveal())
    assert plain is not None, "only parsed codes are hashed"
    return hmac.digest(key, f"recovery\0{person}\0{plain.reveal()}".encode(), "sha256").hex()


def _group() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH))

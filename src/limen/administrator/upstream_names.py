"""What a provider sends as username, name, e-mail address and group, made fit for the directory. Pure."""

import re
import unicodedata
from collections.abc import Collection, Iterable

GROUP_LENGTH_MAX = 128  # characters, as the directory's
NAME_LENGTH_MAX = 255  # the same
USERNAME_CLAIMED_MAX = 256  # characters that are looked at

RESERVED_PREFIX = "limen-"
"""Groups that only local administrators give: a provider must not be able to name Limen's own."""

_NOT_IN_USERNAMES = re.compile(r"[^a-z0-9._@-]+")
_EMAIL = re.compile(
    r"[!-?A-~]{1,64}@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)


def derive_username(claimed: str) -> str:
    """Return a username made of what a provider sends: lower case, without what usernames cannot hold."""
    claimed = claimed[:USERNAME_CLAIMED_MAX]
    plain = unicodedata.normalize("NFKD", claimed).encode("ascii", "ignore").decode().lower()
    return _NOT_IN_USERNAMES.sub("-", plain).strip("-._")


def clean_name(claimed: str) -> str:
    """Return a display name: what prints of it, of bounded length."""
    normal = unicodedata.normalize("NFC", claimed[: 4 * NAME_LENGTH_MAX])
    return "".join(c for c in normal if c.isprintable()).strip()[:NAME_LENGTH_MAX].strip()


def clean_email(claimed: str) -> str:
    """Return an address that reads the same to everybody, or nothing.

    One `@`, ASCII alone: `a@evil.example@corp.example`, quoted local parts and letters that look like others
    are what apps behind Limen would read differently from each other.
    """
    local, at, domain = claimed.rpartition("@")
    address = f"{local}@{domain.lower()}" if at else ""
    return address if len(address) <= NAME_LENGTH_MAX and _EMAIL.fullmatch(address) else ""


def domain_of(email: str) -> str:
    """Return the domain of an address that `clean_email` has returned; empty for none."""
    return email.rpartition("@")[2]


def vouched_email(claimed: str, own: Collection[str], others: Collection[str]) -> str:
    """Return a provider's address for somebody, if it is its to give; else nothing.

    Args:
        claimed: as it was sent.
        own: the domains of this provider; none for any.
        others: the domains that other providers have.
    """
    email = clean_email(claimed)
    domain = domain_of(email)
    return email if (domain in own if own else domain not in others) else ""


def map_groups(names: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Return the directory's names of upstream groups. Reserved ones and unusable names are left out."""
    named = {unicodedata.normalize("NFC", f"{prefix}{name}".strip()) for name in names if name.strip()}
    usable = (n for n in named if 0 < len(n) <= GROUP_LENGTH_MAX and n.isprintable())
    return tuple(sorted(name for name in usable if not is_reserved(name)))


def is_reserved(name: str) -> bool:
    """Say whether a group is one of Limen's own, however it is written."""
    return unicodedata.normalize("NFKC", name).casefold().strip().startswith(RESERVED_PREFIX)

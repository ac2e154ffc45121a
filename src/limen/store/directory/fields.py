"""The forms that the directory's fields demand. Each parser returns the value or raises `Invalid`."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from limen.core.errors import Invalid

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(@[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")  # RFC 5321 §4.5.3.1; one `@`, so no app can split it twice
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")

NAME_LENGTH_MAX = 255
GROUP_LENGTH_MAX = 128
ATTRIBUTE_LENGTH_MAX = 1024  # characters of one value
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1  # Cedar's Long


def parse_username(text: str) -> str:
    """Return `text` if it can name a person for ever."""
    if not _USERNAME.fullmatch(text):
        raise Invalid(
            f"The username {text[:80]!r} is not of the form that usernames have.",
            remedy="Use a–z, 0–9, dot, dash and underscore, at most 64, and at most one @domain after them.",
        )
    return text


def parse_email(text: str) -> str:
    """Return `text` if it is an address; empty means that there is none."""
    if text and (not _EMAIL.fullmatch(text) or not text.isprintable()):
        raise Invalid(f"The email {text[:80]!r} is not an address.", remedy="Write it as name@domain.")
    return text


def parse_name(text: str, *, field: str = "name") -> str:
    """Return a display name: one line, no control characters (it is sent to apps in headers)."""
    text = unicodedata.normalize("NFC", text.strip())
    if len(text) > NAME_LENGTH_MAX or not text.isprintable():
        raise Invalid(
            f"The {field} {text[:40]!r} is too long or holds control characters.",
            remedy=f"Write one line of at most {NAME_LENGTH_MAX} characters.",
        )
    return text


def parse_group(text: str) -> str:
    """Return a group's id. Upstream directories name groups freely, so spaces and slashes are fine."""
    text = unicodedata.normalize("NFC", text)
    if not text or text != text.strip() or len(text) > GROUP_LENGTH_MAX or not text.isprintable():
        raise Invalid(
            f"The group name {text[:40]!r} is empty, too long, or holds characters that do not print.",
            remedy=f"Use 1 to {GROUP_LENGTH_MAX} characters, with no space at either end.",
        )
    return text


def parse_attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes whose values Cedar can hold: strings, integers of 64 bits, true and false.

    Whether the bundle declares them is for its owner to check: the store does not know the bundle.
    """
    for name, value in values.items():
        if not _ATTRIBUTE.fullmatch(name):
            raise Invalid(
                f"The attribute name {name[:80]!r} is not a name.",
                remedy="Use letters, digits and underscore, at most 64.",
            )
        fits = isinstance(value, bool) or (
            len(value) <= ATTRIBUTE_LENGTH_MAX
            if isinstance(value, str)
            else isinstance(value, int) and LONG_MIN <= value <= LONG_MAX
        )
        if not fits:
            raise Invalid(
                f"The attribute {name!r} holds a value that policies cannot read.",
                remedy=f"Give text of at most {ATTRIBUTE_LENGTH_MAX} characters, an integer, true or false.",
            )
    return dict(sorted(values.items()))

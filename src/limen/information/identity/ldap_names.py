"""Distinguished names, compared as directories compare them (RFC 4514, RFC 4518 in short).

Two spellings of one name must meet, and two names must never: a group of somebody's own making must not pass
for another because its name was escaped differently.
"""

import re
import unicodedata

from limen.core.errors import Invalid

_SIMPLE = re.compile(r"[A-Za-z0-9_@. -]+(=[A-Za-z0-9_@. -]+)(,[A-Za-z0-9 -]+=[A-Za-z0-9_@. -]+)*")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_SPACES = re.compile(r" +")

Name = tuple[tuple[tuple[str, str], ...], ...]
"""Relative names from the entry up, each its attributes and values, sorted."""


def parse_dn(text: str) -> Name:
    """Return a name in the form in which equal names are equal.

    Raises:
        Invalid: it is not a distinguished name.
    """
    if _SIMPLE.fullmatch(text):
        return tuple((_pair(*part.split("=", 1)),) for part in text.split(","))
    parts, place = [], 0
    while place <= len(text):
        pairs = []
        while True:
            pair, place = _read_pair(text, place)
            pairs.append(pair)
            if text[place : place + 1] != "+":
                break
            place += 1
        parts.append(tuple(sorted(pairs)))
        place += 1
    return tuple(parts)


def _read_pair(text: str, place: int) -> tuple[tuple[str, str], int]:
    """Read `type=value` from `place` on; return it and where it ends: at a comma, a plus, or the end."""
    equals = text.find("=", place)
    kind = text[place:equals].strip()
    if equals < 0 or not re.fullmatch(r"[A-Za-z0-9.-]+", kind):
        raise _not_a_name(text)
    value, place, kept = bytearray(), equals + 1, 0  # `kept`: bytes that no trimming takes off the end
    quoted = False
    while place < len(text):
        one = text[place]
        if one == "\\":
            taken, place = _read_escape(text, place)
            value += taken
            kept = len(value)
            continue
        if one == '"':
            quoted = not quoted
        elif one in ",;+" and not quoted:
            break
        else:
            value += one.encode()
            kept = len(value) if one != " " or quoted else kept
        place += 1
    if quoted:
        raise _not_a_name(text)
    try:
        return _pair(kind, bytes(value[:kept]).decode()), place
    except UnicodeDecodeError:
        raise _not_a_name(text) from None


def _read_escape(text: str, place: int) -> tuple[bytes, int]:
    pair = text[place + 1 : place + 3]
    if _HEX.fullmatch(pair):
        return bytes.fromhex(pair), place + 3
    if not pair:
        raise _not_a_name(text)
    return pair[0].encode(), place + 2


def _pair(kind: str, value: str) -> tuple[str, str]:
    folded = unicodedata.normalize("NFKC", value).casefold().strip()
    return kind.strip().lower(), _SPACES.sub(" ", folded)


def _not_a_name(text: str) -> Invalid:
    return Invalid(f"{text[:80]!r} is not a distinguished name.", remedy="Look at it in the directory.")

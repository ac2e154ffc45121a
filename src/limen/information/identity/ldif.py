"""LDIF, what directories export: entries with their attributes (RFC 2849). Changes and URLs are not read."""

import base64
import binascii
from collections.abc import Iterator

from limen.core.errors import Invalid

Entry = tuple[str, dict[str, list[bytes]]]


def parse_ldif(text: str) -> Iterator[Entry]:
    """Yield each entry: its name, and the values of each attribute, in lower case.

    Raises:
        Invalid: a line is not of the form; the message names it.
    """
    dn, values = "", dict[str, list[bytes]]()
    for number, line in _unfolded(text):
        if not line:
            if dn:
                yield dn, values
            dn, values = "", {}
            continue
        name, value = _read(line, number)
        if name == "dn":
            dn = value.decode("utf-8", "replace")
        elif dn:
            values.setdefault(name.partition(";")[0], []).append(value)
        elif name != "version":
            raise _wrong(number, "it stands before the first dn:")
    if dn:
        yield dn, values


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with the number at which each begins; folded ones are joined, comments left out."""
    start, held = 0, ""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if line.startswith(" ") and held:
            held += line[1:]
            continue
        if start and not held.startswith("#"):
            yield start, held
        start, held = number, line
    if not held.startswith("#"):
        yield start, held


def _read(line: str, number: int) -> tuple[str, bytes]:
    name, colon, rest = line.partition(":")
    if not colon or not name.strip():
        raise _wrong(number, "it is not attribute: value")
    if rest.startswith(":"):
        try:
            return name.lower(), base64.b64decode(rest[1:].strip(), validate=True)
        except (binascii.Error, ValueError):
            raise _wrong(number, "it is not base64") from None
    if rest.startswith("<"):
        raise _wrong(number, "it names a file or address, which is not opened")
    return name.lower(), rest.lstrip(" ").encode()


def _wrong(number: int, why: str) -> Invalid:
    return Invalid(
        f"Line {number} of the LDIF cannot be read: {why}.", remedy="Export it again: ldapsearch -LLL."
    )

"""XML that somebody else wrote, read so that every later reader sees the same text.

Laws:
    X1 nothing but elements and text. A document type, an entity, a comment or a processing instruction is
       refused: the first two reach other files or grow without end, and a comment inside a name is not
       signed, so that two readers may read two names.
    X2 one name, one element. No two elements have the same ID.
    X3 bounded, in bytes, depth and elements, before anything recursive sees it.
    X4 UTF-8 only. What declares another encoding may be read as another document by another parser.

Source: SAML 2.0 core, sections 1.3 and 5.4; OWASP's SAML security notes.
"""

import re
import xml.etree.ElementTree as ET  # values only: it is defusedxml that parses
from typing import Any

from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import DefusedXMLParser  # type: ignore[import-untyped]

ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
METADATA = "urn:oasis:names:tc:SAML:2.0:metadata"
SIGNATURE = "http://www.w3.org/2000/09/xmldsig#"

REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"

MESSAGE_MAX_BYTES = 262_144  # of XML; a response with a thousand groups is half of it
METADATA_MAX_BYTES = 1_048_576
DEPTH_MAX = 40  # a SAML response has some twelve levels
ELEMENTS_MAX = 20_000

ID_ATTRIBUTES = ("ID", "Id", "id", "{http://www.w3.org/XML/1998/namespace}id")
"""What some reader or another takes for an ID; SAML's own is the first."""

_DECLARATION = re.compile(
    r"<\?xml\s+version=(\"1\.0\"|'1\.0')(\s+encoding=(\"UTF-8\"|'UTF-8'))?"
    r"(\s+standalone=(\"(yes|no)\"|'(yes|no)'))?\s*\?>",
    re.IGNORECASE,
)


class XmlRefused(ValueError):
    """This document is not read. The message says why, and holds nothing of it."""


class _Guarded(ET.TreeBuilder):
    """Law X1's comments and instructions, law X3."""

    def __init__(self, *, comments: bool) -> None:
        super().__init__()
        self._comments = comments
        self._depth = 0
        self._elements = 0

    def start(self, tag: Any, attrs: Any, /) -> Any:
        self._depth += 1
        self._elements += 1
        if self._depth > DEPTH_MAX:
            raise XmlRefused(f"it is nested deeper than {DEPTH_MAX} levels")
        if self._elements > ELEMENTS_MAX:
            raise XmlRefused(f"it has more than {ELEMENTS_MAX} elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ET.Element:
        self._depth -= 1
        return super().end(tag)

    def comment(self, text: str | None, /) -> Any:
        if not self._comments:
            raise XmlRefused("it has a comment")

    def pi(self, target: str, text: str | None = None, /) -> Any:
        raise XmlRefused("it has a processing instruction")


def parse_xml(raw: bytes, *, limit: int = MESSAGE_MAX_BYTES, comments: bool = False) -> ET.Element:
    """Return the root of a document (laws X1 to X4).

    Args:
        raw: as it came.
        limit: bytes.
        comments: let them stand (and read as nothing): in a file that an administrator chose.

    Raises:
        XmlRefused: it breaks a law, or is no XML.
    """
    if len(raw) > limit:
        raise XmlRefused(f"it is larger than {limit} bytes")
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise XmlRefused("it is not UTF-8") from None
    if text.startswith("<?xml"):
        declared = _DECLARATION.match(text)
        if declared is None:
            raise XmlRefused("it declares another version or encoding than XML 1.0 in UTF-8")
        text = text[declared.end() :]
    parser = DefusedXMLParser(target=_Guarded(comments=comments), forbid_dtd=True)
    try:
        parser.feed(text)
        root = parser.close()
    except DefusedXmlException:
        raise XmlRefused("it has a document type or an entity") from None
    except (ET.ParseError, ValueError, AssertionError) as error:
        raise error if isinstance(error, XmlRefused) else XmlRefused("it is not well-formed XML") from None
    assert isinstance(root, ET.Element)
    _demand_unique_ids(root)
    return root


def text_of(element: ET.Element | None) -> str:
    """Return the text of an element that holds nothing else; empty for none."""
    return "" if element is None or len(element) else (element.text or "").strip()


def _demand_unique_ids(root: ET.Element) -> None:
    seen: set[str] = set()
    for element in root.iter():
        for name in ID_ATTRIBUTES:
            value = element.get(name)
            if value is None:
                continue
            if value in seen:
                raise XmlRefused("two of its elements have the same ID")
            seen.add(value)

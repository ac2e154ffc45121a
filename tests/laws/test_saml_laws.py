"""Laws of reading SAML, on input that nobody thought of."""

import base64
import contextlib
import shutil
import xml.etree.ElementTree as ET
import zlib
from functools import cache

import pytest
import saml_forger as forger
from hypothesis import given, settings
from hypothesis import strategies as st
from saml_forger import Said

from limen.core.saml_metadata import parse_idp
from limen.core.saml_xml import (
    DEPTH_MAX,
    ELEMENTS_MAX,
    ID_ATTRIBUTES,
    MESSAGE_MAX_BYTES,
    XmlRefused,
    parse_xml,
)
from limen.information.identity.saml_bindings import read_post, read_redirect
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_response import Asked, verify_response

NOW = 1_900_000_000.0
ODD = st.sampled_from(
    ["<!---->", "<?x?>", "<!DOCTYPE a>", "<![CDATA[x]]>", "&lt;", "&#60;", "<b/>", "x", "</a>", "\x00"]
)


@given(st.lists(ODD, max_size=6))
def test_x1_what_is_read_has_nothing_but_elements_and_text(parts: list[str]) -> None:
    raw = f"<a>{''.join(parts)}</a>".encode()
    try:
        root = parse_xml(raw)
    except XmlRefused:
        return
    assert not any(mark in raw for mark in (b"<!--", b"<?", b"<!DOCTYPE"))
    assert all(isinstance(element.tag, str) for element in root.iter())


@given(st.binary(max_size=200))
def test_x1_bytes_that_are_no_xml_are_refused_and_raise_nothing_else(raw: bytes) -> None:
    with contextlib.suppress(XmlRefused):
        assert isinstance(parse_xml(raw), ET.Element)


@given(st.lists(st.tuples(st.sampled_from(["ID", "Id", "id", "xml:id"]), st.sampled_from("pqr")), max_size=5))
def test_x2_one_name_is_one_element(named: list[tuple[str, str]]) -> None:
    raw = f"<a>{''.join(f'<b {name}={chr(34)}{value}{chr(34)}/>' for name, value in named)}</a>"
    values = [value for _, value in named]
    try:
        root = parse_xml(raw.encode())
    except XmlRefused:
        assert len(set(values)) < len(values)
        return
    found = [element.get(name) for element in root.iter() for name in ID_ATTRIBUTES if element.get(name)]
    assert len(set(found)) == len(found) == len(values)


@given(st.integers(1, 3 * DEPTH_MAX))
def test_x3_depth_is_bounded(depth: int) -> None:
    try:
        parse_xml(b"<a>" * depth + b"</a>" * depth)
    except XmlRefused:
        assert depth > DEPTH_MAX
    else:
        assert depth <= DEPTH_MAX


def test_x3_size_and_number_are_bounded() -> None:
    for raw in (b"<a>" + b" " * MESSAGE_MAX_BYTES + b"</a>", b"<a>" + b"<b/>" * ELEMENTS_MAX + b"</a>"):
        with pytest.raises(XmlRefused):
            parse_xml(raw)


@given(st.sampled_from(["utf-16", "utf-32", "utf-7", "latin-1", "cp037"]), st.booleans())
def test_x4_other_encodings_are_refused(encoding: str, declared: bool) -> None:
    text = f"<?xml version='1.0' encoding='{encoding}'?><a>é</a>" if declared else "<a>é</a>"
    if encoding == "utf-7" and not declared:
        return  # pure ASCII, and read as such by everybody
    with pytest.raises(XmlRefused):
        parse_xml(text.encode(encoding))


@given(st.binary(max_size=300), st.booleans())
def test_bindings_refuse_rubbish_and_raise_nothing_else(raw: bytes, deflated: bool) -> None:
    text = base64.b64encode(zlib.compress(raw)[2:-4] if deflated else raw).decode()
    for read in (lambda: read_redirect(f"SAMLRequest={text}"), lambda: read_post({"SAMLResponse": text})):
        with contextlib.suppress(SamlRefused):
            read()


@cache
def good() -> tuple[Asked, str]:
    """Return what was asked, and a good answer to it."""
    asked = Asked(
        parse_idp(forger.idp_metadata(forger.party())), "https://sp.example", "https://sp.example/acs", "_q"
    )
    said = Said("_q", asked.consumer, asked.entity_id, NOW, attributes={"groups": ("staff",)})
    return asked, forger.response(said, forger.party()).decode()


@pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed")
@settings(max_examples=40, deadline=None)  # a process each, and the library at first
@given(st.data())
def test_no_change_of_a_signed_answer_makes_it_say_something_else(data: st.DataObject) -> None:
    """Cut, double or overwrite any part of it: it is refused, or it says what it said."""
    asked, text = good()
    at = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(at, min(len(text), at + 200)))
    new = data.draw(
        st.sampled_from(["", text[at:end] * 2, "root", "<b/>", "<!---->", "&amp;", "staff", "_evil"])
    )
    try:
        found = verify_response((text[:at] + new + text[end:]).encode(), asked, NOW)
    except SamlRefused:
        return
    assert (found.name_id, found.attributes, found.id) == ("ada-7", {"groups": ("staff",)}, "_assertion1")

"""Limen's own XML signatures, made by xmlsec1. The key is handed over in memory, never in a file."""

import os
import xml.etree.ElementTree as ET  # reads nothing but what Limen wrote
from collections.abc import Iterator
from contextlib import contextmanager

from limen.core.errors import Unavailable
from limen.core.saml_xml import ASSERTION, SIGNATURE
from limen.information.identity.saml_bindings import RSA_SHA256
from limen.information.identity.saml_messages import node, render
from limen.information.identity.saml_signature import (
    CANONICAL,
    ENVELOPED,
    SHA256,
    load_library,
    security_context,
)


def sign_message(message: str, certificate: str, private_pem: bytes) -> str:
    """Return a message with a signature of the whole, and of its assertion if it has one.

    Args:
        message: XML without a signature.
        certificate: PEM, sent along; nobody has to believe it.
        private_pem: RSA.

    Raises:
        Unavailable: xmlsec1 is not installed, or failed.
    """
    root = ET.fromstring(message)  # noqa: S314 - Limen's own
    assertion = root.find(f"{{{ASSERTION}}}Assertion")
    inside_out = [one for one in (assertion, root) if one is not None]
    for element in inside_out:
        element.insert(1, _empty_signature(element.get("ID", ""), certificate))  # after the issuer
    text = render(root)
    with _key_path(private_pem) as path:
        for element in inside_out:
            text = _fill_in(text, element, path)
    return text


def _fill_in(text: str, element: ET.Element, key_path: str) -> str:
    namespace, _, name = element.tag.removeprefix("{").partition("}")
    try:
        signed = security_context().sign_statement(
            text, f"{namespace}:{name}", key_file=key_path, node_id=element.get("ID")
        )
    except load_library("sigver").XmlsecError as error:
        raise Unavailable(
            "xmlsec1 could not sign.", remedy="Look at the release of xmlsec1.", code="XMLSEC_FAILED"
        ) from error
    assert isinstance(signed, str)
    return signed


def _empty_signature(ident: str, certificate: str) -> ET.Element:
    """Return a signature for xmlsec1 to fill in (core 5.4: enveloped, exclusive canonicalisation)."""
    body = "".join(certificate.strip().splitlines()[1:-1])

    def ds(name: str, algorithm: str = "", *children: ET.Element, text: str = "") -> ET.Element:
        return node(SIGNATURE, name, {"Algorithm": algorithm} if algorithm else None, *children, text=text)

    transforms = ds("Transforms", "", ds("Transform", ENVELOPED), ds("Transform", CANONICAL))
    reference = ds("Reference", "", transforms, ds("DigestMethod", SHA256), ds("DigestValue"))
    reference.set("URI", f"#{ident}")
    ways = (ds("CanonicalizationMethod", CANONICAL), ds("SignatureMethod", RSA_SHA256))
    info = ds("SignedInfo", "", *ways, reference)
    key = ds("KeyInfo", "", ds("X509Data", "", ds("X509Certificate", text=body)))
    return ds("Signature", "", info, ds("SignatureValue"), key)


@contextmanager
def _key_path(private_pem: bytes) -> Iterator[str]:
    handle = os.memfd_create("limen-saml-key")
    try:
        os.write(handle, private_pem)
        yield f"/proc/{os.getpid()}/fd/{handle}"
    finally:
        os.close(handle)

"""XML signatures of SAML, by pysaml2 and xmlsec1, and what those two leave to their caller.

pysaml2 7.5 checks the schema and the signature profile (one reference, to the element around it), and
xmlsec1 the cryptography. What is checked here besides, because neither does:

1. Where signatures stand: each is the child of the message or of its one assertion (signature wrapping).
2. Algorithms: SHA-1 is as good as any to both of them.
3. Transforms: the enveloped signature and exclusive canonicalisation without comments, in this order.
4. Whose key: those of the one party that is expected, from its metadata. pysaml2 takes the keys of whoever
   the message says it is from, and failing that the key that the message brings along.

The library is loaded by the first message: its schemas take a second, and most systems speak no SAML.

Source: SAML 2.0 core, section 5.4; J. Somorovsky et al., "On Breaking SAML" (USENIX Security 2012).
"""

import importlib
import logging
import shutil
import xml.etree.ElementTree as ET  # values only: documents come parsed from `saml_xml`
from collections.abc import Sequence
from functools import cache
from typing import Any

from limen.core.errors import Unavailable
from limen.core.saml_xml import ASSERTION, SIGNATURE
from limen.information.identity.saml_bindings import SIGNATURE_HASHES
from limen.information.identity.saml_refusal import SamlRefused

PROGRAM = "xmlsec1"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
DIGESTS = frozenset(
    [
        SHA256,
        "http://www.w3.org/2001/04/xmldsig-more#sha384",
        "http://www.w3.org/2001/04/xmlenc#sha512",
    ]
)
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
CANONICAL = "http://www.w3.org/2001/10/xml-exc-c14n#"
PREFIXES = f"{{{CANONICAL}}}InclusiveNamespaces"


def find_program() -> str:
    """Return where xmlsec1 is.

    Raises:
        Unavailable: it is not installed.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise Unavailable(
            "SAML needs the program xmlsec1, which is not installed.",
            remedy="Install the package xmlsec1 (Debian, Ubuntu) or xmlsec1-openssl (Fedora).",
            code="XMLSEC_MISSING",
        )
    return found


def verify_signatures(raw: bytes, root: ET.Element, certificates: Sequence[str]) -> tuple[ET.Element, ...]:
    """Return the elements of a message that its sender has signed: the message, its assertion, or both.

    Args:
        raw: the message as it came.
        root: the same, parsed by `saml_xml.parse_xml`.
        certificates: of the sender, PEM, from its metadata.

    Raises:
        SamlRefused: a signature does not hold, or stands where none may. No signature at all is no error.
        Unavailable: xmlsec1 is not installed.
    """
    assertion = root.find(f"{{{ASSERTION}}}Assertion")
    holders = [element for element in (root, assertion) if element is not None]
    signed = [(holder, holder.findall(_ds("Signature"))) for holder in holders]
    if sum(1 for _ in root.iter(_ds("Signature"))) != sum(len(found) for _, found in signed):
        raise SamlRefused("a signature stands where none may")
    verified = []
    for holder, found in signed:
        if not found:
            continue
        if len(found) > 1:
            raise SamlRefused("an element has more than one signature")
        _demand_profile(holder, found[0])
        _verify(raw, holder, certificates)
        verified.append(holder)
    return tuple(verified)


def _demand_profile(holder: ET.Element, signature: ET.Element) -> None:
    """Check what a signature says of itself (SAML 2.0 core, 5.4.2 to 5.4.4)."""
    infos = signature.findall(_ds("SignedInfo"))
    references = infos[0].findall(_ds("Reference")) if len(infos) == 1 else []
    if len(references) != 1 or not holder.get("ID") or references[0].get("URI") != f"#{holder.get('ID')}":
        raise SamlRefused("a signature is not over the element that it stands in")
    if signature.find(_ds("Object")) is not None:
        raise SamlRefused("a signature carries an object")
    if _algorithm(infos[0], "SignatureMethod") not in SIGNATURE_HASHES:
        raise SamlRefused("it is signed by an algorithm that does not count")
    if _algorithm(references[0], "DigestMethod") not in DIGESTS:
        raise SamlRefused("its digest is by an algorithm that does not count")
    transforms = list(references[0].iter(_ds("Transform")))
    canonical = _algorithm(infos[0], "CanonicalizationMethod")
    plain = all(child.tag == PREFIXES for transform in transforms for child in transform)
    named = [transform.get("Algorithm") for transform in transforms]
    if named != [ENVELOPED, CANONICAL] or canonical != CANONICAL or not plain:
        raise SamlRefused("its signature transforms the message in a way that SAML does not have")


def _verify(raw: bytes, holder: ET.Element, certificates: Sequence[str]) -> None:
    """Let pysaml2 and xmlsec1 check the signature of one element."""
    samlp, sigver = load_library("samlp"), load_library("sigver")
    context = security_context(certificates)
    tag = holder.tag.rpartition("}")[2]
    text = raw.decode("utf-8-sig")
    try:
        if tag == "Assertion":
            item = samlp.any_response_from_string(text).assertion[0]
        else:
            item = getattr(samlp, f"{_snake(tag)}_from_string")(text)
        if item is None or item.id != holder.get("ID"):
            raise SamlRefused("it is read in two ways")
        context.check_signature(item, f"{item.c_namespace}:{item.c_tag}", origdoc=text)
    except SamlRefused:
        raise
    except sigver.XmlsecError as error:
        schema = "Invalid document format" in str(error)
        said = "it does not fit SAML's schema" if schema else "its signature does not hold"
        raise SamlRefused(said) from None
    except Exception as error:  # whatever the library makes of hostile input is a refusal
        raise SamlRefused(f"its signature cannot be checked: {type(error).__name__}") from None


class _OnlyTheirs:
    """pysaml2's view of metadata: one party, whatever a message calls its sender."""

    def __init__(self, certificates: Sequence[str]) -> None:
        self._bodies = ["".join(pem.strip().splitlines()[1:-1]) for pem in certificates]

    def certs(self, *_: object) -> list[tuple[None, str]]:
        """Return the keys that count."""
        return [(None, body) for body in self._bodies]


@cache
def _backend(program: str) -> Any:
    base = load_library("sigver").CryptoBackendXmlSec1
    logging.getLogger("saml2").setLevel(logging.CRITICAL)  # it logs messages; ours go to the journal

    class Backend(base):  # type: ignore[misc, valid-type]
        """Asks xmlsec1 for its release once, not before each message."""

        version = base(program).version

    return Backend(program)


def security_context(certificates: Sequence[str] = ()) -> Any:
    """Return pysaml2's view of one party's keys, with xmlsec1 behind it.

    Raises:
        Unavailable: xmlsec1 is not installed.
    """
    backend = _backend(find_program())
    return load_library("sigver").SecurityContext(
        backend, metadata=_OnlyTheirs(certificates), only_use_keys_in_metadata=True
    )


def load_library(name: str) -> Any:
    """Return a module of pysaml2, which has no types."""
    return importlib.import_module(f"saml2.{name}")


def _algorithm(element: ET.Element, name: str) -> str:
    found = element.findall(_ds(name))
    return found[0].get("Algorithm", "") if len(found) == 1 else ""


def _snake(tag: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in tag).lstrip("_")


def _ds(name: str) -> str:
    return f"{{{SIGNATURE}}}{name}"

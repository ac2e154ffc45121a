"""SAML metadata of others, as a bundle holds it: who they are, where they listen, how they sign.

Metadata comes from the bundle, which somebody reviewed: it needs no signature of its own, and keys that a
message carries with it are never believed.

Source: SAML 2.0 metadata (OASIS saml-metadata-2.0-os), sections 2.3 to 2.4.4.
"""

import base64
import binascii
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from limen.core.saml_xml import (
    METADATA,
    METADATA_MAX_BYTES,
    POST,
    PROTOCOL,
    REDIRECT,
    SIGNATURE,
    XmlRefused,
    parse_xml,
    text_of,
)

RSA_BITS_MIN = 2048  # NIST SP 800-131A rev. 2, section 3
BINDINGS = (REDIRECT, POST)
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
ENTITY_ID_MAX = 1024  # characters: SAML 2.0 core section 8.3.6


class MetadataRefused(ValueError):
    """This is no metadata that can be used. The message is a sentence for whoever wrote the bundle."""


class Consumer(msgspec.Struct, frozen=True):
    """Where a service provider takes responses, by HTTP POST."""

    index: int
    url: str


class IdpMetadata(msgspec.Struct, frozen=True):
    """An identity provider.

    Attributes:
        sso: binding to the address that takes authentication requests.
        slo: binding to the address that takes logout requests.
        slo_answers: binding to the address that takes logout responses.
        certificates: whose keys sign for it, PEM.
    """

    entity_id: str
    sso: Mapping[str, str]
    certificates: tuple[str, ...]
    slo: Mapping[str, str] = {}
    slo_answers: Mapping[str, str] = {}


class SpMetadata(msgspec.Struct, frozen=True):
    """A service provider.

    Attributes:
        consumers: where responses may go; the first is the default.
        certificates: whose keys sign for it, PEM; may be none.
        requests_signed: it says that its requests are: one that is not is refused.
    """

    entity_id: str
    consumers: tuple[Consumer, ...]
    certificates: tuple[str, ...] = ()
    requests_signed: bool = False
    slo: Mapping[str, str] = {}
    slo_answers: Mapping[str, str] = {}


@lru_cache(maxsize=256)
def parse_idp(text: str) -> IdpMetadata:
    """Return the identity provider that metadata describes.

    Raises:
        MetadataRefused: it does not describe exactly one, or not one that can be believed.
    """
    root, role = _role(text, "IDPSSODescriptor", "an identity provider")
    sso = _endpoints(role, "SingleSignOnService")
    if not sso:
        raise MetadataRefused("It has no SingleSignOnService for HTTP-Redirect or HTTP-POST.")
    certificates = _certificates(role)
    if not certificates:
        raise MetadataRefused("It has no certificate to sign with (KeyDescriptor use=signing).")
    return IdpMetadata(
        entity_id=_entity_id(root),
        sso=sso,
        certificates=certificates,
        slo=_endpoints(role, "SingleLogoutService"),
        slo_answers=_endpoints(role, "SingleLogoutService", answers=True),
    )


@lru_cache(maxsize=256)
def parse_sp(text: str) -> SpMetadata:
    """Return the service provider that metadata describes.

    Raises:
        MetadataRefused: it does not describe exactly one, or has nowhere for responses to go.
    """
    root, role = _role(text, "SPSSODescriptor", "a service provider")
    consumers = _consumers(role)
    if not consumers:
        raise MetadataRefused("It has no AssertionConsumerService for HTTP-POST.")
    certificates = _certificates(role)
    requests_signed = role.get("AuthnRequestsSigned", "").strip() in ("true", "1")
    if requests_signed and not certificates:
        raise MetadataRefused("It says AuthnRequestsSigned, and has no certificate to check them with.")
    return SpMetadata(
        entity_id=_entity_id(root),
        consumers=consumers,
        certificates=certificates,
        requests_signed=requests_signed,
        slo=_endpoints(role, "SingleLogoutService"),
        slo_answers=_endpoints(role, "SingleLogoutService", answers=True),
    )


def _role(text: str, name: str, says: str) -> tuple[ET.Element, ET.Element]:
    try:
        root = parse_xml(text.encode(), limit=METADATA_MAX_BYTES, comments=True)
    except XmlRefused as error:
        raise MetadataRefused(f"It cannot be read: {error}.") from error
    entities = list(root.iter(_md("EntityDescriptor")))
    found = [(entity, role) for entity in entities for role in entity.findall(_md(name)) if _speaks(role)]
    if len(found) != 1:
        raise MetadataRefused(f"It describes {len(found)} of {says} ({name}) for SAML 2.0, not one.")
    return found[0]


def _speaks(role: ET.Element) -> bool:
    return PROTOCOL in role.get("protocolSupportEnumeration", "").split()


def _entity_id(root: ET.Element) -> str:
    found = root.get("entityID", "")
    if not 0 < len(found) <= ENTITY_ID_MAX or any(c.isspace() or not c.isprintable() for c in found):
        raise MetadataRefused("Its entityID is missing or not a name.")
    return found


def _endpoints(role: ET.Element, name: str, *, answers: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    for element in role.findall(_md(name)):
        binding, url = element.get("Binding", ""), element.get("Location", "")
        if answers:
            url = element.get("ResponseLocation") or url
        if binding in BINDINGS and binding not in found:
            found[binding] = _address(url, name)
    return found


def _consumers(role: ET.Element) -> tuple[Consumer, ...]:
    listed = []
    for number, element in enumerate(role.findall(_md("AssertionConsumerService"))):
        if element.get("Binding") != POST:
            continue
        index = element.get("index", "")
        default = element.get("isDefault", "").strip() in ("true", "1")
        one = Consumer(int(index) if index.isascii() and index.isdigit() else number,
                       _address(element.get("Location", ""), "AssertionConsumerService"))  # fmt: skip
        listed.append((not default, one))
    return tuple(one for _, one in sorted(listed, key=lambda pair: pair[0]))


def _address(url: str, name: str) -> str:
    """Return an address to which a browser may be sent with something secret."""
    parts = urlsplit(url)
    safe = url.isascii() and url.isprintable() and not any(c in url for c in " \"'<>\\`;")
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not safe or not secure or not parts.hostname or parts.username is not None or parts.fragment:
        raise MetadataRefused(f"The address of its {name} is not an https:// one: {url[:80]!r}.")
    return url


def _certificates(role: ET.Element) -> tuple[str, ...]:
    """Return the certificates that sign, PEM. They are holders of keys: their dates mean nothing here."""
    found = []
    for descriptor in role.findall(_md("KeyDescriptor")):
        if descriptor.get("use", "signing") != "signing":
            continue
        for element in descriptor.iter(f"{{{SIGNATURE}}}X509Certificate"):
            found.append(_certificate(text_of(element)))
    return tuple(dict.fromkeys(found))


def _certificate(text: str) -> str:
    try:
        found = x509.load_der_x509_certificate(base64.b64decode("".join(text.split()), validate=True))
        key = found.public_key()
    except (ValueError, binascii.Error) as error:
        raise MetadataRefused("One of its certificates cannot be read.") from error
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < RSA_BITS_MIN:
            raise MetadataRefused(f"A key of it has {key.key_size} bits; {RSA_BITS_MIN} is the least.")
    elif not isinstance(key, ec.EllipticCurvePublicKey):
        raise MetadataRefused("A key of it is neither RSA nor of an elliptic curve.")
    return found.public_bytes(Encoding.PEM).decode()


def _md(name: str) -> str:
    return f"{{{METADATA}}}{name}"


def binding_of(endpoints: Iterable[str]) -> str | None:
    """Return the binding to use of those that somebody offers: the browser is redirected if it can be."""
    offered = set(endpoints)
    return next((binding for binding in BINDINGS if binding in offered), None)

"""How SAML messages travel: in a redirect, deflated and signed beside; in a form, signed inside.

A redirect's signature covers the octets of the query as they were sent (bindings 3.4.4.1), so it is checked
on the raw query: pysaml2 would encode the values anew, and another encoder's signatures would fail.

Source: SAML 2.0 bindings (OASIS saml-bindings-2.0-os), sections 3.4 and 3.5.
"""

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, unquote_plus, urlsplit

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from limen.core.saml_xml import MESSAGE_MAX_BYTES
from limen.information.identity.saml_refusal import SamlRefused

RELAY_STATE_MAX = 1024  # bytes; bindings 3.4.3 says 80, and nobody keeps to it
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"

SIGNATURE_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    RSA_SHA256: hashes.SHA256,
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384": hashes.SHA384,
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512": hashes.SHA512,
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256": hashes.SHA256,
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384": hashes.SHA384,
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512": hashes.SHA512,
}
"""Signature algorithms that count (RFC 9231). SHA-1, MD5, HMAC and DSA are not among them."""

Signer = Callable[[bytes], bytes]
"""Signs octets by `RSA_SHA256`."""

KINDS = ("SAMLRequest", "SAMLResponse")


class Received(msgspec.Struct, frozen=True):
    """A message as it came, decoded and not believed.

    Attributes:
        kind: `SAMLRequest` or `SAMLResponse`.
        signed: the octets that `signature` is over, and its algorithm; empty when a redirect has none, and
            for a form, whose messages are signed inside.
    """

    kind: str
    xml: bytes
    relay_state: str = ""
    redirected: bool = False
    signed: bytes = b""
    algorithm: str = ""
    signature: bytes = b""


def read_redirect(raw_query: str) -> Received:
    """Return the message of a redirect.

    Raises:
        SamlRefused: there is none, or it cannot be decoded.
    """
    pairs = [part.partition("=") for part in raw_query.split("&") if part]
    raw = {name: value for name, _, value in pairs}
    if len(raw) != len(pairs):
        raise SamlRefused("a parameter is sent twice")
    kind = _kind(raw)
    relay_state = unquote_plus(raw.get("RelayState", ""))
    xml = _inflate(_unbase64(unquote_plus(raw[kind])))
    plain = Received(kind, xml, _bounded(relay_state), redirected=True)
    if "Signature" not in raw:
        return plain
    order = [kind, *(["RelayState"] if "RelayState" in raw else []), "SigAlg"]
    return msgspec.structs.replace(
        plain,
        signed="&".join(f"{name}={raw.get(name, '')}" for name in order).encode(),
        algorithm=unquote_plus(raw.get("SigAlg", "")),
        signature=_unbase64(unquote_plus(raw["Signature"])),
    )


def read_post(form: Mapping[str, str]) -> Received:
    """Return the message of a form.

    Raises:
        SamlRefused: there is none, or it cannot be decoded.
    """
    kind = _kind(form)
    return Received(kind, _unbase64(form[kind]), _bounded(form.get("RelayState", "")))


def verify_redirect(received: Received, certificates: Sequence[str]) -> None:
    """Check the signature of a redirect against whoever is meant to have sent it.

    Args:
        certificates: theirs, PEM, from their metadata.

    Raises:
        SamlRefused: it has none, one by an algorithm that does not count, or somebody else's.
    """
    if not received.signature:
        raise SamlRefused("it is not signed")
    digest = SIGNATURE_HASHES.get(received.algorithm)
    if digest is None:
        raise SamlRefused("it is signed by an algorithm that does not count")
    if not any(_fits(pem, received, digest()) for pem in certificates):
        raise SamlRefused("its signature is by none of the keys of the metadata")


def _fits(pem: str, received: Received, digest: hashes.HashAlgorithm) -> bool:
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and "#rsa-" in received.algorithm:
            key.verify(received.signature, received.signed, padding.PKCS1v15(), digest)
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and "#ecdsa-" in received.algorithm:
            key.verify(_ecdsa_der(received.signature), received.signed, ec.ECDSA(digest))
            return True
    except InvalidSignature:
        return False
    return False


def _ecdsa_der(signature: bytes) -> bytes:
    """Return the DER form of an XML signature's `r || s` (RFC 9231 section 2.3.6)."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))


def render_redirect(endpoint: str, kind: str, xml: str, relay_state: str, sign: Signer) -> str:
    """Return the address that carries a message, signed beside (bindings 3.4.4.1)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(xml.encode()) + packer.flush()
    pairs = [(kind, base64.b64encode(packed).decode())]
    pairs += [("RelayState", relay_state)] if relay_state else []
    pairs += [("SigAlg", RSA_SHA256)]
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
    signature = quote(base64.b64encode(sign(query.encode())).decode(), safe="")
    joint = "&" if urlsplit(endpoint).query else "?"
    return f"{endpoint}{joint}{query}&Signature={signature}"


def sign_octets(private_pem: bytes, octets: bytes) -> bytes:
    """Sign by `RSA_SHA256`. The key is Limen's own, opened from its seal: to prove it anew takes 100 ms."""
    key = serialization.load_pem_private_key(private_pem, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(octets, padding.PKCS1v15(), hashes.SHA256())


def _kind(values: Mapping[str, str]) -> str:
    found = [kind for kind in KINDS if kind in values]
    if len(found) != 1:
        raise SamlRefused("it has no SAMLRequest or SAMLResponse, or both")
    return found[0]


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error):
        raise SamlRefused("it is not Base64") from None


def _inflate(packed: bytes) -> bytes:
    """Inflate within bounds: a kilobyte of deflated zeros is a megabyte."""
    unpacker = zlib.decompressobj(-15)
    try:
        found = unpacker.decompress(packed, MESSAGE_MAX_BYTES + 1)
    except zlib.error:
        raise SamlRefused("it cannot be inflated") from None
    if len(found) > MESSAGE_MAX_BYTES or unpacker.unconsumed_tail:
        raise SamlRefused(f"it is larger than {MESSAGE_MAX_BYTES} bytes")
    if not unpacker.eof:
        raise SamlRefused("it is cut short")
    return found


def _bounded(relay_state: str) -> str:
    if len(relay_state) > RELAY_STATE_MAX:
        raise SamlRefused(f"its RelayState is longer than {RELAY_STATE_MAX} characters")
    return relay_state

"""Which model a passkey is: what its maker's certificate proves, and nothing that it says of itself.

Only statements that a chain of certificates carries count, up to a root that the bundle names: `packed` and
`tpm`. Self attestation proves possession of the key that was just made; `apple` names no model.

Laws:
    A1 proven by roots: no configured root, no proof, whatever the statement holds.
    A2 the proof is of this model: a certificate that names another AAGUID proves nothing.

Source: W3C Web Authentication Level 3, sections 7.1 (steps 21 to 24), 8.2, 8.2.1 and 8.3.1.
"""

import uuid

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from webauthn.helpers import parse_attestation_object, validate_certificate_chain
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import AttestationFormat

from limen.core.errors import Refused

BY_CERTIFICATE = frozenset({AttestationFormat.PACKED, AttestationFormat.TPM})
CHAIN_MAX = 8  # certificates of one statement

FIDO_AAGUID = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")  # section 8.2.1: id-fido-gen-ce-aaguid
_OCTETS_16 = b"\x04\x10"  # its value: an OCTET STRING of 16 bytes


def prove_model(attestation_object: bytes, aaguid: str, roots_pem: str | None) -> str:
    """Return the AAGUID that a chain of certificates proves (laws A1, A2).

    The statement's signature was verified already, by whoever read the registration.

    Raises:
        Refused: it proves no model.
    """
    try:
        found = parse_attestation_object(attestation_object)
        chain = list(found.att_stmt.x5c or ())
        if found.fmt not in BY_CERTIFICATE or not 0 < len(chain) <= CHAIN_MAX or not roots_pem:
            raise _unproven()
        validate_certificate_chain(x5c=chain, pem_root_certs_bytes=_roots(roots_pem))
        leaf = x509.load_der_x509_certificate(chain[0])
        _verify_leaf(leaf, aaguid, found.fmt)
    except (WebAuthnException, ValueError, TypeError, KeyError) as error:
        raise _unproven() from error
    return aaguid


def _roots(roots_pem: str) -> list[bytes]:
    found = x509.load_pem_x509_certificates(roots_pem.encode())
    return [one.public_bytes(Encoding.PEM) for one in found]


def _verify_leaf(leaf: x509.Certificate, aaguid: str, fmt: str) -> None:
    """Check what the sections demand of an attestation certificate.

    Raises:
        Refused: it is none, or one of another model.
    """
    if leaf.version is not x509.Version.v3:
        raise _unproven()
    try:
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        raise _unproven() from None
    if constraints.value.ca:
        raise _unproven()
    units = leaf.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATIONAL_UNIT_NAME)
    if fmt == AttestationFormat.PACKED and [one.value for one in units] != ["Authenticator Attestation"]:
        raise _unproven()
    try:
        named = leaf.extensions.get_extension_for_oid(FIDO_AAGUID)
    except x509.ExtensionNotFound:
        return  # the model is in what the certificate's key has signed
    assert isinstance(named.value, x509.UnrecognizedExtension)
    if named.critical or named.value.value != _OCTETS_16 + uuid.UUID(aaguid).bytes:
        raise _unproven()


def _unproven() -> Refused:
    return Refused(
        "This passkey does not prove which model it is.",
        remedy="Use one that your organisation accepts; a security key asks whether it may tell its model.",
        code="PASSKEY_UNPROVEN",
    )

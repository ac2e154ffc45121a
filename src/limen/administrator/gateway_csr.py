"""Certificate requests (RFC 2986): made by a gateway, and read by control, which believes little of them.

A request proves that its sender holds a key. What names the certificate will have is control's to say: a
request that asks for others is refused, not trimmed, because no gateway of ours makes one.
"""

from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from limen.core.errors import Invalid, Refused


def parse_csr(pem: str) -> x509.CertificateSigningRequest:
    """Return a certificate request whose signature holds, of a P-256 key.

    Raises:
        Invalid: it is none.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key = request.public_key()
        sound = request.is_signature_valid
    except (ValueError, TypeError):
        raise _no_request("it cannot be read") from None
    if not sound:
        raise _no_request("its signature is not of its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _no_request("its key is not of the curve P-256")
    return request


def refuse_foreign_names(request: x509.CertificateSigningRequest, allowed: Iterable[str]) -> tuple[str, ...]:
    """Return the names that a request asks for, none of which is foreign. Its subject is not looked at.

    Raises:
        Refused: one is.
    """
    try:
        asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        others = [one for one in request.extensions if one.oid != x509.SubjectAlternativeName.oid]
    except x509.ExtensionNotFound:
        return ()
    except ValueError:
        raise _no_request("its extensions cannot be read") from None
    own = frozenset(allowed)
    texts = tuple(name.value if isinstance(name.value, str) else repr(name.value) for name in asked)
    foreign = [text for text in texts if text not in own]
    if foreign or others:
        what = foreign[0] if foreign else "an extension"
        raise Refused(
            f"The certificate request asks for {what[:100]!r}, which is not this gateway's.",
            remedy="Look at who runs on that machine.",
            code="CSR_FOREIGN",
        )
    return texts


def make_csr(key: ec.EllipticCurvePrivateKey, names: Iterable[x509.GeneralName] = ()) -> str:
    """Return a certificate request (PEM) for `key` and `names`."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    wanted = tuple(names)
    if wanted:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a private key as PKCS 8 PEM; its file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _no_request(why: str) -> Invalid:
    return Invalid(
        f"The certificate request is refused: {why}.",
        remedy="Let `limen gateway` make it.",
        code="CSR_INVALID",
    )

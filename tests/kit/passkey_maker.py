"""A maker of security keys: a root, and passkeys that prove their model by it (or lie about it)."""

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from soft_passkey import AT, SoftPasskey
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

KEY_5 = "cb69481e-8ff7-4039-93ec-0a2729a154a8"
BIO = "d8522d9f-575b-4866-88a9-ba99fa02f35b"
FIDO_AAGUID = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")


class Maker:
    """Signs attestation certificates. `unit`, `ca`, `named` are as they should be, unless told to lie."""

    def __init__(self, name: str = "Maker Root") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._root = self._sign(self._name, self._key.public_key(), ca=True)

    @property
    def pem(self) -> str:
        """The root, as a bundle has it."""
        return self._root.public_bytes(serialization.Encoding.PEM).decode()

    def batch(
        self, *, named: str | None = KEY_5, unit: str = "Authenticator Attestation", ca: bool = False
    ) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
        """Return the attestation key of a batch of keys, and its certificate in DER."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "SE"),
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Maker"),
                x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, "Batch"),
            ]
        )
        made = self._sign(subject, key.public_key(), ca=ca, named=named)
        return key, made.public_bytes(serialization.Encoding.DER)

    def _sign(
        self, subject: x509.Name, public: Any, *, ca: bool, named: str | None = None
    ) -> x509.Certificate:
        today = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(public)
            .serial_number(x509.random_serial_number()).not_valid_before(today - timedelta(days=1))
            .not_valid_after(today + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )  # fmt: skip
        if named is not None:
            value = x509.UnrecognizedExtension(FIDO_AAGUID, b"\x04\x10" + uuid.UUID(named).bytes)
            builder = builder.add_extension(value, critical=False)
        return builder.sign(self._key, hashes.SHA256())


class HardwareKey(SoftPasskey):
    """A passkey with a `packed` statement, by a batch's key; without one, by its own (self attestation)."""

    def __init__(
        self,
        rp_id: str,
        origin: str,
        batch: tuple[ec.EllipticCurvePrivateKey, bytes] | None,
        aaguid: str = KEY_5,
    ) -> None:
        super().__init__(rp_id, origin)
        self.batch = batch
        self.aaguid = aaguid
        self.tampered = False

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer `navigator.credentials.create`."""
        self.handle = base64url_to_bytes(options["user"]["id"])
        numbers = self._key.public_key().public_numbers()
        cose = cbor2.dumps(
            {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        )
        attested = uuid.UUID(self.aaguid).bytes + len(self.id).to_bytes(2, "big") + self.id + cose
        data = self._data(self.flags | AT) + attested
        client = self._client("webauthn.create", options["challenge"])
        signer = self.batch[0] if self.batch else self._key
        signed = data + hashlib.sha256(client).digest() + (b"!" if self.tampered else b"")
        statement: dict[str, Any] = {"alg": -7, "sig": signer.sign(signed, ec.ECDSA(hashes.SHA256()))}
        if self.batch:
            statement["x5c"] = [self.batch[1]]
        whole = cbor2.dumps({"fmt": "packed", "attStmt": statement, "authData": data})
        return self._credential(
            {"clientDataJSON": bytes_to_base64url(client), "attestationObject": bytes_to_base64url(whole)}
        )

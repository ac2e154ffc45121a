"""A software authenticator that can also lie, so that every lie can be shown to be refused."""

import hashlib
import json
import os
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40


class SoftPasskey:
    """One ES256 credential at one origin. Attributes may be changed to lie."""

    def __init__(self, rp_id: str, origin: str) -> None:
        self.rp_id = rp_id
        self.origin = origin
        self.flags = UP | UV
        self.sign_count = 0
        self.id = os.urandom(32)
        self.handle = b""
        self.cross_origin = False
        self.challenge: str | None = None  # answers this one in place of the one that was asked
        self._key = ec.generate_private_key(ec.SECP256R1())

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer `navigator.credentials.create`."""
        self.handle = base64url_to_bytes(options["user"]["id"])
        numbers = self._key.public_key().public_numbers()
        cose = cbor2.dumps(
            {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        )
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cose
        data = self._data(self.flags | AT) + attested
        statement = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options["challenge"])
        return self._credential(
            {"clientDataJSON": bytes_to_base64url(client), "attestationObject": bytes_to_base64url(statement)}
        )

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer `navigator.credentials.get`."""
        self.sign_count += 1
        client = self._client("webauthn.get", options["challenge"])
        data = self._data(self.flags)
        signature = self._key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._credential(
            {
                "clientDataJSON": bytes_to_base64url(client),
                "authenticatorData": bytes_to_base64url(data),
                "signature": bytes_to_base64url(signature),
                "userHandle": bytes_to_base64url(self.handle),
            }
        )

    def _data(self, flags: int) -> bytes:
        return (
            hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.sign_count.to_bytes(4, "big")
        )

    def _client(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": self.challenge or challenge, "origin": self.origin}
        return json.dumps({**said, "crossOrigin": self.cross_origin}).encode()

    def _credential(self, response: dict[str, str]) -> dict[str, Any]:
        identifier = bytes_to_base64url(self.id)
        return {
            "id": identifier,
            "rawId": identifier,
            "type": "public-key",
            "clientExtensionResults": {},
            "response": response,
        }

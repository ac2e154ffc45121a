"""A passkey in software: what a browser and a phone do together, for a tour that has neither.

The bytes are those of a real ceremony (W3C WebAuthn Level 3, sections 6.1, 6.5 and 7): a fresh P-256 key,
user presence and verification asserted, `none` attestation. The private key lives in this object only.
"""

import hashlib
import json
import secrets
import struct
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import encode_cbor

from limen.core import base64url
from limen.core.errors import Refused

_PRESENT, _VERIFIED, _ATTESTED = 0x01, 0x04, 0x40  # WebAuthn 6.1, flags
_AAGUID = bytes(16)  # says nothing of the maker
_ES256 = -7  # RFC 9053 section 2.1


class SoftwarePasskey:
    """One discoverable credential, once `create` has been called."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._id = secrets.token_bytes(32)
        self._user = b""
        self._domain = ""
        self._count = 0

    def create(self, options: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Answer `navigator.credentials.create` with `options` (PublicKeyCredentialCreationOptionsJSON).

        Raises:
            Refused: the site asks for a kind of key that this is not.
        """
        if _ES256 not in {wanted["alg"] for wanted in options["pubKeyCredParams"]}:
            raise Refused("The site does not take ES256 passkeys.")
        self._user, self._domain = base64url.decode(options["user"]["id"]), options["rp"]["id"]
        attested = _AAGUID + struct.pack(">H", len(self._id)) + self._id + self._cose_key()
        attestation = {"fmt": "none", "attStmt": {}, "authData": self._state(_ATTESTED) + attested}
        return self._credential(
            {
                "clientDataJSON": base64url.encode(
                    _client_data("webauthn.create", options["challenge"], origin)
                ),
                "attestationObject": base64url.encode(encode_cbor(attestation)),
                "transports": ["internal"],
            }
        )

    def get(self, options: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Answer `navigator.credentials.get` with `options` (PublicKeyCredentialRequestOptionsJSON).

        Raises:
            Refused: the site asks for other credentials, or is not the one this was made for.
        """
        allowed = {base64url.decode(entry["id"]) for entry in options.get("allowCredentials") or ()}
        if options.get("rpId") != self._domain or (allowed and self._id not in allowed):
            raise Refused("The site did not ask for this passkey.")
        self._count += 1
        client_data = _client_data("webauthn.get", options["challenge"], origin)
        state = self._state(0)
        signed = state + hashlib.sha256(client_data).digest()
        return self._credential(
            {
                "clientDataJSON": base64url.encode(client_data),
                "authenticatorData": base64url.encode(state),
                "signature": base64url.encode(self._key.sign(signed, ec.ECDSA(hashes.SHA256()))),
                "userHandle": base64url.encode(self._user),
            }
        )

    def _state(self, more: int) -> bytes:
        """Return the authenticator data up to the attested credential (WebAuthn 6.1)."""
        flags = _PRESENT | _VERIFIED | more
        return hashlib.sha256(self._domain.encode()).digest() + struct.pack(">BI", flags, self._count)

    def _cose_key(self) -> bytes:
        point = self._key.public_key().public_numbers()
        x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
        return encode_cbor({1: 2, 3: _ES256, -1: 1, -2: x, -3: y})  # RFC 9053 section 7.1.1

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        name = base64url.encode(self._id)
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }


def _client_data(kind: str, challenge: str, origin: str) -> bytes:
    return json.dumps(
        {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}, separators=(",", ":")
    ).encode()

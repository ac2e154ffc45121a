"""One key of the journal: it seals and opens what tells of its owner."""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from limen.core.errors import Invalid
from limen.core.secret import Secret

KEY_BYTES = 64  # AES-256-SIV, RFC 5297: two keys of 32 bytes


class Key:
    """One owner's key. `id` is random: it says nothing of whose it is."""

    __slots__ = ("_cipher", "id", "material", "owner")

    def __init__(self, key_id: str, owner: str, material: bytes) -> None:
        self.id = key_id
        self.owner = owner
        self.material = Secret(material)
        self._cipher = AESSIV(material)

    def seal(self, field: str, value: str | bytes) -> str:
        """Return a value, which is not empty, sealed for a field: always the same for the same value."""
        raw = value.encode() if isinstance(value, str) else value
        sealed = self._cipher.encrypt(raw, [field.encode()])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open_bytes(self, field: str, sealed: str) -> bytes:
        """Return what was sealed for a field.

        Raises:
            Invalid: it was changed, or sealed for another field or under another key (`SEAL_BROKEN`).
        """
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            return self._cipher.decrypt(raw, [field.encode()])
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise Invalid(
                f"The sealed field {field} does not open with the key {self.id}.",
                remedy="Verify the journal: the record, or keys.db, was changed.",
                code="SEAL_BROKEN",
            ) from error

    def open(self, field: str, sealed: str) -> str:
        """Return the text that was sealed for a field. Raises as `open_bytes`."""
        return self.open_bytes(field, sealed).decode()
